"""Time-activity curves of dynamic scans by region, and binding potentials from them."""
