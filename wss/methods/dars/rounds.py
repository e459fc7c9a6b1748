"""The settings of self-training in rounds: which policy labels how much, and what each student starts from."""

import dataclasses
from collections.abc import Sequence

import gin

from wss.errors import UserError
from wss.methods.dars.class_quotas import ROUNDINGS
from wss.methods.dars.policies import POLICIES, SAMPLES
from wss.parameter_ranges import Relation, in_ranges
from wss.ranges import LARGEST_BATCH, LARGEST_STEP, Integer, Number, OneOf, OrNone, Several, Switch, Text

STARTS = ("teacher", "initial")
SHARE = Number(minimum=0, maximum=1)


@gin.configurable
@in_ranges(
    "Rounds",
    Relation(("scale_growth",), lambda growth: all(pair[0] < 1 for pair in growth), "a beta_min below 1 in each pair"),
    alphas=Several(SHARE, words="a share of the pixels for each round, each from 0 to 1, such as (0.2, 0.5)"),
    scale_growth=Several(
        Several(Number(minimum=0), 2, 2),
        0,
        words="a pair for each of the rounds, such as ((0.0, 0.0), (0.2, 0.5)), or ()",
    ),
    policy=OneOf(POLICIES),
    sample=OneOf(SAMPLES),
    rounding=OneOf(ROUNDINGS),
    threshold=OrNone(SHARE),
    temperature=Number(above=0),
    fit_temperature_on=OrNone(Text("the name of a split")),
    start=OneOf(STARTS),
    num_steps=OrNone(Integer(1, LARGEST_STEP)),
    labeled_batch_size=OrNone(Integer(1, LARGEST_BATCH)),
    teacher=OrNone(Text("the folder of a run", paths=True)),
    keep_predictions=Switch(),
    resume_rate=Switch(),
)
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
        # Not in the table, which holds for wss-train too: there only self-training reads these.
        if len(self.scale_growth) not in (0, len(self.alphas)):
            raise UserError(
                f"Rounds.scale_growth = {self.scale_growth!r}, expected a pair for each of the {len(self.alphas)} rounds "
                "(Rounds.alphas), such as ((0.0, 0.0), (0.2, 0.5)), or ()"
            )
        if self.threshold is not None and self.policy != "threshold":
            raise UserError(
                f"Rounds.threshold = {self.threshold} is for Rounds.policy = 'threshold', not {self.policy!r}"
            )
        if self.fit_temperature_on is not None and self.temperature != 1:
            raise UserError("Rounds.temperature and Rounds.fit_temperature_on: give one of them")
