"""A page in the browser where one gives photos to a trained network."""
