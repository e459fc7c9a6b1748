"""DARS (He et al., ICCV 2021): self-training on exactly as many labels of each class as its share."""
