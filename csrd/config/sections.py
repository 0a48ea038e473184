"""The configuration's sections of the stages: every key, its default, and what it must be."""

import shlex
import string
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

FILE_PLACEHOLDERS = ("listmode", "header", "mumap", "normalisation")
PLACEHOLDERS = (
    *FILE_PLACEHOLDERS,
    *("export", "drf", "iterations", "subsets", "psf_fwhm_mm", "matrix", "voxel_mm", "threads", "output"),
)


def _number(value: Any) -> Any:
    """Return a number that YAML reads as text, such as 6e7 without a dot, as a number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Lines = Annotated[int, BeforeValidator(_number), Field(ge=1000)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Drf = Annotated[int, Field(ge=2)]
Axes = Annotated[str, Field(pattern="^[LR][AP][IS]$")]
FrameSeconds = Annotated[float, Field(ge=0.001)]  # the clock of list-mode counts milliseconds
Shape = tuple[PositiveInt, PositiveInt, PositiveInt]


class Section(BaseModel):
    """A block of the configuration: immutable, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Select(Section):
    participant: tuple[str, ...] = ()
    """Labels of participants, without sub-; empty: all, here and below."""
    session: tuple[str, ...] = ()
    """Labels of sessions."""
    task: tuple[str, ...] = ()
    """Labels of tasks."""
    tracer: tuple[str, ...] = ()
    """Labels of tracers."""
    run: tuple[str, ...] = ()
    """Indices of runs; 1 is also 01."""
    reconstruction: tuple[str, ...] = ()
    """Labels of reconstructions; empty: one of each scan, static and corrected for attenuation first."""
    t1w: dict[str, tuple[str, ...]] = {}
    """Values of any entities, by their short names, that a T1w image must have."""
    mr: bool = True
    """false: T1w images are not used."""


class Cohort(Section):
    sheet: str | None = None
    """A table of your own subjects (see config/subjects.tsv); null: the virtual cohort."""
    bids: str | None = None
    """A BIDS dataset of your own subjects, instead of a sheet."""
    as_is: bool = False
    """true: every PET image of the dataset is denoised as it is, whatever its dose; nothing is compared."""
    std: bool = False
    """true: the standard deviation of these scans is predicted too, which takes several times as long."""
    select: Select = Select()
    """The scans of the dataset that are denoised as they are, by their labels."""
    units: Literal["Bq/mL", "kBq/mL", "SUV"] | None = None
    """Unit of your own PET images whose JSON sidecar has no Units."""
    models: str | None = None
    """A folder of fitted methods, or packaged: those that come with CSR-D; null: methods are fitted."""
    train: Annotated[int, Field(ge=0)] = 5
    """Number of virtual training subjects; with `models` none is simulated."""
    validation: Annotated[int, Field(ge=0)] = 1
    """Number of virtual validation subjects, for selecting settings; with `models` none is simulated."""
    test: PositiveInt = 2
    """Number of virtual test subjects, which the table is computed from."""
    t1w: str | None = None
    """A folder of T1w images to take the virtual anatomies from; null: the packaged template, deformed."""
    tracer: str = "config/tracers/DASB.tsv"
    """The virtual cohort's uptake by region; the file's name is the tracer's."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sheet is not None and self.bids is not None:
            raise ValueError("sheet and bids are both given; keep the one that names your subjects")
        return self

    @property
    def virtual(self) -> bool:
        """Return whether the subjects are simulated."""
        return self.sheet is None and self.bids is None


class VirtualScan(Section):
    injected_MBq: PositiveFloat = 577.6
    """Injected activity; the default is the paper's mean."""
    start_s: NonNegative = 2100
    """Start of the scan, in seconds after the injection."""
    duration_s: PositiveFloat = 60
    """Duration of the scan; a minute yields about 1e7 prompts."""
    frames: Annotated[tuple[FrameSeconds, ...], Field(min_length=1)] | None = None
    """Durations in s of the frames of a dynamic scan: it begins with the injection, lasts as long as they do,
    and its activity follows the kinetics in the tracer's table (docs/dynamic.md); null: a static scan from
    start_s on, of duration_s. recon.frames are these, unless others are given."""
    repeats: PositiveInt = 1
    """Scans of each subject of a dynamic cohort, for the deviation between them (`make dynamic`)."""
    randoms_fraction: Fraction = 0.25
    """Fraction of the prompts that are random coincidences; an assumption (real scans: 0.15 to 0.35)."""
    scatter: bool = True
    """Compton scattering in the body: scattered pairs are recorded too. false: none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where decays are followed; the events are the same. auto: on a CUDA device if there is one."""
    phantom_voxel_mm: PositiveFloat = 1.21875
    """Voxel size of the simulated activity and μ-map."""


class Augment(Section):
    mixed_beyond: Annotated[float, Field(ge=1)] = 1.0
    """Highest dose reduction factor of mixed noise (`mixed`), over the highest in train_drfs; 1: no more."""
    lesions: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of training patches with a spot of uptake that is added to low and normal dose."""
    lesion_fwhm_mm: PositiveFloat = 7.0
    """Resolution of the images (FWHM), at which these spots are added."""
    mr_shift_mm: NonNegative = 0.0
    """Largest displacement of the MR in training patches, in mm."""
    mr_missing: Fraction = 0.0
    """Fraction of training patches without the MR, of methods with MR: they then take a scan without one."""

    @property
    def changes_images(self) -> bool:
        """Return whether a patch may differ from the measured images."""
        return bool(self.lesions or self.mr_shift_mm or self.mr_missing)


class Thin(Section):
    nested: bool = False
    """Whether the events of a lower dose are a subset of a higher dose's."""


class Psf(Section):
    sigma_mm: PositiveFloat = 0.9
    """Standard deviation of the resolution model's core."""
    tail_sigma_mm: PositiveFloat = 2.5
    """Standard deviation of its tail."""
    tail_fraction: Fraction = 0.05
    """Fraction of the tail."""


class Command(Section):
    run: str
    """The command; CSR-D replaces {listmode} {header} {mumap} {normalisation} {export} {drf} {iterations}
    {subsets} {psf_fwhm_mm} {matrix} {voxel_mm} {threads} {output}."""
    export: Literal["castor", "yrt", "stir"] | None = None
    """Write events and model of the scan for that engine, in the folder {export} (as csrd export does)."""
    output_suffix: Literal[".nii.gz", ".nii", ".hv", ".i.hdr", ".v.hdr"] = ".nii.gz"
    """Suffix of the file name in {output}: NIfTI, or the header of an Interfile image."""
    scales_dose: Literal["engine", "csrd"]
    """The multiplication of a low-dose image by its drf: by the command (engine) or CSR-D (csrd)."""
    unit: Literal["Bq/mL", "kBq/mL", "relative"]
    """Unit of the command's images; relative: its own, no activity but for the calibration."""
    calibration: PositiveFloat | None = None
    """Bq/mL in one unit of the command's images, where unit is relative; null: not known."""
    time_limit_min: PositiveFloat = 720
    """The command is ended after this many minutes."""
    interfile_axes: Axes = "LPS"
    """Directions of x, y, z of an Interfile image: Left/Right, Anterior/Posterior, Inferior/Superior."""
    nifti_axes: Axes | None = None
    """The same of a NIfTI image whose header says them wrongly; null: the header is right."""
    check: bool = True
    """Compare orientation and scale of each image with a quick reconstruction by the embedded engine."""
    untested: bool = False
    """true: as it is, the preset was never run with its program, and the log says so."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.calibration is not None and self.unit != "relative":
            raise ValueError(f"calibration is given, but unit is {self.unit}; say relative, or remove it")
        if (self.export is None) == ("{export}" in self.run):
            raise ValueError(
                "run has {export}, but export is null; name the engine"
                if self.export is None
                else f"export is {self.export}, but run lacks {{export}}; add it where the command takes it"
            )
        return self

    @field_validator("run")
    @classmethod
    def _fillable(cls, run: str) -> str:
        try:
            words = shlex.split(run)
            fields = [field for word in words for field in string.Formatter().parse(word)]
        except ValueError as error:
            raise ValueError(
                f"{str(error).lower()}; balance quotes, and double braces that are not placeholders"
            ) from None
        named = [(name, spec or conversion) for _, name, spec, conversion in fields if name is not None]
        for name, formatted in named:
            if name not in PLACEHOLDERS:
                known = " ".join(f"{{{placeholder}}}" for placeholder in PLACEHOLDERS)
                raise ValueError(f"{{{name}}} is not a placeholder; use {known}")
            if formatted:
                raise ValueError(f"{{{name}}} takes no format; write {{{name}}} alone")
        for names in (("listmode", "export"), ("output",)):
            if not any(name in dict(named) for name in names):
                lacking = " or ".join(f"{{{name}}}" for name in names)
                raise ValueError(f"it lacks {lacking}; add it where the command takes that path")
        return run


class MmrNorm(Section):
    turn: Literal[0, 1] | None = None
    """Places by which its crystals are turned against a ring's; null: by its marked gaps, else 1."""
    axial: Literal["divide", "multiply"] = "divide"
    """Use of its axial effects: efficiencies are divided by them, as in NIPET, or multiplied, as in STIR."""


class Recon(Section):
    engine: Literal["embedded", "command"] = "embedded"
    """The embedded OP-OSEM (embedded), or an outside command (command)."""
    command: Command | None = None
    """The outside command (see config/recon/)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the embedded engine projects; auto: on a CUDA device if there is one."""
    voxel_mm: PositiveFloat = 2.4375
    """Edge length of the cubic voxels."""
    matrix: Shape = (88, 104, 88)
    """Voxels along x, y, z, around the scanner's centre."""
    subsets: PositiveInt = 16
    """Subsets of the events."""
    iterations: PositiveInt = 3
    """Passes over all events."""
    psf: Psf | None = Psf()
    """The resolution model; null: none."""
    postfilter_fwhm_mm: NonNegative = 5.5
    """Gaussian filter after the last iteration; 0: none."""
    subject_lines: Lines = 10_000_000
    """Number of random lines that sample a subject's attenuated sensitivity."""
    frames: Annotated[tuple[FrameSeconds, ...], Field(min_length=1)] | None = None
    """Durations in s of time frames, one after the other from the scan's start: each list-mode scan is also
    reconstructed as one 4D image of them (docs/data.md); null: as a static image only."""
    hardware: str | None = None
    """A μ-map of what else lies in the mMR, coil and table, in 1/cm and scanner coordinates; null: none."""
    mmr_norm: MmrNorm = MmrNorm()
    """The Biograph mMR's own normalisation (docs/mmr.md)."""
    scatter: Literal["none", "once", "own"] | None = None
    """Scatter correction by the embedded engine, where there is a μ-map. none; once: estimated from the
    normal dose and divided by the drf; own: from each dose's events; null: none of a virtual cohort without
    scatter, else once."""

    @model_validator(mode="after")
    def _frames_embedded(self) -> Self:
        if self.frames is not None and self.engine != "embedded":
            raise ValueError(
                "frames are given, but engine is command, which makes static images; set frames to null"
            )
        return self

    @property
    def models_scan(self) -> bool:
        """Return whether μ-map and crystal efficiencies are needed in this project's formats."""
        return self.engine == "embedded" or (self.command is not None and self.command.export is not None)

    @property
    def estimates_scatter(self) -> bool:
        """Return whether scatter is corrected."""
        return self.scatter != "none"


class Align(Section):
    register_to: Literal["normal", "low"] = "normal"
    """The dose the MR is registered to."""
    shape: Shape = (80, 96, 80)
    """Voxels of the cropped images along right, anterior and superior, around the MR's field of view."""


USUAL_REFERENCE = "cerebellar cortex"
"""The reference region of scans that are denoised as they are, where `kinetics.reference` is null."""


class Kinetics(Section):
    labels: str | None = None
    """Regions of dynamic scans (docs/kinetics.md). atlas: the packaged atlas, matched to the T1w image;
    truth: those of the virtual cohort; else the folder of a BIDS dataset of derivatives with *_dseg images;
    null: no curves. `make dynamic` has those of the virtual cohort."""
    description: str | None = None
    """Label of desc- or seg- in the names of such images, where a participant has several."""
    reference: str | None = None
    """The reference region, by its name; null: cerebellar cortex, or in `make dynamic` the tracer's own."""
    model: Literal["srtm", "mrtm2", "logan"] = "srtm"
    """The model of BP_ND. `make dynamic` has SRTM and a linear model: Logan's plot for logan, else MRTM2."""
    k2prime: PositiveFloat | None = None
    """mrtm2, logan: the reference region's k2 in 1/min; null: SRTM's estimate."""
    t_star: NonNegative | None = None
    """mrtm2, logan: start of the first frame used, in s after TimeZero; logan needs it."""
    exclude_frames: tuple[PositiveInt, ...] = ()
    """Numbers, from 1 on, of frames that no model uses, such as those with motion."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.model == "srtm" and (self.k2prime is not None or self.t_star is not None):
            raise ValueError("model is srtm, which estimates k2' from all frames; remove k2prime and t_star")
        if self.model == "logan" and self.t_star is None:
            raise ValueError("model is logan, a line from some time on; give t_star in s, as 2100")
        return self


class Noise(Section):
    draws: Annotated[int, Field(ge=2)] = 5
    """Thinnings of one test subject's scan at the lowest dose, behind `make noise`."""


class Metrics(Section):
    protocol: Literal["default", "released"] = "default"
    """Scale and voxels of the metrics (docs/metrics.md): this project's, or the authors' code's."""
    vgg: Literal["vgg16", "vgg19"] = "vgg16"
    """P_dist's network: VGG-16, which is installed, or the paper's VGG-19, to be downloaded once."""
    lpips: bool = False
    """Adds the column LPIPS to metrics.csv; its AlexNet is downloaded like VGG-19."""
    weights: str = "~/.cache/csrd"
    """The folder of downloaded weights (csrd weights); without internet access, copy them there."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.lpips and self.vgg == "vgg16":
            raise ValueError(
                "metrics.lpips is true with metrics.vgg: vgg16, whose channels LPIPS was not calibrated for; "
                "set metrics.vgg: vgg19, or metrics.lpips: false"
            )
        return self

    @property
    def networks(self) -> tuple[str, ...]:
        """Return the networks whose weights are needed, by their names in `csrd.imagenet`."""
        return (self.vgg, *(["alexnet"] if self.lpips else []))


class Report(Section):
    title: str = "CSR-D on the virtual cohort"
    """Heading of the HTML report."""
