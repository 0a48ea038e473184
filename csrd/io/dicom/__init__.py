"""Reading of PET and MR series in DICOM, and writing of series derived from them.

The only package that imports pydicom. DICOM's patient coordinates are LPS mm: x to the left, y to the back; a
volume's are RAS mm, so both change sign. Attributes as DICOM PS3.3 names them.
"""

from csrd.io.dicom.derived import check_writable, new_series, write_series
from csrd.io.dicom.dynamic import frame_files, times_of
from csrd.io.dicom.series import Series, read_files, read_series

__all__ = ["Series", "check_writable", "frame_files", "new_series", "read_files", "read_series", "times_of",
           "write_series"]  # fmt: skip
