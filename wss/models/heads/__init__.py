"""The segmentation heads."""
