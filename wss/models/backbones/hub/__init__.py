"""Encoders of keras-hub, the extra `hub`: ViTs and pyramids with DeepLab's roles. Nothing here imports keras-hub early."""
