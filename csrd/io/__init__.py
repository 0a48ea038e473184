"""Files in and out: images, DICOM series, tables, whole or absent."""
