# Names of a subject's files, and functions that rules need about a subject.
SIMULATED = settings.cohort.virtual
TRACER = next(iter(subjects.values())).tracer
COMPARED_SUBJECTS = [name for name, subject in subjects.items() if subject.is_compared]
LISTMODE_SUBJECTS = [name for name in COMPARED_SUBJECTS if not subjects[name].lows]
IMAGE_SUBJECTS = [name for name in COMPARED_SUBJECTS if subjects[name].lows]
PLAIN = {name: subject for name, subject in subjects.items() if subject.is_plain}  # denoised as they are
LABELS_OF = labels_of_scans  # of the dynamic ones among these; none without kinetics.labels
ALONE = {  # only a low dose
    name: subject for name, subject in subjects.items() if not subject.is_compared and not subject.is_plain
}
ALONE_WITH_MR = [name for name, subject in ALONE.items() if subject.t1w]
SCAN = bids.Scan("{subject}", tracer=TRACER)
RAW, RECON = "<results>/raw", "<results>/recon"
LISTMODE = f"{RAW}/{SCAN.file('listmode')}"
THINNED = f"<results>/thinned/{SCAN.file('listmode', drf='{drf}')}"
OF_DRAW = {"draw": "{draw}", "drf": "{drf}"}
DRAWN_LISTMODE = f"<results>/draws/{SCAN.file('listmode', **OF_DRAW)}"
DRAWN = f"<results>/draws/{SCAN.file('pet', **OF_DRAW)}"
DRAWN_LOW = f"<results>/draws/{SCAN.file('pet', **OF_DRAW, desc='lowdose')}"
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
DYNAMIC = f"{RECON}/{SCAN.file('pet', drf='{drf}', desc='dynamic')}"
DERIVATIVES = settings.derivatives_dir or "<results>/derivatives/csrd"
SEVERAL = any("_" in name for name in subjects if name not in PLAIN)  # sessions or runs of one participant
ALIGNED = "<results>/aligned" if SEVERAL else DERIVATIVES  # by scan; name_derivatives gives BIDS names
MR = f"{ALIGNED}/{SCAN.mr}"
HEAD = f"{ALIGNED}/{SCAN.head}"
TRANSFORM = f"{ALIGNED}/{SCAN.transform}.json"
REFERENCE = f"{ALIGNED}/{SCAN.reference}"
LOW = f"{ALIGNED}/{SCAN.low('{drf}')}"
DENOISED = f"{ALIGNED}/{SCAN.denoised('{drf}', '{method}')}"
STD = f"{ALIGNED}/{SCAN.std('{drf}', '{method}')}"
PLAIN_IMAGE = f"{DERIVATIVES}/{{folder}}/pet/{{scan}}_desc-{{method}}_pet"
SCAN_PAGE = "<results>/pages/{subject}_drf-{drf}_{method}.html"
PLAIN_PAGE = f"{DERIVATIVES}/csrd_pages/{{scan}}_desc-{{method}}_pet.html"
REGIONS_OF = f"{DERIVATIVES}/{{folder}}/pet/{{scan}}_desc-regions_dseg"
CURVES_OF = f"{DERIVATIVES}/{{folder}}/pet/{{scan}}_desc-{{method}}_tacs"
BINDING_OF = f"{DERIVATIVES}/{{folder}}/pet/{{scan}}_desc-{{method}}_kinpar"
PLAIN_STD = f"{DERIVATIVES}/{{folder}}/pet/{{scan}}_desc-{{method}}Std_pet"
WEIGHTS = "<results>/models/{method}/weights.safetensors"
TRUTH = f"{ACTIVITY}.nii.gz" if SIMULATED else []
MATCHED_TRUTH = "<results>/metrics/{subject}_truth.nii.gz" if SIMULATED else []  # at the PET's resolution
SIMULATED_FILES = [
    f"{LISTMODE}.l64",
    f"{LISTMODE}.l64.hdr",
    f"{T1W}.nii.gz",
    f"{MUMAP}.nii.gz",
    f"{NORMALISATION}.npy",
]
TRAINING_DRAWS = range(2, settings.train_thinnings + 1)  # the derivatives have the first
STDS_OF_PLAIN = settings.methods_with_std if settings.cohort.std else ()
ORACLE = "<results>/metrics/{subject}_drf-{drf}_oracle.nii.gz"
PAINTED = "<results>/metrics/{subject}_painted.nii.gz"
LOWEST = max(settings.drfs)
# Of a dynamic cohort: repeats of a scan, which are numbered like the draws of a thinning
AGAIN = f"<results>/dynamic/{SCAN.file('listmode', draw='{draw}')}"
AGAIN_NORMALISATION = f"<results>/dynamic/{SCAN.file('normalisation', draw='{draw}')}"
AGAIN_THINNED = f"<results>/dynamic/{SCAN.file('listmode', **OF_DRAW)}"
FRAMES_OF = f"<results>/dynamic/{SCAN.file('pet', **OF_DRAW, desc='dynamic')}"
MEAN_OF = f"<results>/dynamic/{SCAN.file('pet', **OF_DRAW, desc='mean')}"
GUIDE_OF = f"<results>/dynamic/{SCAN.file('pet', **OF_DRAW, desc='csrdmean')}"
FRAMEWISE_OF = f"<results>/dynamic/{SCAN.file('pet', **OF_DRAW, desc='csrd')}"
MR_OF_DYNAMIC = f"<results>/dynamic/{SCAN.mr}"
BINDING = "<results>/metrics/{subject}_binding.csv"
CURVES = "<results>/metrics/{subject}_curves.csv"
REPEATS = list(range(1, settings.acquisition.repeats + 1))
DOSES = [1, *settings.drfs]
COMPARED_METHODS = list(settings.compared_methods)
COMPARED = "csrd" in COMPARED_METHODS and len(COMPARED_METHODS) > 1
WITH_HEADER = "l64|l"  # suffixes of list-mode that has an Interfile header beside it
WITH_VENDOR = [name for name, subject in subjects.items() if subject.vendor]
OWN_NORM = [name for name, subject in subjects.items() if subject.normalisation_suffix == "n"]
NONE = "[^a-zA-Z0-9]"  # constrains a wildcard to nothing at all


def code_of(package, *stages):
    """Return the files of a package and of stages, for cheap rules that run again when one changes."""
    root = Path(csrd.__file__).parent
    found = [path for path in (root / package).rglob("*") if path.suffix in (".py", ".html", ".css", ".js")]
    return local(sorted(map(str, [*found, *(root / "stages" / f"{stage}.py" for stage in stages)])))


def files_of(column):
    """Return an input function: the user's own file of the subject, or none where the sheet has n/a."""
    return lambda wildcards: local_file(getattr(subjects[wildcards.subject], column))


def local_file(path):
    """Return a file of this machine, which it is even where results are stored elsewhere; none for None."""
    return local(str(path)) if path else []


def local_files(*paths):
    """Return a list of those, without the ones that are None."""
    return [local_file(path) for path in paths if path]


def own_files(wildcards):
    """Return every file of the user's for the subject."""
    subject = subjects[wildcards.subject]
    norm = subject.normalisation
    corrections = subject.mumap, norm, norm and other_half(norm)
    scan = subject.listmode, subject.header, subject.t1w, *corrections, subject.pet, subject.vendor
    return local_files(*scan, *subject.lows.values())


def growing(amount):
    """Return an amount of a resource, doubled at the second attempt, since the limit may have been too low."""
    return lambda wildcards, attempt: amount * attempt


def facts_of(wildcards):
    """Return tracer, weight and activity of the subject."""
    return subjects[wildcards.subject].facts


def made_of(methods, controls, lows):
    """Return the patterns of the images at the doses `lows` of methods, then of controls: doses of each together."""
    of_controls = {
        "normal": f"{REFERENCE}.nii.gz",
        "truth": MATCHED_TRUTH,
        "oracle": ORACLE,
        "painted": PAINTED,
    }
    patterns = [f"{DENOISED}.nii.gz".replace("{method}", key) for key in methods]
    patterns += [of_controls[key] for key in controls]
    return [pattern.replace("{drf}", str(drf)) for pattern in patterns for drf in lows]


def is_tested(wildcards):
    """Return whether the subject is a test subject, which has the test set of spots."""
    return subjects[wildcards.subject].split == "test"


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


def listmode_of_repeat(wildcards):
    """Return a repeat's list-mode of a dynamic cohort at a dose; the first one is the subject's scan."""
    if wildcards.draw == "1":
        return listmode_of(wildcards)
    return f"{AGAIN if wildcards.drf == '1' else AGAIN_THINNED}.l64"


def header_of(wildcards):
    """Return the Interfile header beside that file, none for a file with its own."""
    carried = subjects[wildcards.subject].suffix == "petsird"
    return [] if carried else f"{listmode_of(wildcards)}.hdr"


def header_of_draw(wildcards):
    """Return the Interfile header beside a further thinning, none for a file with its own."""
    suffix = subjects[wildcards.subject].suffix
    return [] if suffix == "petsird" else f"{DRAWN_LISTMODE}.{suffix}.hdr"


def lows_of_fit(wildcards):
    """Return the low doses that a method is fitted and selected on; learned ones have further thinnings."""
    lows = expand(f"{LOW}.nii.gz", subject=subjects_of("train", "validation"), drf=settings.train_drfs)
    if wildcards.method not in settings.learned_methods:
        return lows
    trained = [name for name in subjects_of("train") if name in LISTMODE_SUBJECTS]
    return lows + expand(f"{DRAWN_LOW}.nii.gz", subject=trained, drf=settings.train_drfs, draw=TRAINING_DRAWS)


def listmode_with_scanner(wildcards):
    """Return the subject's list-mode file, which names the scanner; none for the HRRT."""
    suffix = subjects[wildcards.subject].suffix
    return [] if suffix == "l64" else f"{LISTMODE}.{suffix}"


def normalisation_of(wildcards):
    """Return the subject's normalisation as imported: crystal efficiencies, or the mMR's own components."""
    return f"{NORMALISATION}.{subjects[wildcards.subject].normalisation_suffix}"


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


def weights_of(wildcards):
    """Return the file of a trained network's weights, none for a method without."""
    return WEIGHTS if wildcards.method in settings.learned_methods else []


def methods_for(name):
    """Return the fitted methods that can denoise a low dose without a normal dose."""
    return settings.fitted_methods if subjects[name].t1w else settings.methods_without_mr


def model_of_plain(wildcards):
    """Return a method's card where it lies: a copy, new in each run, would let all scans be denoised again."""
    if models:
        return local_file(f"{models[wildcards.method]}/model.json")
    return f"{settings.results_dir}/models/{wildcards.method}/model.json"


def methods_for_plain(name):
    """Return the methods for a scan that is denoised as it is: no second one that only leaves out its MR."""
    suited = methods_for(name)
    return [key for key in suited if method(key).like not in suited]


def units_of_plain(wildcards):
    """Return the unit in the settings for a scan whose sidecar has none."""
    return None if "Units" in bids.inherited(PLAIN[wildcards.scan].pet) else settings.cohort.units


def images_of_plain(*suffixes):
    """Return the files made from scans that are denoised as they are."""
    return [
        f"{pattern}{suffix}".format(folder=subject.folder, scan=name, method=key)
        for name, subject in PLAIN.items()
        for key in methods_for_plain(name)
        for pattern in (PLAIN_IMAGE, *([PLAIN_STD] if key in STDS_OF_PLAIN else []))
        for suffix in suffixes
    ]


def of_plain(pattern, suffix, wildcards):
    """Return a file of a scan that is denoised as it is."""
    folder = PLAIN[wildcards.scan].folder
    return f"{pattern}{suffix}".format(folder=folder, scan=wildcards.scan, method=wildcards.method)


def of_dynamic(pattern, suffix, wildcards, methods=None):
    """Return files of a dynamic scan with regions, before and after denoising; none of another scan."""
    if wildcards.scan not in LABELS_OF:
        return []
    folder, keys = PLAIN[wildcards.scan].folder, methods or ("input", wildcards.method)
    return [f"{pattern}{suffix}".format(folder=folder, scan=wildcards.scan, method=key) for key in keys]


def bindings_of_plain():
    """Return the tables of binding potentials of dynamic scans, before and after denoising."""
    return [
        BINDING_OF.format(folder=PLAIN[name].folder, scan=name, method=key) + ".tsv"
        for name in LABELS_OF
        for key in ("input", *methods_for_plain(name))
    ]


def pages_of_plain():
    """Return the pages of scans that are denoised as they are."""
    return [
        PLAIN_PAGE.format(scan=name, method=paged_method(methods_for_plain(name)))
        for name in PLAIN
        if methods_for_plain(name)
    ]


def paged_method(names):
    """Return the method that a scan's page is about: the first with a standard deviation; None without any."""
    return next(iter([name for name in names if name in settings.methods_with_std] + list(names)), None)


def pages_of_alone():
    """Return the pages of low doses without a normal dose."""
    return [
        SCAN_PAGE.format(subject=name, drf=drf, method=paged_method(methods_for(name)))
        for name, subject in ALONE.items()
        for drf in subject.lows
        if methods_for(name)
    ]


def dynamic_images(*suffixes):
    """Return the 4D images of all list-mode scans and doses; none without recon.frames."""
    subjects_with = LISTMODE_SUBJECTS if settings.recon.frames else []
    doses = [1, *settings.drfs]
    return [
        file for suffix in suffixes for file in expand(f"{DYNAMIC}{suffix}", subject=subjects_with, drf=doses)
    ]


def images_of_alone(*suffixes):
    """Return the files made from low doses without a normal dose."""
    return [
        f"{pattern}{suffix}".format(subject=name, drf=drf, method=method)
        for name, subject in ALONE.items()
        for drf in subject.lows
        for method in methods_for(name)
        for pattern in (DENOISED, *([STD] if method in settings.methods_with_std else []))
        for suffix in suffixes
    ]


def derived(name, scan):
    """Return the files that are derived from a subject's scan, under the names of `scan`."""
    images = [scan.mr] if subjects[name].t1w else []
    with_std = set(settings.methods_with_std)
    if name in COMPARED_SUBJECTS:
        images += [scan.reference, scan.head, *(scan.low(drf) for drf in settings.drfs)]
        doses = settings.drfs if subjects[name].split == "test" else ()
        used = [key for key in settings.methods if key in settings.fitted_methods]
    else:
        doses, used = subjects[name].lows, methods_for(name)
    for key in used:
        images += [scan.denoised(drf, key) for drf in doses]
        images += [scan.std(drf, key) for drf in doses if key in with_std]
    transform = [f"{scan.transform}.json"] if subjects[name].t1w else []
    return [f"{image}{suffix}" for image in images for suffix in (".nii.gz", ".json")] + transform


def derivatives_by(scan_of):
    """Return the files derived from all scans but plain ones, by a function from a subject to its names."""
    names = [*COMPARED_SUBJECTS, *ALONE]
    return [path for name in names for path in derived(name, scan_of(subjects[name]))]


def checked_dynamic(wildcards):
    """Return no file; stop with a sentence where the settings have no dynamic virtual cohort."""
    from csrd.stages.binding_settings import check

    with plain_errors():
        check(settings)
    return []


def kinetics_of(*keys):
    """Return those settings of kinetics, as a block."""
    return {key: config["kinetics"][key] for key in keys}


# Control rows of the tables that no method makes: against the normal dose, against the truth, and of lesions.
PAINTED_THERE = ["painted"] if SIMULATED and subjects_of("train") else []
CONTROLS = ["truth", "oracle", *PAINTED_THERE] if SIMULATED else []
CONTROLS_OF_TRUTH = ["normal", *PAINTED_THERE]
