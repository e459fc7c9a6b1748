"""The settings of self-training in rounds: which policy labels how much, and what each student starts from."""

import dataclasses
from collections.abc import Sequence

import gin

from wss.errors import UserError, did_you_mean
from wss.methods.dars.class_quotas import ROUNDINGS
from wss.methods.dars.policies import POLICIES, SAMPLES

STARTS = ("teacher", "initial")


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Rounds:
    """The settings of the rounds of one recipe.

    Attributes:
        alphas: Share of the pixels that get a label, for each of the rounds 1, 2, ...
        scale_growth: Pair (beta_min, beta_max) for each round, see `scale_range`; () for no growth.
        policy: Policy of wss-label.
        sample: Sample of wss-label.
        rounding: Rounding of wss-label.
        threshold: Threshold of the policy "threshold", instead of the alphas, which then only count the rounds.
        temperature: Temperature of wss-label.
        fit_temperature_on: Split with masks to fit the temperature on; None takes `temperature`.
        start: Weights that a student starts from: "teacher" (DARS), or "initial" for `train.initial_weights` (Zoph et al.,
            2020).
        num_steps: Number of steps of each student; None takes `train.num_steps`, which round 0 has.
        labeled_batch_size: Labelled images of each student per replica; None takes round 0's
            `TrainingData.labeled_batch_size`.
        teacher: Run directory that is round 0; None trains it.
        keep_predictions: Whether what wss-label predicts stays in the teacher's run directory, for other policies.
        resume_rate: Whether the learning rate of round k goes on as if the k rounds before had been as long, as in the
            DARS code. Otherwise it starts afresh, as in the DARS paper.
    """

    alphas: Sequence[float] = (0.2, 0.5)
    scale_growth: Sequence[tuple[float, float]] = ()
    policy: str = "dars"
    sample: str = "candidates"
    rounding: str = "largest_remainder"
    threshold: float | None = None
    temperature: float = 1.0
    fit_temperature_on: str | None = None
    start: str = "teacher"
    num_steps: int | None = None
    labeled_batch_size: int | None = None
    teacher: str | None = None
    keep_predictions: bool = False
    resume_rate: bool = True

    def __post_init__(self):
        choices = {"policy": POLICIES, "sample": SAMPLES, "rounding": ROUNDINGS, "start": STARTS}
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise UserError(
                    f"Rounds.{name} = {value!r}, expected one of {', '.join(known)}.{did_you_mean(str(value), known)}"
                )
        if not (_is_list(self.alphas) and self.alphas and all(0 <= alpha <= 1 for alpha in self.alphas)):
            raise UserError(
                f"Rounds.alphas = {self.alphas!r}, expected a share of the pixels for each round, such as (0.2, 0.5)"
            )
        growth = self.scale_growth
        pairs = _is_list(growth) and all(_is_list(pair) and len(pair) == 2 for pair in growth)
        if not pairs or len(growth) not in (0, len(self.alphas)):
            raise UserError(
                f"Rounds.scale_growth = {growth!r}, expected a pair for each of the {len(self.alphas)} rounds "
                "(Rounds.alphas), such as ((0.0, 0.0), (0.2, 0.5)), or ()"
            )
        if self.threshold is not None and self.policy != "threshold":
            raise UserError(
                f"Rounds.threshold = {self.threshold} is for Rounds.policy = 'threshold', not {self.policy!r}"
            )
        if self.fit_temperature_on is not None and self.temperature != 1:
            raise UserError("Rounds.temperature and Rounds.fit_temperature_on: give one of them")


def _is_list(value) -> bool:
    return isinstance(value, tuple | list)
