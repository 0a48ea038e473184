"""Training pairs made on the fly from label maps and T1w images, in torch and numpy alone."""

from csrd.synthetic.source import Synthetic

__all__ = ["Synthetic"]
