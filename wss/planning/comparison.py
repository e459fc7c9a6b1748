"""Compares methods on one data set: a plan and a training for each, in the same time, then what the results say."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import numpy as np

from wss.evaluation.result import Result, read_json
from wss.experiment import configure
from wss.methods.dars.rounds import Rounds
from wss.planning.fingerprint import Fingerprint
from wss.planning.rules import CELLS, FEWEST_STEPS, GUESSED_TAGS, PSEUDOSEG, STRIDE, SUPERVISED, WITH_TAGS
from wss.run_directory import RunDirectory
from wss.training.validation import mean_iou_by_step
from wss.workflows import self_training_rounds
from wss.workflows.stages import Stage, run_all

SELF_TRAINING = "self_training"
TITLES = {
    SUPERVISED: "supervised",
    PSEUDOSEG: "PseudoSeg",
    WITH_TAGS: "PseudoSeg + tags",
    GUESSED_TAGS: "PseudoSeg + guessed tags",
    SELF_TRAINING: "self-training",
}
# Points of mIoU that seeds alone make.
NOISE = 1.5
MOST_CLASSES = 3


def possible_methods(facts: Fingerprint) -> list[str]:
    """Returns the methods for which a data set has what they need, the baseline first."""
    photos = [PSEUDOSEG, SELF_TRAINING] if facts.num_unlabeled else []
    guesses = [GUESSED_TAGS] if facts.num_unlabeled and not facts.has_tags else []
    tags = [WITH_TAGS] if facts.has_tags else []
    return [SUPERVISED, *photos, *tags, *guesses]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The runs of some methods on one data set.

    Attributes:
        run_dir: Folder of the run directories, each called as its method.
        methods: The methods, `SUPERVISED` among them.
        plan_flags: Flags of wss-plan that are the same for all: data set, splits, hours, weights.
        validation: Split that all are measured on.
        seed: Seed of all trainings.
        launch: Further flags of all commands, such as --strategy.
    """

    run_dir: Path
    methods: Sequence[str]
    plan_flags: Sequence[str]
    validation: str
    seed: int = 0
    launch: Sequence[str] = ()

    def run(self) -> dict[str, Result]:
        """Plans and trains what is not finished; returns the result of each method.

        Raises:
            UserError: A command fails.
        """
        for method in self.methods:
            run_all(self._rounds().stages if method == SELF_TRAINING else self._stages(method))
        return {
            method: read_json(RunDirectory(self.folder(method)).evaluation(self.validation)) for method in self.methods
        }

    def folder(self, method: str) -> Path:
        """Returns the run directory of a method."""
        return self.run_dir / method / ("round_1" if method == SELF_TRAINING else "")

    def curve(self, method: str) -> dict[float, list[float]]:
        """Returns the mIoU in percent by the share of the run in percent; what has none is left out."""
        found = mean_iou_by_step(RunDirectory(self.folder(method)))
        last = max(found, default=1)
        return {100 * step / last: [100 * value] for step, value in found.items()}

    def planned(self, name: str) -> Any:
        """Returns the value of a gin parameter in the baseline's plan, such as "train.num_steps"."""
        configure([str(RunDirectory(self.folder(SUPERVISED)).plan)], [])
        return gin.query_parameter(name)

    def _stages(self, method: str) -> list[Stage]:
        folder = self.folder(method)
        experiment = RunDirectory(folder).plan
        plan = ["wss.plan", *self.plan_flags, f"--run_dir={folder}", f"--method={method}", *self.launch]
        train = [
            "wss.train",
            f"--gin_file={experiment}",
            f"--run_dir={folder}",
            f"--seed={self.seed}",
            *self.launch,
        ]
        run = RunDirectory(folder)
        return [
            Stage(title=f"{TITLES[method]}: plan", command=plan, done=experiment, result=experiment),
            Stage(title=TITLES[method], command=train, done=run.finished, result=run.evaluation(self.validation)),
        ]

    def _rounds(self) -> self_training_rounds.Plan:
        """Returns one round of self-training: the baseline labels, and a student learns in half of its steps."""
        teacher = self.folder(SUPERVISED)
        files = [str(RunDirectory(teacher).plan), "gin_configs/methods/self_training.gin"]
        parameters = ["TrainingData.pseudo_batch_size = 8"]
        steps = max(self.planned("train.num_steps") // 2, 1)
        return self_training_rounds.Plan(
            Rounds(alphas=(0.5,), num_steps=steps, start="initial", resume_rate=False, teacher=str(teacher)),
            self.run_dir / SELF_TRAINING,
            gin_files=files,
            parameters=parameters,
            launch=self.launch,
            seed=self.seed,
        )


def conclusions(results: Mapping[str, Result], facts: Fingerprint, *, shorter_side: int, steps: int) -> list[str]:
    """Returns what the results say, a line for each method beside the baseline, and one on which to take.

    Args:
        results: Result of each method, the baseline's among them.
        facts: The data set.
        shorter_side: Shorter side of a photo as the network sees it, in pixels.
        steps: Number of steps of the baseline.
    """
    if steps < FEWEST_STEPS:
        return [
            f"This says nothing: the baseline had {steps} steps, expected {FEWEST_STEPS} or more; give more --hours."
        ]
    baseline, lines = results[SUPERVISED], []
    for method, result in results.items():
        if method == SUPERVISED:
            continue
        gain = 100 * (result.mean_iou - baseline.mean_iou)
        if abs(gain) < NOISE:
            lines.append(f"{TITLES[method]}: within {NOISE:g} points of the baseline, as much as seeds differ.")
            continue
        lines.append(
            f"{TITLES[method]} is {abs(gain):.1f} points {'above' if gain > 0 else 'below'} the baseline; "
            f"{_classes(baseline, result, facts, gain=gain, shorter_side=shorter_side)}."
        )
    best = max(results, key=lambda method: results[method].mean_iou)
    near = 100 * (results[best].mean_iou - baseline.mean_iou) < NOISE
    return [*lines, f"Take {TITLES[SUPERVISED if near else best]}{', the simplest of the best' if near else ''}."]


def _classes(baseline: Result, result: Result, facts: Fingerprint, *, gain: float, shorter_side: int) -> str:
    """Says which classes a gain or a loss is of, and how large their objects are in cells of the class activation map."""
    change = 100 * (np.array(list(result.iou.values())) - np.array(list(baseline.iou.values())))
    order = np.argsort(np.nan_to_num(-np.sign(gain) * change, nan=np.inf))[:MOST_CLASSES]
    moved = [c for c in order.tolist() if np.sign(gain) * change[c] > NOISE]
    if not moved:
        return "no class alone explains it"
    named = []
    for c in moved:
        cells = facts.object_side[c] * shorter_side / STRIDE
        small = "" if np.isnan(cells) or cells >= CELLS else f", objects of {cells:.1f} cells"
        named.append(f"{facts.info.class_names[c]} ({change[c]:+.1f}{small})")
    return f"{'most of it is' if gain > 0 else 'what it loses is'} {', '.join(named)}"
