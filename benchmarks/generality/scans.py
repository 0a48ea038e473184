"""The kept scans: simulated list-mode, reconstructed.

What rows share (anatomies, list-mode, sensitivities, unfiltered images) is written into a work folder once.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rows import OTHER_PERSON, Row
from scipy import ndimage
from uptake import t2_like, uptake

from csrd.align.head import head_mask
from csrd.align.register import register
from csrd.config.sections import Psf, Recon
from csrd.io.files import whole_file
from csrd.io.volume import Volume
from csrd.listmode import open_listmode, thin
from csrd.metrics.regions import without_spots
from csrd.metrics.truth import blurred, resolution
from csrd.recon.embedded import reconstruct
from csrd.recon.sensitivity import geometric_sensitivity, subject_sensitivity
from csrd.resample import FWHM_PER_SIGMA, resample
from csrd.scanner.geometry import Scanner, hrrt, mmr
from csrd.seeds import generator, key64, seed_sequence
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import PILOT_DECAYS, Acquisition, crystal_efficiencies
from csrd.virtual.anatomy import EXTENT_MM, Anatomy, make_anatomy
from csrd.virtual.decays import Decays
from csrd.virtual.mr import simulate_mr
from csrd.virtual.spots import Spot
from csrd.virtual.tracer import Tracer, read_tracer

SEED = 2024
SCANNERS = {"HRRT": (hrrt, ".l64"), "mMR": (mmr, ".l")}
PROMPTS = 1e7  # of the normal dose
INJECTED_MBQ, WEIGHT_KG, START_S = 370.0, 70.0, 2700.0
RANDOMS_FRACTION = 0.25
RECON = Recon(psf=Psf(), subsets=16, iterations=2, postfilter_fwhm_mm=0, scatter="none")
SENSITIVITY_LINES = 10_000_000
SHIFT_DIRECTION = np.array([2.0, 1.0, 2.0]) / 3  # of an MR beside its place
KBQ = 1e-3  # images are kept in kBq/mL, where half precision has no overflow


@dataclass(frozen=True)
class Scan:
    """A kept scan: images on one grid in kBq/mL, labels (`virtual.regions`), the spots and facts about it.

    `truth` is the noise-free activity at the resolution of the normal dose, `bare` the same without spots.
    """

    low: Volume
    normal: Volume
    truth: Volume
    bare: Volume
    mr: Volume | None
    mask: np.ndarray
    labels: np.ndarray
    spots: list[Spot]
    facts: dict

    def save(self, path: Path) -> None:
        """Write the scan as one compressed file, images in half precision."""
        images = {name: getattr(self, name) for name in ("low", "normal", "truth", "bare", "mr")}
        arrays = {name: v.array.astype(np.float16) for name, v in images.items() if v is not None}
        with whole_file(path) as temporary:
            np.savez_compressed(
                temporary,
                **arrays,
                mask=self.mask,
                labels=self.labels,
                affine=self.low.affine,
                voxel_mm=self.low.voxel_mm,
                spots=np.array([(*s.centre_mm, s.radius_mm, s.contrast) for s in self.spots]),
                facts=json.dumps(self.facts),
            )

    @classmethod
    def load(cls, path: Path) -> "Scan":
        """Return a kept scan, its images in single precision."""
        with np.load(path) as kept:
            images = {
                name: Volume(kept[name].astype(np.float32), kept["affine"], "kBq/mL")
                for name in ("low", "normal", "truth", "bare")
            }
            mr = Volume(kept["mr"].astype(np.float32), kept["affine"], "arbitrary") if "mr" in kept else None
            spots = [Spot(tuple(s[:3]), s[3], s[4]) for s in kept["spots"].tolist()]
            facts = json.loads(str(kept["facts"]))
            return cls(**images, mr=mr, mask=kept["mask"], labels=kept["labels"], spots=spots, facts=facts)


def kept_path(folder: Path, row: Row) -> Path:
    """Return the file of a row's scan."""
    return folder / ("validation" if row.validation else "scans") / f"{row.name}.npz"


@dataclass(frozen=True)
class Simulation:
    """How scans are made: from T1w images in `t1w` and tables in `tracers`, with shared files in `work`."""

    t1w: Path
    tracers: Path
    work: Path
    threads: int

    def scan(self, row: Row) -> Scan:
        """Return the scan of a row."""
        activity, spots = self.activity(row)
        normal, low = (self.filtered(row, drf) for drf in (1, row.drf))
        mask = head_mask(normal)
        fwhm_mm = resolution(activity, normal, mask)
        truth = blurred(activity, normal, fwhm_mm)
        bare = blurred(without_spots(activity, spots), normal, fwhm_mm)
        images = {"low": low.array, "normal": normal.array, "truth": truth, "bare": bare}
        images = {name: normal.like(array * np.float32(KBQ), "kBq/mL") for name, array in images.items()}
        labels = resample(self.anatomy(row.subject).labels, normal, order=0).array
        facts = asdict(row) | {"resolution_mm": fwhm_mm}
        return Scan(
            **images,
            mr=self.mr(row, low),
            mask=mask,
            labels=labels.astype(np.uint8),
            spots=spots,
            facts=facts,
        )

    def anatomy(self, subject: str) -> Anatomy:
        """Return the head of a real T1w image."""
        path = self.work / f"{subject}_anatomy.npz"
        if not path.exists():
            brain = Volume.load(self.t1w / f"{subject}_T1w.nii.gz", unit="arbitrary")
            made = make_anatomy(SEED, subject, t1w=brain)
            arrays = {name: getattr(made, name).array for name in ("labels", "brain", "t1", "mumap")}
            with whole_file(path) as temporary:
                np.savez(temporary, affine=made.labels.affine, **arrays)
        with np.load(path) as kept:
            units = {"labels": "label", "brain": "mask", "t1": "arbitrary", "mumap": "1/cm"}
            return Anatomy(**{name: Volume(kept[name], kept["affine"], unit) for name, unit in units.items()})

    def tracer(self, name: str) -> Tracer:
        """Return a tracer's table."""
        return read_tracer(self.tracers / f"{name}.tsv")

    def activity(self, row: Row) -> tuple[Volume, list[Spot]]:
        """Return the activity in Bq/mL at the scan's start, and its spots."""
        anatomy, tracer = self.anatomy(row.subject), self.tracer(row.tracer)
        per_suv = INJECTED_MBQ / WEIGHT_KG * 1e3 * 0.5 ** (START_S / tracer.half_life_s)
        suv, spots = uptake(anatomy, tracer, generator(SEED, "uptake", row.acquisition))
        return anatomy.labels.like(suv * np.float32(per_suv), "Bq/mL"), spots

    def scanner(self, row: Row) -> tuple[Scanner, np.ndarray]:
        """Return the scanner and its crystals' efficiencies."""
        scanner = SCANNERS[row.scanner][0]()
        return scanner, crystal_efficiencies(scanner, SEED, row.acquisition)

    def listmode(self, row: Row, drf: int) -> Path:
        """Return the list-mode of an acquisition at a dose."""
        path = self.work / f"{row.acquisition}_{drf}{SCANNERS[row.scanner][1]}"
        if path.exists():
            return path
        if drf > 1:
            thin(self.listmode(row, 1), path, drf, seed=key64(SEED, row.acquisition))
            return path
        scanner, efficiencies = self.scanner(row)
        tracer = self.tracer(row.tracer)
        image, mumap = self.activity(row)[0], self.anatomy(row.subject).mumap
        seconds = seconds_of(PROMPTS, image, mumap, efficiencies, scanner, tracer)
        how = Acquisition(seconds, tracer.half_life_s, tracer.branching, RANDOMS_FRACTION)
        write_scan(path, image, mumap, efficiencies, scanner, how, SEED, row.acquisition, self.threads)
        return path

    def sensitivity(self, row: Row) -> Volume:
        """Return the sensitivity on a row's voxels."""
        scanner, efficiencies = self.scanner(row)
        shape = tuple(int(np.ceil(extent / row.voxel_mm)) for extent in EXTENT_MM)
        geometric = self.work / f"{row.scanner}_{row.voxel_mm:g}mm_geometric.nii.gz"
        if not geometric.exists():
            geometric_sensitivity(scanner, shape, row.voxel_mm).save(geometric)
        path = self.work / f"{row.acquisition}_{row.voxel_mm:g}mm_sensitivity.nii.gz"
        if not path.exists():
            grid = Volume.load(geometric)
            mumap = resample(self.anatomy(row.subject).mumap, grid)
            arguments = scanner, grid, mumap, efficiencies, SENSITIVITY_LINES, SEED, row.acquisition
            subject_sensitivity(*arguments).save(path)
        return Volume.load(path)

    def image(self, row: Row, drf: int) -> Volume:
        """Return the image of a dose without a filter, in Bq/mL."""
        path = self.work / f"{row.acquisition}_{row.voxel_mm:g}mm_{drf}.nii.gz"
        if not path.exists():
            sensitivity, (scanner, efficiencies) = self.sensitivity(row), self.scanner(row)
            mumap = resample(self.anatomy(row.subject).mumap, sensitivity)
            events = open_listmode(self.listmode(row, drf))
            arguments = events, mumap, efficiencies, sensitivity, scanner, RECON, drf
            reconstruct(*arguments, SEED, row.acquisition)[0].save(path)
        return Volume.load(path)

    def filtered(self, row: Row, drf: int) -> Volume:
        """Return the image of a dose, smoothed by the row's filter."""
        image = self.image(row, drf)
        sigma = row.filter_mm / FWHM_PER_SIGMA / image.voxel_mm
        return image.like(ndimage.gaussian_filter(image.array, sigma))

    def mr(self, row: Row, pet: Volume) -> Volume | None:
        """Return the MR that comes with a row, on the PET's grid."""
        if row.mr == "none":
            return None
        if row.mr == "other":  # a user who takes the wrong file has it registered
            other, _ = simulate_mr(self.anatomy(OTHER_PERSON), SEED, OTHER_PERSON)
            return resample(other, pet, register(other, pet, SEED, threads=1), order=3)
        anatomy = self.anatomy(row.subject)
        if row.mr == "T2w":
            anatomy = replace(anatomy, t1=anatomy.t1.like(t2_like(anatomy.t1.array)))
        image, mr_to_pet = simulate_mr(anatomy, SEED, row.subject)
        shift = np.eye(4)
        shift[:3, 3] = row.shift_mm * SHIFT_DIRECTION
        return resample(image, pet, np.linalg.inv(mr_to_pet) @ shift, order=3)


def seconds_of(
    prompts: float,
    activity: Volume,
    mumap: Volume,
    efficiencies: np.ndarray,
    scanner: Scanner,
    tracer: Tracer,
) -> float:
    """Return the whole seconds in which a scan collects so many prompts, the decay meanwhile left out."""
    decays = Decays.of(activity, mumap, efficiencies, scanner)
    pilot_s = PILOT_DECAYS / decays.decays_per_s
    trues = len(decays.follow(pilot_s, seed_sequence(SEED, "pilot"), threads=1))
    return max(1.0, round(prompts * (1 - RANDOMS_FRACTION) / (trues / pilot_s * tracer.branching)))
