"""Outside engines against the embedded one and the truth: likeness, totals, and seconds an event and pass.

    python benchmarks/engines.py FOLDER [--seconds 60] [--threads 1] [--sample scan.l] [--json rows.json]

Virtual scans of one head with scatter, by the HRRT and by the mMR, are written into FOLDER unless they are
there already; `--sample` adds a real scan of the mMR, reconstructed without μ-map, in the cylinder that fits
into the matrix, since STIR projects no more. Each is reconstructed at 1/1 and 1/4 by the embedded engine,
and with the presets of config/recon by each program that is on the PATH, on the same grid, with the same
subsets, iterations, resolution model and scatter, unfiltered. Images are compared where there is tissue,
after a Gaussian of 5 mm FWHM on both. A program that is not on the PATH is named. Engines divide the events
into subsets differently, which leaves different noise: few subsets are used.
"""

import argparse
import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from scipy.ndimage import gaussian_filter

from csrd.config import load_apart
from csrd.config.sections import Psf, Recon
from csrd.io.volume import Volume
from csrd.listmode import open_listmode, thin
from csrd.resample import resample
from csrd.scanner.geometry import Scanner, hrrt, mmr
from csrd.stages.command import ENDED
from csrd.stages.recon import (
    embedded_image,
    estimate_scatter,
    geometric_sensitivity,
    image_of,
    subject_sensitivity,
)
from csrd.stages.scan import ScanFiles
from csrd.stages.simulate import simulate_anatomy, write_scan
from csrd.units import SIGMA_PER_FWHM
from csrd.virtual.acquire import Acquisition, crystal_efficiencies

ROOT = Path(__file__).parents[1]
PROGRAMS = {"yrt": "yrtpet_reconstruct", "castor": "castor-recon", "stir": "OSMAPOSL"}
FILTER_MM = 5.0
TISSUE = 0.05  # 1/cm
MASK_MM, MASK = 20.0, 0.3  # without a μ-map: where the reference, filtered so, exceeds this of its maximum
SEED, SUBJECT, DRFS = 2024, "sub-01", (1, 4)
FACTS = {"tracer": "DASB", "weight_kg": 75.0, "injected_MBq": 577.6}
GRIDS = {
    "HRRT": {"matrix": (88, 104, 88), "voxel_mm": 2.4375, "subsets": 8, "iterations": 2},
    "mMR": {"matrix": (121, 121, 127), "voxel_mm": 2.03125, "subsets": 3, "iterations": 3},
}

SAMPLE = {"subsets": 1, "iterations": 6}  # 0.3 s of data: subsets would hold next to none


@dataclass(frozen=True)
class Case:
    """A scan with its files; `truth` in Bq/mL where it is known, on any grid."""

    name: str
    kind: str  # HRRT or mMR
    files: ScanFiles
    truth: Volume | None = None

    @property
    def settings(self) -> dict:
        """Return the grid, subsets and iterations."""
        return GRIDS[self.kind] | (SAMPLE if self.truth is None else {})

    def recon(self, preset: str | None = None) -> Recon:
        """Return the settings: the embedded engine's, or those of a preset on the same grid."""
        # STIR's preset models no resolution; a blurred sensitivity would reach beyond the sample's cylinder
        psf = None if preset == "stir" or self.truth is None else Psf(tail_fraction=0)
        scatter = "none" if self.files.scatter is None else "once"
        common = {**self.settings, "psf": psf, "postfilter_fwhm_mm": 0, "scatter": scatter}
        if preset is None:
            return Recon(**common)
        text = (ROOT / f"config/recon/{preset}.yaml").read_text()
        return load_apart(yaml.safe_load(text)).recon.model_copy(update=common)


def cases(folder: Path, seconds: float, sample: Path | None, kinds: list[str]) -> list[Case]:
    """Return the scans of a folder, simulated where they are not there."""
    activity, mumap = folder / "activity.nii.gz", folder / "mumap.nii.gz"
    if not mumap.exists():
        others = {name: folder / f"{name}.nii.gz" for name in ("mr", "labels", "brainmask")}
        others |= {name: folder / f"{name}.json" for name in ("facts_out", "mr_to_pet")}
        tracer = ROOT / "config/tracers/DASB.tsv"
        arguments = {"start_s": 2100, "voxel_mm": 1.21875, "seed": SEED, "subject": SUBJECT}
        simulate_anatomy(tracer, FACTS, activity=activity, mumap=mumap, **others, **arguments)
    truth, found = Volume.load(activity), []
    for kind, scanner, suffix in (("HRRT", hrrt(), "l64"), ("mMR", mmr(), "l")):
        if kind in kinds:
            listmode = folder / f"{kind}_{seconds:g}s.{suffix}"
            _simulate(listmode, truth, mumap, scanner, seconds)
            files = ScanFiles(listmode, mumap=mumap, normalisation=_efficiencies(listmode))
            found.append(Case(f"virtual {kind}, {seconds:g} s", kind, files, truth))
    if sample is not None:
        found.append(Case("mMR sample", "mMR", ScanFiles(sample, attenuation=False)))
    return [_with_scatter(_with_sensitivity(case, folder), folder) for case in found]


def _with_scatter(case: Case, folder: Path) -> Case:
    """Return a scan with its scatter, which all doses and engines share; one without a μ-map has none."""
    files, scatter = case.files, folder / f"{case.files.listmode.stem}_scatter.npy"
    if files.mumap is None:
        return case
    if not scatter.exists():
        settings = {"recon": case.recon().model_copy(update={"scatter": "once"}), "drf": 1, "threads": 1}
        of_scan = {"normalisation": files.normalisation, "sensitivity": files.sensitivity}
        estimate_scatter(
            files.listmode, scatter, mumap=files.mumap, seed=SEED, subject=SUBJECT, **settings, **of_scan
        )
    return replace(case, files=replace(files, scatter=scatter))


def _with_sensitivity(case: Case, folder: Path) -> Case:
    """Return a scan with its sensitivity, which all doses and engines share."""
    grid, listmode = case.settings, case.files.listmode
    geometric = folder / f"{case.kind}_geometric.nii.gz"
    sensitivity = folder / f"{listmode.stem}_sensitivity.nii.gz"
    if not geometric.exists():
        space = {"shape": grid["matrix"], "voxel_mm": grid["voxel_mm"]}
        geometric_sensitivity(geometric, **space, threads=1, listmode=listmode)
    if not sensitivity.exists() and case.files.mumap is None:
        _in_cylinder(Volume.load(geometric)).save(sensitivity)
    elif not sensitivity.exists():
        files = geometric, case.files.mumap, case.files.normalisation, sensitivity
        sample = {"lines": 10_000_000, "seed": SEED, "subject": SUBJECT, "threads": 1}
        subject_sensitivity(*files, **sample, listmode=listmode)
    return replace(case, files=replace(case.files, sensitivity=sensitivity))


def _in_cylinder(sensitivity: Volume) -> Volume:
    """Return a sensitivity that is 0 outside the cylinder around z that fits into the matrix."""
    middle = (np.array(sensitivity.shape[:2]) - 1) / 2
    x, y = (np.arange(n) - centre for n, centre in zip(sensitivity.shape, middle, strict=False))
    inside = x[:, None] ** 2 + y[None] ** 2 <= middle.min() ** 2
    return sensitivity.like(sensitivity.array * inside[..., None])


def _efficiencies(listmode: Path) -> Path:
    return listmode.with_suffix(".npy")


def _simulate(listmode: Path, truth: Volume, mumap: Path, scanner: Scanner, seconds: float) -> None:
    if listmode.exists():
        return
    efficiencies = crystal_efficiencies(scanner, SEED, SUBJECT)
    np.save(_efficiencies(listmode), efficiencies)
    acquisition = Acquisition(seconds, 1224, 0.9976, randoms_fraction=0.25, scatter=True)
    images = truth, Volume.load(mumap, unit="1/cm")
    write_scan(listmode, *images, efficiencies, scanner, acquisition, SEED, SUBJECT, threads=1)


def rows(case: Case, folder: Path, programs: list[str], threads: int) -> list[dict]:
    """Return a row for each dose and engine of a scan."""
    found = []
    for drf in DRFS:
        files, at = case.files, {"drf": drf, "seed": SEED, "subject": SUBJECT, "threads": threads}
        if drf > 1:
            low = folder / f"{files.listmode.stem}_drf{drf}{files.listmode.suffix}"
            thin(files.listmode, low, drf, SEED)
            files = replace(files, listmode=low)
        prompts = open_listmode(files.listmode).info()["prompts"]
        dose = {"scan": case.name, "dose": f"1/{drf}", "prompts": prompts}
        references = {}
        for preset in programs:
            if preset == "stir" and case.kind != "mMR":
                continue
            recon, log = case.recon(preset), folder / f"{case.kind}_{drf}_{preset}.log"
            if recon.psf not in references:
                settings = case.recon().model_copy(update={"psf": recon.psf})
                references[recon.psf] = embedded_image(files, settings, **at)[0]
            reference = references[recon.psf]
            log.unlink(missing_ok=True)
            image, sidecar = image_of(files, recon, log=log, **at)
            image.save(folder / f"{log.stem}.nii.gz")
            reference.save(folder / f"{log.stem}_embedded.nii.gz")
            spent = float(re.findall(re.escape(ENDED) + r" ([\d.]+) s", log.read_text())[-1])
            row = {**dose, "engine": preset, **compared(image, reference, case), "seconds": spent}
            row["us_per_event_pass"] = 1e6 * spent * threads / (prompts * recon.iterations)
            found.append(row | {"check": sidecar["EngineCheck"]})
            print(json.dumps(found[-1]), flush=True)
    return found


def compared(image: Volume, reference: Volume, case: Case) -> dict[str, float]:
    """Return correlation, NRMSE (over the reference's mean) and total where there is tissue."""
    a, b = _smooth(image), _smooth(reference)
    if case.files.mumap is not None:
        inside = resample(Volume.load(case.files.mumap, unit="1/cm"), reference).array > TISSUE
    else:
        # Wide, since voxels chosen by their own noise would have too much in the reference
        wide = _smooth(reference, MASK_MM)
        inside = wide > MASK * wide.max()
    found = _likeness(_upright(a, image, reference)[inside], b[inside], "")
    if case.truth is not None:
        truth = _smooth(resample(case.truth, reference))[inside]
        found |= _likeness(_upright(a, image, reference)[inside], truth, "_truth")
        found |= {"embedded_nrmse_truth": _likeness(b[inside], truth, "")["nrmse"]}
    return found


def _upright(array: np.ndarray, image: Volume, grid: Volume) -> np.ndarray:
    """Return an array of an image on the axes of a grid that has the same voxels."""
    return image.like(array).with_axes_of(grid).array


def _smooth(image: Volume, fwhm_mm: float = FILTER_MM) -> np.ndarray:
    return gaussian_filter(image.array.astype(float), fwhm_mm * SIGMA_PER_FWHM / image.voxel_mm)


def _likeness(a: np.ndarray, b: np.ndarray, suffix: str) -> dict[str, float]:
    return {
        f"correlation{suffix}": float(np.corrcoef(a, b)[0, 1]),
        f"nrmse{suffix}": float(np.sqrt(((a - b) ** 2).mean()) / b.mean()),
        f"total{suffix}": float(a.sum() / b.sum()),
    }


def table(found: list[dict]) -> str:
    """Return the rows as a Markdown table."""
    head = ["scan", "dose", "prompts", "engine", "correlation", "NRMSE", "total"]
    head += ["NRMSE to the truth (embedded)", "seconds", "µs an event-pass"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in found:
        truth = "–"
        if "nrmse_truth" in row:
            truth = f"{row['nrmse_truth']:.1%} ({row['embedded_nrmse_truth']:.1%})"
        cells = [row["scan"], row["dose"], f"{row['prompts']:,}", row["engine"]]
        cells += [f"{row['correlation']:.4f}", f"{row['nrmse']:.1%}", f"{row['total']:.4f}", truth]
        cells += [f"{row['seconds']:.0f}", f"{row['us_per_event_pass']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sample", type=Path)
    parser.add_argument("--scans", nargs="*", default=["HRRT", "mMR"], choices=["HRRT", "mMR"])
    parser.add_argument("--engines", nargs="*", default=list(PROGRAMS), choices=list(PROGRAMS))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    programs = [name for name in chosen.engines if shutil.which(PROGRAMS[name])]
    for name in set(chosen.engines) - set(programs):
        print(f"NOT RUN: {PROGRAMS[name]} is not on the PATH")
    found: list[dict] = []
    for case in cases(chosen.folder, chosen.seconds, chosen.sample, chosen.scans):
        found += rows(case, chosen.folder, programs, chosen.threads)
    print(table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
