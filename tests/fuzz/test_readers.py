"""Damaged files: every reader ends with a clear sentence or with what is left, whatever the damage.

The long run, 10,000 damaged files a reader: pytest tests/fuzz --hypothesis-profile=long
"""

from pathlib import Path

import numpy as np
import petsird
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrd.io.dicom import read_series
from csrd.io.files import header_path
from csrd.io.interfile_image import read_interfile
from csrd.io.normalisation import read_efficiencies
from csrd.listmode import open_listmode, thin, write_hrrt, write_petlink
from csrd.listmode.petsird.blocks import SCHEMA
from csrd.listmode.thin import drf_of
from csrd.listmode.timing import Timing
from csrd.scanner.geometry import mmr
from csrd.scanner.petsird import scanner_of_scan
from csrd.seeds import generator
from csrd.stages.import_ import normalised_scanner
from tests import petsird_files
from tests.fuzz.damage import bounded, damaged, damages, header_damages
from tests.ground.test_dicom import write_pet
from tests.siemens_files import PERFECT, SOFTWARE, norm_pair, pair_of, perfect_norm

pytestmark = pytest.mark.linux  # /proc; and macOS does not hold a process to RLIMIT_AS
TIMING = {
    "hrrt": {"image duration": 0.2, "isotope halflife": 1224.0, "branching factor": 0.99},
    "petlink": {
        "image duration (sec)": 0.2,
        "isotope gamma halflife (sec)": 6586,
        "isotope branching factor": 0.97,
    },
}


def events(per_head: int, apart: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 300 events in 200 ms between two heads."""
    draw = generator(1, "fuzz")
    crystals = draw.integers(per_head, size=(300, 2)) + [0, apart * per_head]
    times = np.sort(draw.integers(200, size=300)).astype(np.uint32)
    return crystals.astype(np.uint32), draw.random(300) < 0.7, times


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def scans(folder) -> dict[str, tuple[bytes, bytes]]:
    """Return the data and the header of a sound file of each format."""
    hrrt, petlink = folder / "sound.l64", folder / "sound.l"
    write_hrrt(hrrt, [events(14_976, 4)], TIMING["hrrt"])
    ours = events(64 * 8, 28)
    crystals = ours[0] - ours[0] // 8 % 64 * 8  # one ring, so that every pair has a bin
    write_petlink(petlink, [(crystals, *ours[1:])], TIMING["petlink"])
    files = {"hrrt": hrrt, "petlink": petlink}
    for path in files.values():
        read_listmode(path, folder / "warm")  # compiles, outside the bounds of time
    return {name: (path.read_bytes(), header_path(path).read_bytes()) for name, path in files.items()}


def read_listmode(path: Path, target: Path) -> tuple[dict, np.ndarray]:
    """Read a list-mode file in every way there is; return its counts and the crystals of its events."""
    listmode = open_listmode(path)
    info = listmode.info()
    thin(path, target, drf=4, seed=1)
    crystals = [block.crystals for block in listmode.blocks(64)]
    assert drf_of(listmode) >= 1 and Timing.of(listmode).over(listmode.survey(), listmode).effective_s > 0
    return info, np.concatenate([*crystals, np.empty((0, 2), np.uint32)])


@pytest.mark.parametrize("name", ["hrrt", "petlink"])
@given(data=damages, header=header_damages)
def test_listmode(folder, scans, name, data, header):
    path = folder / f"damaged.{name}"
    sound_data, sound_header = scans[name]
    path.write_bytes(damaged(sound_data, data))
    header_path(path).write_bytes(damaged(sound_header, header))
    with bounded():
        info, crystals = read_listmode(path, folder / f"thin.{name}")
        assert len(crystals) <= info["prompts"] + info["delayeds"] <= path.stat().st_size // 4
        assert crystals.max(initial=0) < {"hrrt": 119_808, "petlink": 28_672}[name]


@pytest.mark.parametrize("name", ["hrrt", "petlink"])
@given(share=st.floats(0.01, 1))
def test_a_listmode_file_cut_short_is_its_beginning(folder, scans, name, share):
    data, header = scans[name]
    whole, cut = folder / f"whole.{name}", folder / f"cut.{name}"
    for path, content in ((whole, data), (cut, data[: max(8, int(share * len(data)) // 8 * 8)])):
        path.write_bytes(content)
        header_path(path).write_bytes(header.replace(f"sound.{name}".encode(), path.name.encode()))
    _, everything = read_listmode(whole, folder / f"thin.{name}")
    with bounded():
        _, beginning = read_listmode(cut, folder / f"thin.{name}")
        assert (beginning == everything[: len(beginning)]).all()
        assert len(beginning) >= len(everything) * share - 20


@pytest.fixture(scope="module")
def petsird_scan(folder) -> bytes:
    """Return a sound file: every kind of time block, two windows of energy, a table of module pairs."""
    scanner = petsird_files.cylinder(modules=6, crystals=(1, 2, 2), windows=2)
    tables = [petsird.ModulePairEfficiencies(values=[[0.5, 1.0] * 4] * 8, sgid=0)]
    scanner.detection_efficiencies.module_pair_efficiencies_vectors = [[tables]]
    blocks = petsird_files.time_blocks(scanner)
    return petsird_files.write(
        folder / "sound.petsird", petsird_files.header_of(scanner), blocks
    ).read_bytes()


@given(data=damages, where=st.sampled_from(["anywhere", "header", "blocks"]))
def test_petsird(folder, petsird_scan, data, where):
    """Half of a small file is its schema, so that two thirds of the damage go behind it."""
    schema = petsird_scan.index(SCHEMA.encode()) + len(SCHEMA)
    body = petsird_scan.rindex(b"PT\0", schema)  # the exam: what follows is mostly time blocks
    first = {"anywhere": 0, "header": schema, "blocks": body}[where]
    last = body if where == "header" else len(petsird_scan)
    path, low = folder / "damaged.petsird", folder / "low.petsird"
    path.write_bytes(petsird_scan[:first] + damaged(petsird_scan[first:last], data) + petsird_scan[last:])
    with bounded():
        listmode = open_listmode(path)
        info = listmode.info()
        assert info["prompts"] + info["delayeds"] <= path.stat().st_size // 3
        kept = thin(path, low, drf=4, seed=1)
        thinned = open_listmode(low).info()
        assert thinned["prompts"] == kept["prompts_kept"] and thinned["duration_s"] == info["duration_s"]
        crystals = [block.crystals for block in listmode.blocks(64)]
        assert sum(map(len, crystals)) <= info["prompts"] + info["delayeds"]
        scanner = scanner_of_scan(listmode)
        assert all(block.max() < scanner.crystals for block in crystals)
        assert (
            scanner.efficiencies.min() >= 0
            and Timing.of(listmode).over(listmode.survey(), listmode).effective_s > 0
        )
        assert drf_of(listmode) >= 1


@pytest.fixture(scope="module")
def pairs(folder, scans) -> dict[str, tuple[bytes, bytes]]:
    """Return the .dcm and the .bf of sound raw data: a list-mode pair, one all in its .dcm, a norm."""
    found = {}
    for name, software in zip(("pair", "inside"), SOFTWARE, strict=True):
        path = pair_of(folder / "sound.l", folder / f"{name}.dcm", software, inside=name == "inside")
        read_listmode(path, folder / "warm.dcm")
        found[name] = path.read_bytes(), b"" if name == "inside" else path.with_suffix(".bf").read_bytes()
    path = norm_pair(perfect_norm().values, folder / "norm.dcm", PERFECT)
    read_normalisation(path)
    return found | {"norm": (path.read_bytes(), path.with_suffix(".bf").read_bytes())}


@pytest.mark.parametrize("name", ["pair", "inside"])
@given(dicom=damages, data=damages, where=st.sampled_from(["dicom", "data", "both"]))
def test_siemens_pair(folder, pairs, name, dicom, data, where):
    path, (sound_dicom, sound_data) = folder / "damaged.dcm", pairs[name]
    path.write_bytes(damaged(sound_dicom, dicom) if where != "data" else sound_dicom)
    path.with_suffix(".bf").unlink(missing_ok=True)
    if name == "pair":
        # Damage in place: any other size is refused
        changed = damaged(sound_data, data if where != "dicom" else [])[: len(sound_data)]
        path.with_suffix(".bf").write_bytes(changed.ljust(len(sound_data), b"\0"))
    with bounded():
        info, crystals = read_listmode(path, folder / "thin.dcm")
        assert len(crystals) <= info["prompts"] + info["delayeds"] <= info["bytes"] // 4
        assert crystals.max(initial=0) < 28_672
        assert open_listmode(folder / "thin.dcm").info()["time_tags"] == info["time_tags"]


def read_normalisation(path: Path) -> None:
    """Read the mMR's own normalisation in every way there is."""
    scanner, notes = normalised_scanner(mmr(), path)
    assert scanner.efficiencies.shape == (28_672,) and scanner.efficiencies.min() >= 0 and notes
    assert np.isfinite(scanner.measured_factors(np.array([[0, 14_336]], np.uint32))).all()


@given(dicom=damages, data=damages, where=st.sampled_from(["dicom", "data", "both"]))
def test_siemens_norm(folder, pairs, dicom, data, where):
    path, (sound_dicom, sound_data) = folder / "damaged-norm.dcm", pairs["norm"]
    path.write_bytes(damaged(sound_dicom, dicom) if where != "data" else sound_dicom)
    changed = damaged(sound_data, data if where != "dicom" else [])[: len(sound_data)]
    path.with_suffix(".bf").write_bytes(changed.ljust(len(sound_data), b"\0"))
    with bounded():
        read_normalisation(path)


INTERFILE = b"""!INTERFILE :=
name of data file := image.v
imagedata byte order := LITTLEENDIAN
!number format := float
!number of bytes per pixel := 4
!matrix size [1] := 4
!matrix size [2] := 5
!matrix size [3] := 6
scaling factor (mm/pixel) [1] := 2
scaling factor (mm/pixel) [2] := 2
scaling factor (mm/pixel) [3] := 2
data offset in bytes [1] := 0
quantification units := 0.5
!END OF INTERFILE :=
"""


@given(data=damages, header=header_damages)
def test_interfile_image(folder, data, header):
    (folder / "image.v").write_bytes(damaged(bytes(480), data) if len(header) < 2 else bytes(480))
    (folder / "image.hv").write_bytes(damaged(INTERFILE, header))
    with bounded():
        volume = read_interfile(folder / "image.hv")
        assert volume.array.size <= 480 and np.isfinite(volume.array).all()


@pytest.fixture(scope="module")
def normalisation(folder) -> Path:
    np.save(folder / "sound.npy", np.ones(mmr().crystals, np.float32))
    return folder / "sound.npy"


@given(header=damages, data=damages, cut=st.integers(0, 160))
def test_normalisation(folder, normalisation, header, data, cut):
    """Its first 128 bytes say what it is, and get most of the damage."""
    sound = normalisation.read_bytes()
    (folder / "damaged.npy").write_bytes(damaged(sound[:cut], header) + damaged(sound[cut:], data[:1]))
    with bounded():
        efficiencies = read_efficiencies(folder / "damaged.npy", mmr().crystals, "mMR")
        assert efficiencies.shape == (mmr().crystals,) and (efficiencies >= 0).all()


@pytest.fixture(scope="module")
def series(folder) -> list[Path]:
    write_pet(folder / "series")
    return sorted((folder / "series").iterdir())


@given(first=damages, second=damages, both=st.booleans())
def test_dicom(folder, series, first, second, both):
    (folder / "damaged").mkdir(exist_ok=True)
    for number, sound in enumerate(series):
        damage = first if number == 1 else second if number == 2 and both else []
        (folder / "damaged" / f"{number}.dcm").write_bytes(damaged(sound.read_bytes(), damage))
    with bounded():
        volume = read_series(folder / "damaged").volume
        assert volume.array.size <= 2 * 6 * 5 * 4 and np.isfinite(volume.array).all()
