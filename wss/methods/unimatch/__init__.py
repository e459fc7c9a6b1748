"""FixMatch, UniMatch (Yang et al., CVPR 2023) and UniMatch V2 (TPAMI 2025): consistency under strong perturbations."""
