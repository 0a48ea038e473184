"""The scanner model of simulation and reconstruction: geometry, projector, response."""
