"""Which pixels may keep their label: one threshold, one per class, or as many of each class as its quota (DARS).

Every policy is one confidence per class, and those of DARS then keep a random subset of what reaches it. All of it follows
from the histogram of `wss.methods.dars.confidence`, exactly as if all confidences had been sorted.
"""

import dataclasses

import numpy as np

from wss.errors import UserError, did_you_mean
from wss.methods.dars.class_quotas import quotas, share_of
from wss.methods.dars.confidence import NUM_PATTERNS, patterns

POLICIES = ("threshold", "cbst", "da", "dars")
SAMPLES = ("candidates", "ties")
COUNTS = ("quotas", "candidates", "above", "available")


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """The pixels of each class j that a policy keeps, in numbers.

    A pixel is a candidate if its class is j and its confidence reaches t_j. A random subset of the pool of a class stays.

    Attributes:
        thresholds: float16 `[C]`, t_j; NaN, which no confidence reaches, where nothing is kept.
        quotas: int64 `[C]`, n_j, pixels that were asked for ("threshold": as many as there are candidates).
        candidates: int64 `[C]`, pixels that reach the threshold.
        above: int64 `[C]`, pixels above it.
        available: int64 `[C]`, M_j, pixels that have this class.
        sample: Where chance meets a quota: "none" (all candidates stay), "candidates" (any of them), or "ties" (those at
            the threshold; all above it stay).
    """

    thresholds: np.ndarray
    quotas: np.ndarray
    candidates: np.ndarray
    above: np.ndarray
    available: np.ndarray
    sample: str = "none"

    @property
    def levels(self) -> np.ndarray:
        """uint16 `[C]`, the bits of the thresholds; more than those of any confidence where nothing is kept."""
        return np.where(np.isnan(self.thresholds), NUM_PATTERNS, patterns(self.thresholds)).astype(np.uint16)

    @property
    def kept(self) -> np.ndarray:
        """int64 `[C]`, pixels that get a label, to the pixel."""
        return self.candidates if self.sample == "none" else np.minimum(self.quotas, self.candidates)

    @property
    def sampling_rates(self) -> np.ndarray:
        """float64 `[C]`, s_j, the share of the candidates that stays; 0 without candidates."""
        return self.kept / np.maximum(self.candidates, 1)

    @property
    def pool(self) -> np.ndarray:
        """int64 `[C]`, pixels that the random subset is of; 0 where nothing is left to chance."""
        size = self.candidates - self.above if self.sample == "ties" else self.candidates
        return np.where(self.kept < self.candidates, size, 0)

    @property
    def drawn(self) -> np.ndarray:
        """int64 `[C]`, pixels of the random subset, which stay."""
        return np.where(self.pool > 0, self.kept - (self.candidates - self.pool), 0)

    def to_json(self) -> dict:
        """Returns what JSON can hold: lists with an entry per class; "kept" and "sampling_rates" are for people."""
        thresholds = [None if np.isnan(threshold) else float(threshold) for threshold in self.thresholds]
        numbers = {name: getattr(self, name).tolist() for name in (*COUNTS, "kept", "sampling_rates")}
        return {"sample": self.sample, "thresholds": thresholds, **numbers}

    @classmethod
    def from_json(cls, content: dict) -> "Selection":
        """Returns the selection that `to_json` wrote."""
        counts = {name: np.array(content[name], np.int64) for name in COUNTS}
        return cls(np.array(content["thresholds"], np.float16), **counts, sample=content["sample"])


def select(
    policy: str,
    histogram: np.ndarray,
    *,
    alpha: float | None = None,
    distribution: np.ndarray | None = None,
    threshold: float | None = None,
    rounding: str = "largest_remainder",
    sample: str = "candidates",
) -> Selection:
    """Returns what a policy keeps; with alpha = 0 nothing, whatever the policy.

    Policies:
        threshold: confidence >= `threshold`; or, for a given `alpha`, the largest threshold that this share of all
            pixels reaches.
        cbst: the most confident `alpha` of the pixels of each predicted class: t_j is the entry -int(M_j alpha) - 1 of
            the ascending confidences, as in the DARS code, and with alpha = 1 the first.
        da: distribution alignment. t_j is the n_j-th largest confidence of class j (the last if there are fewer; the
            deficit goes to no other class), with n_j of `wss.methods.dars.class_quotas`. Ties may exceed the quota.
        dars: as "da", and a random sample of the candidates, or of the ties only, meets the quota exactly.

    Args:
        policy: One of `POLICIES`.
        histogram: int64 `[C, 15361]`, over all unlabelled images.
        alpha: Share of the pixels to label, 0 .. 1.
        distribution: `[C]`, share of each class in the labelled images, for "da" and "dars".
        threshold: Confidence, 0 .. 1, for "threshold".
        rounding: Rounding of the quotas.
        sample: "candidates" or "ties", for "dars".

    Raises:
        UserError: The policy is unknown, or lacks what it needs.
    """
    _check_names(policy, sample)
    available = histogram.sum(1)
    reaching = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
    wanted = None
    if policy == "threshold":
        levels = _common_level(reaching, alpha, threshold)
    elif alpha is None or threshold is not None:
        raise UserError(f"policy {policy!r}: expected alpha, the share of the pixels to label, and no threshold")
    elif policy == "cbst":
        wanted = np.array([int(share_of(alpha, pixels)) for pixels in available], np.int64)
        levels = _level_at(reaching, np.minimum(wanted + (alpha > 0), available))
    else:
        wanted = quotas(
            alpha, _of_all_classes(distribution, policy, len(histogram)), available.sum(), rounding=rounding
        )
        levels = _level_at(reaching, np.minimum(wanted, available))
    candidates = _count_reaching(reaching, levels)
    return Selection(
        thresholds=np.where(candidates > 0, _confidence(levels), np.float16(np.nan)),
        quotas=candidates if wanted is None else wanted,
        candidates=candidates,
        above=_count_reaching(reaching, levels + 1),
        available=available,
        sample=sample if policy == "dars" else "none",
    )


def _check_names(policy: str, sample: str) -> None:
    if policy not in POLICIES:
        known = ", ".join(POLICIES)
        raise UserError(f"policy: found {policy!r}, expected one of {known}.{did_you_mean(policy, POLICIES)}")
    if sample not in SAMPLES:
        raise UserError(f"sample: found {sample!r}, expected {' or '.join(SAMPLES)}.{did_you_mean(sample, SAMPLES)}")


def _of_all_classes(distribution: np.ndarray | None, policy: str, num_classes: int) -> np.ndarray:
    """Returns the distribution, which a policy needs for all classes."""
    if distribution is None or len(distribution) != num_classes:
        found = "none" if distribution is None else f"one of {len(distribution)}"
        raise UserError(f"policy {policy!r}: expected a distribution of {num_classes} classes, found {found}")
    return distribution


def _common_level(reaching: np.ndarray, alpha: float | None, threshold: float | None) -> np.ndarray:
    """Returns for all classes the bits of the smallest confidence that reaches `threshold`, or that alpha leads to."""
    if threshold is not None and alpha is None:
        if not 0 <= threshold <= 1:
            raise UserError(f"threshold: found {threshold}, expected a confidence, 0..1 (such as 0.96)")
        level = np.searchsorted(_confidence(np.arange(NUM_PATTERNS)).astype(np.float64), [threshold])
    elif alpha is not None and threshold is None:
        rank = round(share_of(alpha, reaching[:, 0].sum()))
        level = _level_at(reaching.sum(0, keepdims=True), np.array([rank]))
    else:
        raise UserError("policy 'threshold': expected a threshold (such as 0.96) or alpha, one of them")
    return np.repeat(level, len(reaching))


def _level_at(reaching: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Returns the bits of the `ranks`-th largest confidence of each row, NUM_PATTERNS for rank 0."""
    return np.where(ranks > 0, (reaching >= ranks[:, None]).sum(1) - 1, NUM_PATTERNS)


def _confidence(levels: np.ndarray) -> np.ndarray:
    return levels.astype(np.uint16).view(np.float16)


def _count_reaching(reaching: np.ndarray, levels: np.ndarray) -> np.ndarray:
    counts = reaching[np.arange(len(levels)), np.minimum(levels, NUM_PATTERNS - 1)]
    return np.where(levels < NUM_PATTERNS, counts, 0)
