"""Reconstruction of list-mode events to an image in Bq/mL, by the embedded engine."""
