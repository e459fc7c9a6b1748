"""BAP + NAL from one command: a box classifier, masks from boxes, a segmentation that learns from them.

A stage is what `wss-train` and `wss-label` do. Every one can be run by hand by the command that is printed, and one that is
finished is not run again.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import gin

from wss import config
from wss.data.dataset_info import FILE_NAME, DatasetInfo
from wss.errors import UserError
from wss.evaluation.evaluation import default_split
from wss.evaluation.result import read_json
from wss.files import load_json, write_text
from wss.methods.bap_nal.noise_aware import NoiseAware, no_classifier
from wss.methods.bap_nal.stages import BoxStages
from wss.models.deeplab import NetworkSettings
from wss.models.heads.registry import SUMS
from wss.pseudo_labels.box_labels import check_boxes
from wss.pseudo_labels.dataset_writer import MANIFEST
from wss.run_directory import RunDirectory
from wss.tables import format_table
from wss.workflows.stages import PLACES, Stage, result_in, training_stage

SETTINGS, CLASSIFICATION, SEGMENTATION = "boxes.json", "classification", "segmentation"
GO_ON = "remove it to go on with what is finished there"
# What has a say in the masks besides the classifier.
OF_MASKS = ("BoxMasks", "CRFSettings")


@dataclasses.dataclass(frozen=True)
class BoxPlan:
    """The three stages, for the configuration that gin has parsed.

    Attributes:
        settings: What stage 1 is trained with.
        run_dir: Folder for both run directories, `classification` and `segmentation`; the first has the labels.
        gin_files: Gin files of that configuration, for the commands.
        parameters: Gin bindings of that configuration over its files.
        launch: Further flags of all commands, such as --strategy.
        seed: Seed of both trainings.
        workers: Processes for the CRF of stage 2; 0 for one per core.
    """

    settings: BoxStages
    run_dir: Path
    _: dataclasses.KW_ONLY
    gin_files: Sequence[str]
    parameters: Sequence[str]
    launch: Sequence[str] = ()
    seed: int = 0
    workers: int = 0

    @property
    def stages(self) -> list[Stage]:
        """All stages, in order."""
        classification = [] if self.settings.classifier else [self._classification()]
        before = [] if self.settings.masks else [*classification, self._labeling()]
        return [*before, self._segmentation()]

    @property
    def classifier(self) -> Path:
        """The run directory of stage 1."""
        return Path(self.settings.classifier or self.run_dir / CLASSIFICATION)

    @property
    def segmentation(self) -> Path:
        """The run directory of stage 3."""
        return self.run_dir / SEGMENTATION

    @property
    def labels(self) -> Path:
        """The data set of the masks."""
        return Path(self.settings.masks or RunDirectory(self.run_dir).labels)

    def scores(self) -> dict[str, dict]:
        """Returns how good the masks are by what they are made of; nothing where there are no true masks."""
        manifest = self.labels / MANIFEST
        return load_json(manifest, "label again").get("scores", {}) if manifest.exists() else {}

    def begin(self) -> None:
        """Checks what would show only after hours, and notes in `run_dir` what the stages there do.

        Raises:
            UserError: The split has images without boxes, stage 3 cannot be as it is configured, or the stages in `run_dir`
                do something else.
        """
        self._check()
        places = [place for place in PLACES if place != "BoxStages.masks"]  # others have other masks
        content = {"seed": self.seed, "configuration": config.bindings(without=places)}
        file = self.run_dir / SETTINGS
        found = load_json(file, GO_ON) if file.exists() else content
        if changed := sorted({*_lines(found)} ^ {*_lines(content)}):
            raise UserError(
                f"--run_dir={self.run_dir}: has stages of other settings ({'; '.join(changed)}); give another folder, or "
                f"remove {file} to go on with what is finished there"
            )
        write_text(file, json.dumps(content, indent=1) + "\n")

    def summary(self) -> str:
        """Returns a table of the masks and of the finished segmentation, as far as there are true masks."""
        rows = [(f"masks: {name}", 100 * found["mean_iou"]) for name, found in self.scores().items()]
        result = result_in(self.segmentation)
        if result.exists():
            evaluated = read_json(result)
            rows.append((f"segmentation on {evaluated.split}", 100 * evaluated.mean_iou))
        weights = RunDirectory(self.segmentation).weights
        table = f"{format_table(('', 'mIoU'), rows)}\n\n" if rows else ""
        shown = f"wss-vis --run_dir={self.segmentation} --output=pictures --images=<folder of photos>"
        return f"{table}the model: {weights}; what it sees: {shown}"

    def _check(self) -> None:
        """Raises a `UserError` for what stages 2 and 3 would refuse."""
        for strategy in ("multi_worker", "tpu"):
            if f"--strategy={strategy}" in self.launch:
                raise UserError(
                    f"--strategy={strategy}: masks are made on one host, on its GPUs or CPUs; run it on one"
                )
        info = DatasetInfo.load(self._data_dir)
        if not self.settings.masks:
            check_boxes(info, self.settings.split, parameter="BoxStages.split")
        method = gin.get_bindings("train").get("method")
        if isinstance(method, NoiseAware) and method.loss == "noise_aware" and NetworkSettings().head in SUMS:
            raise no_classifier()
        if self._evaluates and not info.split(default_split()).num_masks:
            raise UserError(
                f"Evaluation.split = {default_split()!r} of {info.directory} has no masks to evaluate on; without any masks "
                "set train.evaluate_at_end = False"
            )

    @property
    def _evaluates(self) -> bool:
        return gin.get_bindings("train").get("evaluate_at_end", True)

    @property
    def _data_dir(self) -> str:
        try:
            return gin.get_bindings("load_dataset")["directory"]
        except KeyError as error:
            raise UserError("--data_dir is missing: the data set with the boxes") from error

    def _classification(self) -> Stage:
        bindings = [
            "train.method = @BoxClassification()",
            f"TrainingData.unlabeled_split = {self.settings.split!r}",
            f"TrainingData.labeled_split = {self.settings.split!r}",  # nothing is read of it
            "train.evaluate_at_end = False",
            "train.evaluate_every = 0",
            *self.settings.classification,
        ]
        return training_stage(
            "stage 1: box classifier",
            self.classifier,
            gin_files=self.gin_files,
            parameters=[*self.parameters, *bindings],
            seed=self.seed,
            launch=self.launch,
            evaluated=False,
        )

    def _labeling(self) -> Stage:
        bindings = [
            f"{name}.{parameter} = {value!r}"
            for name in OF_MASKS
            for parameter, value in gin.get_bindings(name).items()
        ]
        command = [
            "wss.label",
            f"--run_dir={self.classifier}",
            f"--data_dir={self._data_dir}",
            f"--split={self.settings.split}",
            "--policy=boxes",
            f"--output_dir={self.labels}",
            *([f"--workers={self.workers}"] if self.workers else []),
            *(f"--gin_param={binding}" for binding in bindings),
            *self.launch,
        ]
        done = self.labels / FILE_NAME
        return Stage(title="stage 2: masks from boxes", command=command, done=done, result=done)

    def _segmentation(self) -> Stage:
        bindings = [
            f"TrainingData.pseudo_directory = {str(self.labels)!r}",
            *_default("TrainingData", "labeled_split", self.settings.split),
        ]
        return training_stage(
            "stage 3: segmentation",
            self.segmentation,
            gin_files=self.gin_files,
            parameters=[*self.parameters, *bindings],
            seed=self.seed,
            launch=self.launch,
            evaluated=self._evaluates,
        )


def _default(name: str, parameter: str, value: str) -> list[str]:
    """Returns a binding for a parameter that the recipe does not set."""
    return [] if parameter in gin.get_bindings(name) else [f"{name}.{parameter} = {value!r}"]


def _lines(content: dict) -> list[str]:
    """Returns what decides the result of the stages, as lines."""
    return [f"seed = {content.get('seed')}", *content.get("configuration", ())]
