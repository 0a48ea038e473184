# Where the files of a subject stand, and what a rule needs to know about it.
SIMULATED = settings.cohort.sheet is None
TRACER = next(iter(subjects.values())).tracer
RAW = "<results>/raw/{subject}/{subject}"
RECON = "<results>/recon/{subject}/{subject}"
ANAT = "<results>/derivatives/csrd/{subject}/anat/{subject}"
PET = f"<results>/derivatives/csrd/{{subject}}/pet/{{subject}}_trc-{TRACER}"
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
FILE_COLUMNS = ("listmode", "header", "t1w", "mumap", "normalisation")
LOWEST = max(settings.drfs)
COMPARED = "csrd" in settings.methods and len(settings.methods) > 1
NO_METHOD = "[^a-zA-Z0-9]"  # constrains a rule to no method at all


def code_of(room):
    """Return the files of a library room, for cheap rules that shall run again when it changes."""
    return sorted(map(str, (Path(csrd.__file__).parent / room).glob("*.py")))


def files_of(column):
    """Return an input function: the user's own file of the subject, none where the sheet has n/a."""
    return lambda wildcards: getattr(subjects[wildcards.subject], column) or []


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
    """Return the Interfile header beside that file."""
    return f"{listmode_of(wildcards)}.hdr"
