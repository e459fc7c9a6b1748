"""The teacher of pseudo labels: a trained run, described in words for other processes and open in this one."""

import dataclasses
import hashlib
import json
import os

import gin
import tensorflow as tf

from wss.data.resize import ResizeToRange
from wss.data.splits import entries_of
from wss.experiment import BEST, OpenRun, open_run
from wss.inference.photo_predictor import Labeling, PhotoPredictor
from wss.models.deeplab import DeepLab
from wss.models.folding import fold
from wss.pseudo_labels.prediction_store import Predictions
from wss.runtime.strategy import build_strategy


@dataclasses.dataclass(frozen=True)
class TeacherDescription:
    """The words by which any process can open a teacher.

    Attributes:
        run_dir: Folder of the trained run.
        parameters: Gin bindings over the run's own.
        strategy: Name of the strategy, see `build_strategy`.
        tpu: Name or address of the TPU for the strategy "tpu".
        weights: Weights of a run with `train.keep_best`: "best" or "last".
    """

    run_dir: str
    parameters: tuple[str, ...] = ()
    strategy: str = "mirrored"
    tpu: str = ""
    weights: str = BEST

    def open(self) -> "Teacher":
        """Opens the run and reads its settings from gin; its network is built, so do it once.

        Raises:
            UserError: There is no such run, or a parameter is wrong.
        """
        strategy = build_strategy(self.strategy, self.tpu)
        run = open_run(self.run_dir, list(self.parameters), strategy, weights=self.weights)
        checksum = _checksum(run.model)
        fold(run.model)
        settings, resize = Labeling(), ResizeToRange()
        return Teacher(
            description=self,
            run=run,
            checksum=checksum,
            strategy=strategy,
            settings=settings,
            resize=resize,
            config=gin.config_str(max_line_length=120),
        )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Teacher:
    """A run that is open to label.

    Attributes:
        description: The words that it was opened by.
        run: The run with its network, which only predicts.
        checksum: SHA-256 of the weights that were read.
        strategy: The strategy that the network was built under.
        settings: How it looks at photos.
        resize: The size of photos, without `Labeling.base_size`.
        config: Everything that gin said when it was opened, as text.
    """

    description: TeacherDescription
    run: OpenRun
    checksum: str
    strategy: tf.distribute.Strategy
    settings: Labeling
    resize: ResizeToRange
    config: str

    def predictor(self, split: str) -> PhotoPredictor:
        """Returns the predictor of the photos of a split; it compiles the network on its own, so keep it."""
        model, settings = self.run.model, self.settings
        sizes = set() if settings.window else {entry.size for entry in entries_of(self.run.info, split)}
        return PhotoPredictor(
            model,
            self.strategy,
            padding=model.padding,
            settings=settings,
            sizes=sizes,
            resize=self.resize,
        )

    def predictions(
        self, folder: str, split: str, *, temperature: float = 1.0, fitted_on: str | None = None
    ) -> Predictions:
        """Returns what its predictions of a split are, whether they are there or not.

        Args:
            folder: Folder of the predictions.
            split: Name of the split.
            temperature: Number that logits are divided by.
            fitted_on: Split that the temperature was fitted on; None if it was given.
        """
        run = self.run
        found = run.info.split(split)
        content = {
            "teacher": {
                "run_dir": self.description.run_dir,
                "weights": run.weights,
                "step": run.step,
                "checksum": self.checksum,
            },
            "dataset": _absolute(run.info.directory),
            "split": split,
            "split_checksum": found.checksum,
            "labeling": dataclasses.asdict(self.settings),
            "resize_to_range": dataclasses.asdict(self.resize),
            "temperature": temperature,
            "temperature_fitted_on": fitted_on,
        }
        return Predictions(str(folder), json.loads(json.dumps(content)), dict(found.shards), run.info.num_classes)


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _checksum(model: DeepLab) -> str:
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
