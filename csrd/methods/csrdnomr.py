"""CSR-D without the MR."""

from typing import ClassVar

from csrd.methods.csrd import Csrd


class CsrdNoMr(Csrd):
    """The model trained on PET alone."""

    key, label = "csrdnomr", "CSRD w/o MR"
    wants_mr: ClassVar[bool] = False


METHOD = CsrdNoMr
