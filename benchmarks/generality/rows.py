"""The scans of `benchmarks/generality.py`: a reference, and rows that each change one factor of it."""

from dataclasses import dataclass, replace

OTHER_PERSON = "sub-16"  # whose MR is laid over the reference's PET
SHIFTS_MM = (1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Row:
    """One scan: whose head, which tracer and scanner, how it is reconstructed, and which MR comes with it.

    `mr` is "T1w", "T2w", "none" or "other" (another person's T1w); it lies `shift_mm` beside its place.
    """

    name: str
    factor: str
    level: str
    subject: str = "sub-15"
    tracer: str = "FDG"
    scanner: str = "HRRT"
    drf: int = 4
    filter_mm: float = 3.0
    voxel_mm: float = 2.4375
    mr: str = "T1w"
    shift_mm: float = 0.0
    validation: bool = False

    @property
    def acquisition(self) -> str:
        """Return the name of the acquisition, which rows may share."""
        return f"{self.subject}_{self.tracer}_{self.scanner}"


REFERENCE = Row("reference", "reference", "FDG, HRRT, 1/4, 3 mm, 2.4 mm, T1w")


def changed(name: str, factor: str, level: str, **changes) -> Row:
    """Return the reference with a few fields changed."""
    return replace(REFERENCE, name=name, factor=factor, level=level, **changes)


def _validation() -> list[Row]:
    return [
        changed(
            f"validation_{tracer}_{drf}",
            "validation",
            f"{tracer}, 1/{drf}",
            subject=subject,
            tracer=tracer,
            drf=drf,
            validation=True,
        )
        for subject, tracer in (("sub-13", "FDG"), ("sub-14", "florbetapir"))
        for drf in (4, 10)
    ]


def _tracers() -> list[Row]:
    return [
        changed(f"{tracer}_{drf}", "tracer", f"{tracer}, 1/{drf}", tracer=tracer, drf=drf)
        for tracer in ("florbetapir", "raclopride", "DASB")
        for drf in (4, 10)
    ]


def _mr() -> list[Row]:
    shifted = [
        changed(f"mr_shift_{mm:g}", "MR", f"T1w, {mm:g} mm beside its place", shift_mm=mm) for mm in SHIFTS_MM
    ]
    return [
        changed("mr_T2w", "MR", "T2w-like", mr="T2w"),
        changed("mr_none", "MR", "none", mr="none"),
        *shifted,
        changed("mr_other", "MR", "another person's T1w", mr="other"),
    ]


# In the order in which they are made: what is waited for first, what takes longest last.
ROWS = (
    *_validation(),
    REFERENCE,
    *(changed(f"dose_{drf}", "dose", f"1/{drf}", drf=drf) for drf in (2, 10, 20)),
    *_tracers(),
    *_mr(),
    *(changed(f"filter_{mm:g}", "filter", f"{mm:g} mm", filter_mm=mm) for mm in (0.0, 6.0)),
    changed("mMR", "scanner", "mMR", scanner="mMR"),
    changed("person_FDG_4", "person", "sub-16, FDG, 1/4", subject="sub-16"),
    changed("person_FDG_10", "person", "sub-16, FDG, 1/10", subject="sub-16", drf=10),
    changed(
        "person_florbetapir_4", "person", "sub-16, florbetapir, 1/4", subject="sub-16", tracer="florbetapir"
    ),
    *(changed(f"voxel_{mm:.2g}", "voxels", f"{mm:.2g} mm", voxel_mm=mm) for mm in (4.0, 2.0, 1.21875)),
)
