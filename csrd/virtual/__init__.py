"""The virtual subjects: anatomy, tracer uptake, MR, and PET acquisition."""
