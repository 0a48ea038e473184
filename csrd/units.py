"""Units of PET images and their conversion to SUV; FWHM and standard deviation of a Gaussian."""

import math

from csrd.errors import InputError

KBQ_PER_BQ = 1e-3
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
SIGMA_PER_FWHM = 1 / FWHM_PER_SIGMA

_NAMES = {
    "bq/ml": ("Bq/mL", 1.0),
    "bqml": ("Bq/mL", 1.0),  # DICOM's name
    "kbq/ml": ("Bq/mL", 1e3),
    "suv": ("SUV", 1.0),
    "g/ml": ("SUV", 1.0),
}


_MBQ = {"bq": 1e-6, "kbq": 1e-3, "mbq": 1.0, "gbq": 1e3, "uci": 0.037, "mci": 37.0, "ci": 37e3}

_KG = {"kg": 1.0, "kilogram": 1.0, "kilograms": 1.0, "g": 1e-3, "lb": 0.45359237, "lbs": 0.45359237}


def pet_unit(name: str) -> tuple[str, float]:
    """Return the unit that images are stored in, "Bq/mL" or "SUV", and the factor to it from the named unit.

    Raises InputError for a unit that is not an activity concentration or SUV.
    """
    known = _NAMES.get(name.strip().lower())
    if known is None:
        raise InputError(f"the unit {name!r} is not Bq/mL, kBq/mL or SUV; convert the image to one of them")
    return known


def megabecquerel(value: object, unit: str = "MBq") -> float | None:
    """Return an activity in MBq, None where it is not a number above zero or its unit is not known.

    >>> megabecquerel(10, "mCi"), megabecquerel(3.7e8, "Bq"), megabecquerel("n/a"), megabecquerel(1, "kg")
    (370.0, 370.0, None, None)
    """
    return _in_units(value, _MBQ.get(unit.strip().lower().replace("µ", "u")))


def kilograms(value: object, unit: str = "kg") -> float | None:
    """Return a body weight in kg, None where it is not a number above zero or its unit is not known.

    >>> kilograms("70"), kilograms(70e3, "g"), kilograms("n/a"), kilograms(70, "stone")
    (70.0, 70.0, None, None)
    """
    return _in_units(value, _KG.get(unit.strip().lower()))


def _in_units(value: object, factor: float | None) -> float | None:
    """Return a number above zero times a factor, None where either is none."""
    try:
        number = float(value) * factor if factor else 0.0  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None


def agreed_unit(claims: dict[str, str | None]) -> str | None:
    """Return the unit that all sources name; None where none does.

    Raises InputError where two claims differ.
    """
    stated = {who: str(name) for who, name in claims.items() if name}
    meant = {who: _NAMES.get(name.strip().lower(), name) for who, name in stated.items()}
    if len(set(meant.values())) > 1:
        text = ", ".join(
            f"{name} by its {who}" if who[0] != "-" else f"{name} by {who}" for who, name in stated.items()
        )
        raise InputError(f"its unit is {text}; correct the one that is wrong")
    return next(iter(stated.values()), None)


def suv_per_bq_ml(weight_kg: float, activity_MBq: float) -> float:  # noqa: N803
    """Return the SUV of 1 Bq/mL: weight over activity, a gram of tissue taken as 1 mL.

    Raises InputError for a value that is not above zero.
    """
    for name, value, unit in (("weight", weight_kg, "kg"), ("activity", activity_MBq, "MBq")):
        if value <= 0:
            raise InputError(f"the {name} is {value} {unit}; give it above zero, or leave it out for kBq/mL")
    return weight_kg * 1e3 / (activity_MBq * 1e6)
