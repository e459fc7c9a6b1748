"""The rounds of self-training: what grows from one to the next."""


def scale_range(minimum: float, maximum: float, beta_min: float, beta_max: float) -> tuple[float, float]:
    """Returns the random scales of the next round, wider than those of this one: DARS (He et al., ICCV 2021).

    Args:
        minimum, maximum: scales of this round.
        beta_min, beta_max: by which part they move, 0 for not at all.
    """
    return minimum * (1 - beta_min), maximum * (1 + beta_max)
