"""Restartable parallel jobs, in processes or on Apache Beam, and the output folder that they fill."""
