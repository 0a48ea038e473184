"""One grid for a subject's MR and PET: registration, resampling, cropping, head mask, QC picture."""
