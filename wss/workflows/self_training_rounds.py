"""The rounds of self-training: a supervised run, then again and again a teacher that labels and a student that learns.

A round is what `wss-label` and `wss-train` do. This module says only which, with what, and in which order. Every stage can
be run by hand by the command that is printed, and one that is finished is not run again.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import gin

from wss.data.dataset_info import FILE_NAME, DatasetInfo
from wss.errors import UserError
from wss.files import load_json, write_text
from wss.methods.dars.rounds import Rounds
from wss.run_directory import RunDirectory
from wss.workflows.stages import Stage, result_in, training_stage

SETTINGS = "rounds.json"


def scale_range(minimum: float, maximum: float, *, beta_min: float, beta_max: float) -> tuple[float, float]:
    """Returns the random scales of a later round, wider than those of the recipe: DARS (He et al., ICCV 2021).

    Args:
        minimum: Smallest scale of the recipe.
        maximum: Largest scale of the recipe.
        beta_min: Part by which the smallest scale falls; 0 keeps it.
        beta_max: Part by which the largest scale grows; 0 keeps it.
    """
    return minimum * (1 - beta_min), maximum * (1 + beta_max)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The stages of some rounds, for the configuration that gin has parsed.

    Attributes:
        rounds: What the rounds do.
        run_dir: Folder for the run directory of each round.
        gin_files: Gin files of that configuration, for the commands.
        parameters: Gin bindings of that configuration over its files.
        launch: Further flags of all commands, such as --strategy.
        seed: Seed of weights, order, augmentation and the random subset of the pixels.
    """

    rounds: Rounds
    run_dir: Path
    _: dataclasses.KW_ONLY
    gin_files: Sequence[str]
    parameters: Sequence[str]
    launch: Sequence[str] = ()
    seed: int = 0

    @property
    def stages(self) -> list[Stage]:
        """All stages, in order."""
        stages = [] if self.rounds.teacher else [self._training(0, ["train.method = @Supervised()"])]
        for number in self.numbers:
            student = self._student(number, self.folder(number - 1))
            stages += [self._labeling(number), self._training(number, student)]
        return stages

    def begin(self) -> None:
        """Checks what would show only after hours, and notes in `run_dir` what the rounds there do.

        Raises:
            UserError: The data set lacks a split, or the rounds in `run_dir` do something else.
        """
        splits = {name: _bound("TrainingData", name) for name in ("labeled_split", "unlabeled_split")}
        info = DatasetInfo.load(_bound("load_dataset", "directory"))
        for split in filter(None, [*splits.values(), self.rounds.fit_temperature_on]):
            info.split(split)
        settings = {**dataclasses.asdict(self.rounds), **splits, "seed": self.seed}
        # These change nothing in the labels and students.
        del settings["teacher"], settings["keep_predictions"]
        text, file = json.dumps(settings, indent=1), self.run_dir / SETTINGS
        found = load_json(file, "remove it to go on with what is finished there") if file.exists() else json.loads(text)
        for name, value in json.loads(text).items():
            if found.get(name) != value:
                raise UserError(
                    f"--run_dir={self.run_dir}: has rounds with {name} = {found.get(name)}, now {value}; give another "
                    f"folder, or remove {file} to go on with what is finished there"
                )
        write_text(file, text + "\n")

    @property
    def numbers(self) -> range:
        """The numbers 1, 2, ... of the rounds with pseudo labels."""
        return range(1, len(self.rounds.alphas) + 1)

    def more_supervised_steps(self) -> list[Stage]:
        """Returns what to compare the rounds with: as many steps from round 0 on, on the labelled images alone."""
        stages, before = [], self.folder(0)
        for number in self.numbers:
            folder = self.run_dir / f"supervised_{number}"
            of_pseudo_labels = ("train.method", "TrainingData.")
            own = [line for line in self._student(number, before) if not line.startswith(of_pseudo_labels)]
            title = f"as many supervised steps as round {number}"
            stages.append(self._training_in(folder, title, ["train.method = @Supervised()", *own]))
            before = folder
        return stages

    def folder(self, number: int) -> Path:
        """Returns the run directory of a round."""
        if number == 0 and self.rounds.teacher:
            return Path(self.rounds.teacher)
        return self.run_dir / f"round_{number}"

    def labels(self, number: int) -> Path:
        """Returns the folder of a round's pseudo labels."""
        return RunDirectory(self.folder(number)).labels

    def result(self, number: int) -> Path:
        """Returns the file of a round's evaluation."""
        return result_in(self.folder(number))

    def _training(self, number: int, own: Sequence[str]) -> Stage:
        return self._training_in(self.folder(number), f"round {number}: training", own)

    def _training_in(self, folder: Path, title: str, own: Sequence[str]) -> Stage:
        """Returns a training in a folder; `own` are gin bindings over those of the recipe."""
        return training_stage(
            title,
            folder,
            gin_files=self.gin_files,
            parameters=[*self.parameters, *own],
            seed=self.seed,
            launch=self.launch,
        )

    def _labeling(self, number: int) -> Stage:
        rounds, teacher = self.rounds, self.folder(number - 1)
        flags = {
            "run_dir": teacher,
            # Those of the recipe: a teacher from elsewhere may have been trained on others.
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
        return Stage(title=f"round {number}: labelling", command=command, done=done, result=done)

    def _student(self, number: int, teacher: Path) -> list[str]:
        """Returns the gin bindings of the student of a round, over those of the recipe."""
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
            minimum, maximum = scale_range(*scales, beta_min=beta_min, beta_max=beta_max)
            parameters += [f"Augmentation.min_scale = {minimum:.6g}", f"Augmentation.max_scale = {maximum:.6g}"]
        return parameters


def _bound(name: str, parameter: str):
    try:
        return gin.get_bindings(name)[parameter]
    except KeyError as error:
        raise UserError(f"gin: {name}.{parameter} is not set, which the rounds need; set it in a recipe") from error
