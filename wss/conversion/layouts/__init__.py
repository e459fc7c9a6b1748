"""The layouts on disk that data sets come in: which files make an image, its mask and what else is known of it."""
