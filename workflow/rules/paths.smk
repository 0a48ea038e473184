# Where the files of a subject stand, and what a rule needs to know about it.
SIMULATED = settings.cohort.virtual
TRACER = next(iter(subjects.values())).tracer
COMPARED_SUBJECTS = [name for name, subject in subjects.items() if subject.is_compared]
LISTMODE_SUBJECTS = [name for name in COMPARED_SUBJECTS if not subjects[name].lows]
IMAGE_SUBJECTS = [name for name in COMPARED_SUBJECTS if subjects[name].lows]
ALONE = {name: subject for name, subject in subjects.items() if not subject.is_compared}  # only a low dose
ALONE_WITH_MR = [name for name, subject in ALONE.items() if subject.t1w]
RAW = "<results>/raw/{subject}/{subject}"
RECON = "<results>/recon/{subject}/{subject}"
ANAT = "<results>/derivatives/csrd/{subject}/anat/{subject}"
PET = "<results>/derivatives/csrd/{subject}/pet/{subject}" + (f"_trc-{TRACER}" if TRACER else "")
REFERENCE = f"{PET}_rec-acstat_desc-reference_pet"
LOW = f"{PET}_rec-acstatDrf{{drf}}_desc-lowdose_pet"
DENOISED = f"{PET}_rec-acstatDrf{{drf}}_desc-{{method}}_pet"
SPREAD = f"{PET}_rec-acstatDrf{{drf}}_desc-{{method}}Spread_pet"
TRUTH = "<results>/raw/{subject}/truth/{subject}_activity.nii.gz" if SIMULATED else []
MATCHED_TRUTH = "<results>/metrics/{subject}_truth.nii.gz" if SIMULATED else []  # as the scanner would see it
SIMULATED_FILES = [
    f"{RAW}_{file}"
    for file in ("listmode.l64", "listmode.l64.hdr", "T1w.nii.gz", "mumap.nii.gz", "normalisation.npy")
]
LOWEST = max(settings.drfs)
COMPARED = "csrd" in settings.methods and len(settings.methods) > 1
WITH_HEADER = "l64|l"  # suffixes of list-mode that has an Interfile header beside it
NONE = "[^a-zA-Z0-9]"  # constrains a wildcard to nothing at all


def code_of(room):
    """Return the files of a library room, for cheap rules that shall run again when one changes."""
    found = (Path(csrd.__file__).parent / room).rglob("*")
    return sorted(str(path) for path in found if path.suffix in (".py", ".html", ".css"))


def files_of(column):
    """Return an input function: the user's own file of the subject, none where the sheet has n/a."""
    return lambda wildcards: getattr(subjects[wildcards.subject], column) or []


def own_files(wildcards):
    """Return every file that the user has of the subject."""
    subject = subjects[wildcards.subject]
    scan = subject.listmode, subject.header, subject.t1w, subject.mumap, subject.normalisation, subject.pet
    return [path for path in (*scan, *subject.lows.values()) if path]


def growing(amount):
    """Return so much of a resource, twice as much at the second attempt: a limit may have ended the first."""
    return lambda wildcards, attempt: amount * attempt


def facts_of(wildcards):
    """Return what is known about the subject besides its files."""
    return subjects[wildcards.subject].facts


def subjects_of(*splits):
    """Return the names of the subjects in the splits."""
    return [name for name, subject in subjects.items() if subject.split in splits]


def listmode_of(wildcards):
    """Return the subject's list-mode file at the wildcards' dose."""
    folder = "raw/{subject}/{subject}" if wildcards.drf == "1" else "thinned/{subject}/{subject}_drf-{drf}"
    return f"<results>/{folder}_listmode.{subjects[wildcards.subject].suffix}"


def header_of(wildcards):
    """Return the Interfile header beside that file, none of a file that carries its own."""
    carried = subjects[wildcards.subject].suffix == "petsird"
    return [] if carried else f"{listmode_of(wildcards)}.hdr"


def scanner_told_by(wildcards):
    """Return the subject's list-mode file where it tells the scanner, none where that is the HRRT."""
    suffix = subjects[wildcards.subject].suffix
    return [] if suffix == "l64" else f"{RAW}_listmode.{suffix}"


def geometric_sensitivity_of(wildcards):
    """Return the sensitivity of the subject's scanner, empty."""
    own = "<results>/recon/{subject}/{subject}_scanner.nii.gz"
    return own if scanner_told_by(wildcards) else "<results>/recon/scanner/hrrt_sensitivity.nii.gz"


def among(names):
    """Return the pattern of a wildcard that is one of the names."""
    return "|".join(names) or NONE


def methods_for(name):
    """Return the fitted methods that a low dose without a normal one can be denoised by."""
    return settings.fitted_methods if subjects[name].t1w else settings.methods_without_mr


def images_of_alone(*suffixes):
    """Return what is made of low doses without a normal one."""
    return [
        f"{pattern}{suffix}".format(subject=name, drf=drf, method=method)
        for name, subject in ALONE.items()
        for drf in subject.lows
        for method in methods_for(name)
        for pattern in (DENOISED, *([SPREAD] if method in settings.methods_with_std else []))
        for suffix in suffixes
    ]
