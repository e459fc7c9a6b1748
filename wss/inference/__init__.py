"""Predicts photos with a trained network."""
