"""Chooses an experiment for a data set and a machine, by rules that docs/planning.md backs with measurements."""
