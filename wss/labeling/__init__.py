"""Offline pseudo labels: which pixels of unlabelled images keep the label that a model gave them."""
