"""The report: Table 1 and its split by dose, figures, and one page with all of them."""
