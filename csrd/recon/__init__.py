"""From list-mode events to an image in Bq/mL: the embedded engine, or an outside command."""
