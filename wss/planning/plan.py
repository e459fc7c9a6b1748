"""A plan: the choices for one data set, one machine and one budget, and the gin file that they become."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from wss.planning import rules
from wss.planning.fingerprint import Fingerprint
from wss.planning.machine import Machine
from wss.planning.rules import Choice

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
        method_file: Gin file of the method, instead of the one that is chosen; None for that.
    """

    facts: Fingerprint
    machine: Machine
    data_dir: str
    initial_weights: str
    method_file: str | None = None

    @property
    def method(self) -> Choice:
        """The method."""
        chosen = rules.method(self.facts)
        if self.method_file is None or self.method_file == chosen.value:
            return chosen
        return Choice("", self.method_file, "as asked for", ((chosen.value, "what the plan would choose"),))

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
            rules.initial_weights(self.initial_weights),
            *rules.resolution(facts, machine),
            rules.crop(facts, machine),
            *rules.views(),
            *rules.batches(facts, machine),
            *rules.network(machine)[1:],
            *rules.optimizer(),
            *rules.short_run(self.method.value),
            *rules.evaluation(facts, machine),
        ]

    def choices_at(self, pace: Pace, budget: float = NO_BUDGET) -> list[Choice]:
        """Returns all choices, for a pace and a budget in seconds."""
        each = self.facts.num_validation * pace.evaluation
        evaluations = rules.evaluations(each, budget)
        left = USED_SHARE * budget - START_SECONDS - evaluations * each
        steps = rules.steps(
            self.facts, labeled_images=self.labeled_images, seconds_per_step=pace.step, budget=max(left, 0.0)
        )
        return self.with_steps(steps, evaluations)

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
        return integer(self.choices, "TrainingData.labeled_batch_size") * self.machine.replicas


def integer(choices: Sequence[Choice], name: str) -> int:
    """Returns the value of a choice that is a number."""
    return int(next(choice.value for choice in choices if choice.name == name))


def seen_size(facts: Fingerprint, strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns the (shorter, longer) side of the median photo as a planned network sees it."""
    return rules.resized(facts, rules.longest_side(Machine.here(strategy)))


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
