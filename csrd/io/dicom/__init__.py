"""DICOM series of PET and MR: a folder of slices in; a volume out, in the headers of the series it came from.

The only place that knows pydicom. DICOM's patient coordinates are LPS mm: x to the left, y to the back; a
volume's are RAS mm, so both change sign. Attributes as DICOM PS3.3 names them.
"""

from csrd.io.dicom.derived import check_writable, write_series
from csrd.io.dicom.series import Series, read_series

__all__ = ["Series", "check_writable", "read_series", "write_series"]
