"""wss: semantic segmentation from few masks (PseudoSeg and its relatives) on TensorFlow 2 / Keras 3."""

import os

__version__ = "0.1.0"

# On by default where the CPU has AVX-512 VNNI; elsewhere it is faster too. Read when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
