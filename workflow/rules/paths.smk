# Names of a subject's files, and functions that rules need about a subject.
SIMULATED = settings.cohort.virtual
TRACER = next(iter(subjects.values())).tracer
COMPARED_SUBJECTS = [name for name, subject in subjects.items() if subject.is_compared]
LISTMODE_SUBJECTS = [name for name in COMPARED_SUBJECTS if not subjects[name].lows]
IMAGE_SUBJECTS = [name for name in COMPARED_SUBJECTS if subjects[name].lows]
ALONE = {name: subject for name, subject in subjects.items() if not subject.is_compared}  # only a low dose
ALONE_WITH_MR = [name for name, subject in ALONE.items() if subject.t1w]
SCAN = bids.Scan("{subject}", tracer=TRACER)
RAW, RECON = "<results>/raw", "<results>/recon"
LISTMODE = f"{RAW}/{SCAN.file('listmode')}"
THINNED = f"<results>/thinned/{SCAN.file('listmode', drf='{drf}')}"
T1W = f"{RAW}/{SCAN.file('t1w')}"
MUMAP = f"{RAW}/{SCAN.file('mumap')}"
NORMALISATION = f"{RAW}/{SCAN.file('normalisation')}"
FACTS = f"{RAW}/{SCAN.file('facts')}"
INPUTS = f"{RAW}/{SCAN.file('inputs')}"
ACTIVITY = f"{RAW}/{SCAN.file('activity')}"
LABELS = f"{RAW}/{SCAN.file('labels')}"
BRAIN_MASK = f"{RAW}/{SCAN.file('brain_mask')}"
MR_TO_PET = f"{RAW}/{SCAN.file('mr_to_pet')}"
SCANNER_SENSITIVITY = f"{RECON}/{SCAN.file('scanner')}"
HRRT_SENSITIVITY = f"{RECON}/scanner/hrrt_sensitivity.nii.gz"
SENSITIVITY = f"{RECON}/{SCAN.file('sensitivity')}"
SCATTER = f"{RECON}/{SCAN.file('scatter')}"
RECONSTRUCTED = f"{RECON}/{SCAN.file('pet', drf='{drf}')}"
DERIVATIVES = "<results>/derivatives/csrd"
MR = f"{DERIVATIVES}/{SCAN.mr}"
HEAD = f"{DERIVATIVES}/{SCAN.head}"
TRANSFORM = f"{DERIVATIVES}/{SCAN.transform}.json"
REFERENCE = f"{DERIVATIVES}/{SCAN.reference}"
LOW = f"{DERIVATIVES}/{SCAN.low('{drf}')}"
DENOISED = f"{DERIVATIVES}/{SCAN.denoised('{drf}', '{method}')}"
STD = f"{DERIVATIVES}/{SCAN.std('{drf}', '{method}')}"
TRUTH = f"{ACTIVITY}.nii.gz" if SIMULATED else []
MATCHED_TRUTH = "<results>/metrics/{subject}_truth.nii.gz" if SIMULATED else []  # at the PET's resolution
SIMULATED_FILES = [
    f"{LISTMODE}.l64",
    f"{LISTMODE}.l64.hdr",
    f"{T1W}.nii.gz",
    f"{MUMAP}.nii.gz",
    f"{NORMALISATION}.npy",
]
LOWEST = max(settings.drfs)
COMPARED = "csrd" in settings.methods and len(settings.methods) > 1
WITH_HEADER = "l64|l"  # suffixes of list-mode that has an Interfile header beside it
NONE = "[^a-zA-Z0-9]"  # constrains a wildcard to nothing at all


def code_of(package, *stages):
    """Return the files of a package and of stages, for cheap rules that shall run again when one changes."""
    root = Path(csrd.__file__).parent
    found = [path for path in (root / package).rglob("*") if path.suffix in (".py", ".html", ".css")]
    return sorted(map(str, [*found, *(root / "stages" / f"{stage}.py" for stage in stages)]))


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


def of_subjects(pattern, names):
    """Return (subject, file) of a figure at the lowest dose."""
    return [(name, expand(pattern, subject=name, drf=LOWEST)[0]) for name in names]


def listmode_of(wildcards):
    """Return the subject's list-mode file at the wildcards' dose."""
    listmode = LISTMODE if wildcards.drf == "1" else THINNED
    return f"{listmode}.{subjects[wildcards.subject].suffix}"


def normal_listmode_of(wildcards):
    """Return the subject's list-mode file of the normal dose."""
    return f"{LISTMODE}.{subjects[wildcards.subject].suffix}"


def header_of(wildcards):
    """Return the Interfile header beside that file, none of a file that carries its own."""
    carried = subjects[wildcards.subject].suffix == "petsird"
    return [] if carried else f"{listmode_of(wildcards)}.hdr"


def listmode_with_scanner(wildcards):
    """Return the subject's list-mode file where it names the scanner, none where that is the HRRT."""
    suffix = subjects[wildcards.subject].suffix
    return [] if suffix == "l64" else f"{LISTMODE}.{suffix}"


def geometric_sensitivity_of(wildcards):
    """Return the geometric sensitivity of the subject's scanner."""
    own = f"{SCANNER_SENSITIVITY}.nii.gz"
    return own if listmode_with_scanner(wildcards) else HRRT_SENSITIVITY


def reconstructed(drf):
    """Return the reconstruction of a dose, without extension."""
    return f"{RECON}/{SCAN.file('pet', drf=drf)}"


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
        for pattern in (DENOISED, *([STD] if method in settings.methods_with_std else []))
        for suffix in suffixes
    ]
