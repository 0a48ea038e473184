"""Export of a scan to another engine: events, scanner, and the factors of this project's model."""

from collections.abc import Callable
from pathlib import Path

from csrd.config.sections import Recon
from csrd.engines.castor import write_castor
from csrd.engines.model import EngineModel
from csrd.engines.stir import write_stir
from csrd.engines.yrt import write_yrt
from csrd.errors import InputError
from csrd.process import numba_threads
from csrd.recon import embedded
from csrd.stages.scan import ScanFiles, given_scatter, loaded

WRITERS: dict[str, tuple[str, Callable[[Path, EngineModel], dict]]] = {
    "castor": (".Cdh", write_castor),
    "yrt": (".lmDat", write_yrt),
    "stir": (".hs", write_stir),
}


def export(
    listmode: str | Path,
    target: str | Path,
    *,
    recon: Recon,
    seed: int,
    subject: str,
    threads: int,
    drf: float | None = None,
    mumap: str | Path | None = None,
    normalisation: str | Path | None = None,
    sensitivity: str | Path | None = None,
    attenuation: bool = True,
    scatter: str | Path | None = None,
) -> dict:
    """Write a scan's prompts as `target` (.Cdh, .lmDat or .hs) and beside it what that engine needs.

    With these files the engine's image is in Bq/mL at the normal dose, as the embedded engine's. The
    parameters are those of `csrd.stages.recon.reconstruct`. Return counts and the scanner's name.
    Raises InputError for a target of another suffix or an unusable input.
    """
    target = Path(target)
    engine = next((name for name, (suffix, _) in WRITERS.items() if suffix == target.suffix), None)
    if engine is None:
        raise InputError(
            f"{target} names no format to write; end it in .Cdh (CASToR), .lmDat (YRT-PET) or .hs (STIR)"
        )
    given = {"mumap": mumap, "normalisation": normalisation, "sensitivity": sensitivity}
    files = ScanFiles.given(listmode, attenuation=attenuation, scatter=scatter, **given)
    return export_scan(engine, files, target, recon, drf, seed, subject, threads)


def file_of(engine: str) -> str:
    """Return the name of the file of events in a folder that is exported for an engine."""
    return f"events{WRITERS[engine][0]}"


def export_scan(
    engine: str,
    files: ScanFiles,
    target: Path,
    recon: Recon,
    drf: float | None,
    seed: int,
    subject: str,
    threads: int,
) -> dict:
    """Write the files of `export` for an engine, by its name in `WRITERS`."""
    with numba_threads(threads):
        opened, dose, arrays, _, _ = loaded(files, recon, drf, seed, subject)
        mumap, efficiencies, sensitivity, scanner = arrays
        scatter = given_scatter(files, recon, scanner)
        if scatter is None and recon.estimates_scatter and mumap.array.any():
            scatter, _ = embedded.estimated_scatter(opened, *arrays, recon, dose, seed, subject)
        sigma_mm = recon.psf.sigma_mm if recon.psf else 0.0
        of_scan = opened, scanner, mumap, efficiencies, sensitivity, dose
        model = EngineModel.of(*of_scan, sigma_mm, scatter)
        return WRITERS[engine][1](target, model)
