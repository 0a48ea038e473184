"""Reading of PET and MR series in DICOM, and writing of series derived from them.

The only package that imports pydicom. DICOM's patient coordinates are LPS mm: x to the left, y to the back; a
volume's are RAS mm, so both change sign. Attributes as DICOM PS3.3 names them.
"""

from csrd.io.dicom.derived import check_writable, write_series
from csrd.io.dicom.series import Series, read_series

__all__ = ["Series", "check_writable", "read_series", "write_series"]
