"""The instrument, which simulation and reconstruction both stand on."""
