"""A plan: the choices for one data set, one machine and one budget, and the gin file that they become."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from wss.planning import rules
from wss.planning.fingerprint import Fingerprint
from wss.planning.machine import Machine
from wss.planning.rules import Choice
from wss.pseudo_labels.label_spreading import Agreement

START_SECONDS = 60.0
# Of the budget, for steps and evaluations; a machine is never as fast all the time.
USED_SHARE = 0.9
NO_BUDGET = float("inf")


@dataclasses.dataclass(frozen=True)
class Pace:
    """What was measured of a configuration.

    Attributes:
        step: Seconds a step.
        evaluation: Seconds an image of an evaluation.
        memory: Peak of the memory in bytes.
        memory_of: What this is the memory of.
    """

    step: float
    evaluation: float
    memory: int
    memory_of: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The choices for an experiment; how long it trains follows from its `Pace`.

    Attributes:
        facts: The data set.
        machine: The machine.
        data_dir: Folder of the data set, as the user gave it.
        initial_weights: Initial weights, see `train.initial_weights`.
        guesses_file: File for guessed image-level labels, if the method is one that learns from them.
        method_file: Gin file of the method, instead of the one that is chosen; None for that.
        side: Longer side of a crop, in pixels; None for that of a plan without a budget.
        hurried: Whether there is too little time for a method that learns from photos without masks.
    """

    facts: Fingerprint
    machine: Machine
    data_dir: str
    initial_weights: str
    guesses_file: str = ""
    method_file: str | None = None
    side: int | None = None
    hurried: bool = False

    @property
    def crop_side(self) -> int:
        """Longer side of a crop, in pixels."""
        return self.side or rules.usual_side(self.machine)

    @property
    def method(self) -> Choice:
        """The method."""
        chosen = rules.method(self.facts, side=self.crop_side, hurried=self.hurried)
        if self.method_file is None or self.method_file == chosen.value:
            return chosen
        return Choice("", self.method_file, "as asked for", ((chosen.value, "what the plan would choose"),))

    @property
    def guesses_tags(self) -> bool:
        """Whether the method learns from guessed image-level labels."""
        return rules.GUESSED_TAGS in self.method.value

    @property
    def lacks_guesses(self) -> bool:
        """Whether it does, and nobody has guessed yet."""
        return self.guesses_tags and self.facts.guesses is None

    @property
    def with_photos(self) -> bool:
        """Whether the method learns from photos without masks."""
        return rules.SUPERVISED not in self.method.value

    @property
    def choices(self) -> list[Choice]:
        """All choices but those that depend on the number of steps, in the order of the file."""
        facts, machine, splits = self.facts, self.machine, self.facts.splits
        photos = [Choice("TrainingData.unlabeled_split", repr(splits.unlabeled), f"{facts.num_unlabeled} photos")]
        return [
            *rules.network(machine)[:1],
            self.method,
            Choice("load_dataset.directory", repr(self.data_dir), f"{facts.info.num_classes} classes"),
            Choice("TrainingData.labeled_split", repr(splits.labeled), f"{facts.num_masks} masks"),
            *(photos if splits.unlabeled else []),
            *self._guesses,
            rules.initial_weights(self.initial_weights),
            *rules.resolution(facts, self.crop_side),
            *rules.crop(facts, self.crop_side),
            *rules.hole(facts, self.crop_side, with_photos=self.with_photos),
            *rules.batches(facts, machine),
            *rules.network(machine)[1:],
            *rules.optimizer(),
            *rules.class_weights(with_photos=self.with_photos),
            *rules.short_run(self.method.value),
            *rules.evaluation(facts, machine),
        ]

    @property
    def _guesses(self) -> list[Choice]:
        if not self.guesses_tags or self.facts.guesses is None:
            return []
        return [rules.guessed_labels(self.guesses_file, self.facts.guesses)]

    def choices_at(self, pace: Pace, budget: float = NO_BUDGET) -> list[Choice]:
        """Returns all choices, for a pace and a budget in seconds."""
        each = self.facts.num_validation * pace.evaluation
        steps = rules.steps(
            self.facts,
            labeled_images=self.labeled_images,
            seconds_per_step=pace.step,
            budget=self._seconds_for_steps(pace, budget),
        )
        return self.with_steps(steps, rules.evaluations(each, budget))

    def affordable_side(self, pace: Pace, budget: float) -> int:
        """Returns the side that a budget in seconds affords, for the pace at the side of this plan."""
        crop_pixels = lambda side: math.prod(rules.crop_size(self.facts, side))
        photo_pixels = lambda side: math.prod(rules.seen_size(self.facts, side))

        def steps_at(side: int) -> float:
            step, evaluation = (pixels(side) / pixels(self.crop_side) for pixels in (crop_pixels, photo_pixels))
            scaled = dataclasses.replace(pace, step=step * pace.step, evaluation=evaluation * pace.evaluation)
            return self._seconds_for_steps(scaled, budget) / scaled.step

        return rules.affordable_side(steps_at, with_photos=self.with_photos)

    def budget_of(self, steps: int, pace: Pace) -> float:
        """Returns the budget in seconds that has time for some steps, besides start and evaluations."""
        evaluations = rules.LEAST_EVALUATIONS * self.facts.num_validation * pace.evaluation
        return (START_SECONDS + steps * pace.step + evaluations) / (USED_SHARE - rules.EVALUATION_SHARE)

    def _seconds_for_steps(self, pace: Pace, budget: float) -> float:
        """Returns what start and evaluations leave of a budget."""
        each = self.facts.num_validation * pace.evaluation
        return max(USED_SHARE * budget - START_SECONDS - rules.evaluations(each, budget) * each, 0.0)

    def with_steps(self, steps: Choice, evaluations: int) -> list[Choice]:
        """Returns all choices, for a number of steps and of evaluations."""
        number = int(steps.value)
        return [*self.choices, steps, rules.batch_norm(number), *rules.training(number, evaluations)]

    def seconds(self, choices: Sequence[Choice], pace: Pace) -> float:
        """Returns how long the whole run of some choices takes."""
        steps, every = (integer(choices, f"train.{name}") for name in ("num_steps", "evaluate_every"))
        return START_SECONDS + steps * pace.step + -(-steps // every) * self.facts.num_validation * pace.evaluation

    @property
    def labeled_images(self) -> int:
        """Labelled images of a step."""
        return int(self.value_of("TrainingData.labeled_batch_size")) * self.machine.replicas

    def value_of(self, name: str) -> str:
        """Returns the value of a choice that does not depend on the number of steps, as the gin file writes it."""
        return _value(self.choices, name)


def integer(choices: Sequence[Choice], name: str) -> int:
    """Returns the value of a choice that is a number."""
    return int(_value(choices, name))


def _value(choices: Sequence[Choice], name: str) -> str:
    return next(choice.value for choice in choices if choice.name == name)


def fitted(
    plan: Plan, budget: float, measure: Callable[[Plan], Pace], guess: Callable[[Plan], Agreement]
) -> tuple[Plan, Pace]:
    """Makes a plan's crops as large as a budget in seconds affords, and its method one that has time to learn.

    Args:
        plan: The plan.
        budget: The budget; `NO_BUDGET` changes nothing.
        measure: Returns the pace of a plan.
        guess: Guesses what the photos without masks show, writes that to the plan's file, and returns how right it is. It
            is called at most once, and only if the method that has time to learn needs it.

    Returns:
        The plan, and its pace.
    """
    plan, pace = _paced(plan, budget, measure)
    if plan.lacks_guesses:
        plan = dataclasses.replace(plan, facts=dataclasses.replace(plan.facts, guesses=guess(plan)))
        if not plan.guesses_tags:
            return _paced(dataclasses.replace(plan, side=None), budget, measure)
    return plan, pace


def _paced(plan: Plan, budget: float, measure: Callable[[Plan], Pace]) -> tuple[Plan, Pace]:
    """Returns what `fitted` does, without guesses."""
    pace = measure(plan)
    if budget == NO_BUDGET:
        return plan, pace
    side = plan.affordable_side(pace, budget)
    if rules.crop_size(plan.facts, side) != rules.crop_size(plan.facts, plan.crop_side):
        plan = dataclasses.replace(plan, side=side)
        pace = measure(plan)
    steps = integer(plan.choices_at(pace, budget), "train.num_steps")
    if steps < rules.ENOUGH_STEPS and plan.method_file is None and plan.with_photos:
        return _paced(dataclasses.replace(plan, side=None, hurried=True), budget, measure)
    return plan, pace


def gin_text(choices: Sequence[Choice], *, head: Sequence[str]) -> str:
    """Returns the gin file of some choices: a line for each, below its reason, and alternatives as comments.

    Args:
        choices: The choices.
        head: Lines of the comment at the top.
    """
    lines = [*(f"# {line}".rstrip() for line in head), ""]
    for choice in sorted(choices, key=lambda choice: bool(choice.name)):  # includes come first, as they would overwrite
        lines += [f"# {choice.reason[:1].upper()}{choice.reason[1:]}.", _line(choice, choice.value)]
        lines += [f"# {_line(choice, value)}  # {when}" for value, when in choice.others]
    return "\n".join(lines) + "\n"


def _line(choice: Choice, value: str) -> str:
    return f"{choice.name} = {value}" if choice.name else f"include {value!r}"
