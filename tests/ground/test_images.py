"""What an image of the user's says of its unit: read, agreed, or refused."""

import numpy as np
import pytest

from csrd.errors import InputError
from csrd.io.bids import sidecar_path
from csrd.io.files import write_json
from csrd.io.images import read_pet
from csrd.io.volume import Volume
from csrd.stages.opened import opened_pet


def pet(unit: str = "") -> Volume:
    return Volume(np.ones((3, 4, 5), np.float32), np.eye(4), unit)


@pytest.mark.parametrize(("header", "sidecar"), [("", "counts"), ("cps", ""), ("", "nCi/cc")])
def test_an_unknown_unit_is_refused(tmp_path, header, sidecar):
    path = tmp_path / "pet.nii.gz"
    pet(header).save(path)
    if sidecar:
        write_json(sidecar_path(path), {"Units": sidecar})
    with pytest.raises(InputError, match=f"pet.nii.gz: the unit '{header or sidecar}' is not Bq/mL, kBq/mL"):
        read_pet(path)


def test_an_unknown_unit_of_a_volume_is_refused():
    with pytest.raises(InputError, match="the low-dose image: the unit 'cps' is not Bq/mL"):
        opened_pet(pet("cps"), None, False)
    assert opened_pet(pet(), "SUV", False).volume.unit == "SUV"


def test_a_known_unit_is_kept(tmp_path):
    path = tmp_path / "pet.nii.gz"
    pet().save(path)
    assert "Units" not in read_pet(path).sidecar
    write_json(sidecar_path(path), {"Units": "kBq/mL"})
    assert read_pet(path).sidecar["Units"] == "kBq/mL"
