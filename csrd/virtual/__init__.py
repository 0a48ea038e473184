"""The virtual subjects: their heads, what a tracer does in them, and what the scanners see of them."""
