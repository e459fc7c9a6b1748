"""The rounds of self-training: a supervised run, then again and again a teacher that labels and a student that learns.

A round is what `wss-label` and `wss-train` do; here is only which, with what, and in which order. Every phase can be run by
hand by the command that is printed, and one that is finished is not run again.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import gin

from wss.data.dataset_info import FILE_NAME, DatasetInfo
from wss.errors import UserError, did_you_mean
from wss.files import write_text
from wss.methods.dars.class_quotas import ROUNDINGS
from wss.methods.dars.policies import POLICIES, SAMPLES
from wss.workflows.stages import Phase, result_in, training

STARTS = ("teacher", "initial")
SETTINGS = "rounds.json"


def scale_range(minimum: float, maximum: float, beta_min: float, beta_max: float) -> tuple[float, float]:
    """Returns the random scales of a later round, wider than those of the recipe: DARS (He et al., ICCV 2021).

    Args:
        minimum, maximum: scales of the recipe.
        beta_min, beta_max: by which part they move, 0 for not at all.
    """
    return minimum * (1 - beta_min), maximum * (1 + beta_max)


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Rounds:
    """What the rounds of one recipe do.

    Attributes:
        alphas: share of the pixels that get a label in rounds 1, 2, ...; their number is that of the rounds.
        scale_growth: (beta_min, beta_max) of each round, see `scale_range`; () for none.
        policy, sample, rounding: of wss-label.
        threshold: for the policy "threshold", instead of the alphas, which then only count the rounds.
        temperature: of wss-label.
        fit_temperature_on: split with masks to fit it on instead; None for `temperature`.
        start: where a student starts: "teacher" (DARS) or "initial", `train.initial_weights` (Zoph et al., 2020).
        num_steps: of each student; None takes `train.num_steps`, which round 0 has.
        labeled_batch_size: of each student, per replica; None takes `TrainingData.labeled_batch_size`, which round 0 has.
        teacher: run directory that is round 0; None trains it.
        keep_predictions: leave what wss-label predicts in the teacher's run directory, for other policies.
        resume_rate: the learning rate of round k goes on as if the k rounds before had been as long, as in the DARS code;
            False starts it afresh, as its paper says.
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


@dataclasses.dataclass(frozen=True)
class Plan:
    """The phases of some rounds, for the configuration that gin has parsed.

    Attributes:
        rounds: what they do.
        run_dir: for a folder of each round.
        gin_files, parameters: that configuration, for the commands.
        launch: further flags of all commands, such as --strategy.
        seed: of weights, order and augmentation, and of the draw.
    """

    rounds: Rounds
    run_dir: Path
    gin_files: Sequence[str]
    parameters: Sequence[str]
    launch: Sequence[str] = ()
    seed: int = 0

    @property
    def phases(self) -> list[Phase]:
        """All of them, in order."""
        first = [] if self.rounds.teacher else [self._training_of(0, ["train.method = @Supervised()"])]
        return first + [
            phase
            for n in self.numbers
            for phase in (self._labeling(n), self._training_of(n, self._student(n, self.folder(n - 1))))
        ]

    def begin(self) -> None:
        """Checks what would show only after hours, and notes in `run_dir` what the rounds there do.

        Raises:
            UserError: the data set lacks a split, or the rounds in `run_dir` do something else.
        """
        splits = {name: _bound("TrainingData", name) for name in ("labeled_split", "unlabeled_split")}
        info = DatasetInfo.load(_bound("load_dataset", "directory"))
        for split in filter(None, [*splits.values(), self.rounds.fit_temperature_on]):
            info.split(split)
        settings = {**dataclasses.asdict(self.rounds), **splits, "seed": self.seed}
        # These change nothing in the labels and students.
        del settings["teacher"], settings["keep_predictions"]
        text, file = json.dumps(settings, indent=1), self.run_dir / SETTINGS
        found = json.loads(file.read_text() if file.exists() else text)
        for name, value in json.loads(text).items():
            if found.get(name) != value:
                raise UserError(
                    f"--run_dir={self.run_dir}: has rounds with {name} = {found.get(name)}, now {value}; give another "
                    f"folder, or remove {file} to go on with what is finished there"
                )
        self.run_dir.mkdir(parents=True, exist_ok=True)
        write_text(file, text + "\n")

    @property
    def numbers(self) -> range:
        """1, 2, ..., of the rounds with pseudo labels."""
        return range(1, len(self.rounds.alphas) + 1)

    def more_supervised_steps(self) -> list[Phase]:
        """What to compare the rounds with: as many steps from round 0 on, on the labelled images alone."""
        phases, before = [], self.folder(0)
        for number in self.numbers:
            folder = self.run_dir / f"supervised_{number}"
            of_pseudo_labels = ("train.method", "TrainingData.")
            own = [line for line in self._student(number, before) if not line.startswith(of_pseudo_labels)]
            title = f"as many supervised steps as round {number}"
            phases.append(self._training(title, folder, ["train.method = @Supervised()", *own]))
            before = folder
        return phases

    def folder(self, number: int) -> Path:
        """The run directory of a round."""
        if number == 0 and self.rounds.teacher:
            return Path(self.rounds.teacher)
        return self.run_dir / f"round_{number}"

    def labels(self, number: int) -> Path:
        """Where the pseudo labels of a round lie."""
        return self.folder(number) / "labels"

    def result(self, number: int) -> Path:
        """The evaluation of a round."""
        return result_in(self.folder(number))

    def _training_of(self, number: int, own: Sequence[str]) -> Phase:
        return self._training(f"round {number}: training", self.folder(number), own)

    def _training(self, title: str, folder: Path, own: Sequence[str]) -> Phase:
        """Returns a training in a folder; `own` are gin bindings over those of the recipe."""
        return training(title, folder, self.gin_files, [*self.parameters, *own], self.seed, self.launch)

    def _labeling(self, number: int) -> Phase:
        rounds, teacher = self.rounds, self.folder(number - 1)
        flags = {
            "run_dir": teacher,
            # Of the recipe: a teacher from elsewhere may have been trained on others.
            "data_dir": _bound("load_dataset", "directory"),
            "split": _bound("TrainingData", "unlabeled_split"),
            "labeled_split": _bound("TrainingData", "labeled_split"),
            "output_dir": self.labels(number),
            "policy": rounds.policy,
            "alpha": rounds.alphas[number - 1] if rounds.threshold is None else None,
            "threshold": rounds.threshold,
            "sample": rounds.sample,
            "rounding": rounds.rounding,
            "temperature": rounds.temperature,
            "fit_temperature_on": rounds.fit_temperature_on,
            "predictions_dir": teacher / "predictions" if rounds.keep_predictions else None,
            "seed": self.seed,
        }
        command = [
            "wss.label",
            *(f"--{flag}={value}" for flag, value in flags.items() if value is not None),
            *(f"--gin_param=Labeling.{name} = {value!r}" for name, value in gin.get_bindings("Labeling").items()),
            *self.launch,
        ]
        done = self.labels(number) / FILE_NAME
        return Phase(f"round {number}: labelling", command, done, done)

    def _student(self, number: int, teacher: Path) -> list[str]:
        """Gin bindings of the student of a round, over those of the recipe."""
        rounds = self.rounds
        steps = rounds.num_steps or _bound("train", "num_steps")
        parameters = [
            "train.method = @SelfTraining()",
            f"TrainingData.pseudo_directory = {str(self.labels(number))!r}",
            f"train.num_steps = {steps}",
        ]
        if rounds.labeled_batch_size is not None:
            parameters.append(f"TrainingData.labeled_batch_size = {rounds.labeled_batch_size}")
        if rounds.start == "teacher":
            parameters.append(f"train.initial_weights = {str(teacher)!r}")
        if rounds.resume_rate:
            parameters.append(f"build_optimizer.steps_before = {number * steps}")
        if rounds.scale_growth:
            beta_min, beta_max = rounds.scale_growth[number - 1]
            scales = _bound("Augmentation", "min_scale"), _bound("Augmentation", "max_scale")
            minimum, maximum = scale_range(*scales, beta_min, beta_max)
            parameters += [f"Augmentation.min_scale = {minimum:.6g}", f"Augmentation.max_scale = {maximum:.6g}"]
        return parameters


def _bound(name: str, parameter: str):
    try:
        return gin.get_bindings(name)[parameter]
    except KeyError as error:
        raise UserError(f"gin: {name}.{parameter} is not set, which the rounds need; set it in a recipe") from error
