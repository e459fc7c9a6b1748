"""Weights from elsewhere: TensorFlow 1 checkpoints and Keras' ImageNet files."""
