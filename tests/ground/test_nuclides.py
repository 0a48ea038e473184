import pytest

from csrd.nuclides import CODES, ELEMENTS, NUCLIDES, nuclide_named


@pytest.mark.parametrize(
    "text", ["F18", "18F", "F-18", "[18F]", "^18^Fluorine", "Fluorine-18", "77004003", "C-111A1"]
)
def test_names_of_fluorine(text):
    assert nuclide_named(text) == "F18"


@pytest.mark.parametrize("text", ["", "n/a", "F19", "C-99", "fluorine", "18", "FDG18x"])
def test_what_names_no_nuclide_of_pet(text):
    assert nuclide_named(text) is None


def test_every_code_and_element_leads_to_a_nuclide():
    assert set(CODES.values()) == set(NUCLIDES)
    assert {"".join(filter(str.isalpha, name)) for name in NUCLIDES} == set(ELEMENTS.values())
    assert all(n.half_life_s > 60 and 0 < n.branching < 1 for n in NUCLIDES.values())
