"""Training pairs made on the fly from label maps and T1w images, in torch and numpy alone."""

from pathlib import Path

from csrd.synthetic.source import Synthetic

ANATOMIES = Path(__file__).with_name("data") / "anatomies.npz"
NOISE = Path(__file__).with_name("data") / "noise.npz"

__all__ = ["ANATOMIES", "NOISE", "Synthetic"]
