"""Outside reconstruction engines: the model of a scan in their formats, and a check of their images."""
