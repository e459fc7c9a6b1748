"""PseudoSeg (Zou et al., ICLR 2021)."""
