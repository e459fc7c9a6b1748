"""Runs commands one after the other: self-training rounds, studies."""
