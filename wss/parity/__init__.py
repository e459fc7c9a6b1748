"""Parity with the original PseudoSeg: its tensors by its names; see `golden_tensors` and docs/parity.md."""

from wss.parity.flags import OriginalFlags
from wss.parity.original import build_original, golden_tensors

__all__ = ["OriginalFlags", "build_original", "golden_tensors"]
