"""CSR-D without the MR."""

from csrd.methods.csrd import Csrd


class CsrdNoMr(Csrd):
    """The model trained on PET alone."""

    key, label, row = "csrdnomr", "CSRD w/o MR", 5
    like = "csrd"
    wants_mr = False


METHOD = CsrdNoMr
