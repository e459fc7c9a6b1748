"""BAP and NAL (Oh et al., CVPR 2021): masks from boxes by background-aware pooling, and a loss that bears their mistakes."""
