"""Reading and writing of images, DICOM series and tables; a file is complete or absent."""
