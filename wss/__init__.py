"""wss: semantic segmentation from few masks (PseudoSeg and its relatives) on TensorFlow 2 / Keras 3."""

__version__ = "0.1.0"
