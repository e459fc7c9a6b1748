"""A run's files: their names, and the lock on them.

<run_dir>/experiment.gin             what wss-plan chose
<run_dir>/guessed_labels.csv         what wss-plan guessed that photos without masks show
<run_dir>/operative_config.gin       every gin parameter that was in force
<run_dir>/run.json                   the classes and the data that it was trained on, and what changed on the way
<run_dir>/lock                       held by the process that trains or plans there
<run_dir>/checkpoints/               for resuming: weights, optimizer, random state
<run_dir>/model.weights.h5           the trained weights for everybody else, with stable names (averaged ones if on)
<run_dir>/encoder/                   with an encoder of keras-hub: what it is, without its weights
<run_dir>/best.weights.h5           with train.keep_best: those of the step with the best mIoU
<run_dir>/validation.json            the mIoU of each evaluation on the way
<run_dir>/train/, eval_<split>/      TensorBoard
<run_dir>/eval_<split>.json          the last evaluation on a split
<run_dir>/report.html                what wss-report writes
<run_dir>/export/                    what wss-export writes
<run_dir>/pseudo_labels_<split>.json  how right and how sure the pseudo labels on a split are
<run_dir>/labels/                    a round of self-training: the data set of its pseudo labels
<run_dir>/finished                   the run is complete; written by what runs several of them
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import gin

from wss.files import locked, remove_temporaries, write_errors, write_text

PLAN_NAME = "experiment.gin"
CONFIG_NAME = "operative_config.gin"
WEIGHTS_NAME = "model.weights.h5"
BEST_NAME = "best.weights.h5"


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """Paths of one run's files.

    Attributes:
        path: The run directory; made when something is written.
        writes: Whether this process writes, as the chief of several hosts does.
    """

    path: Path
    writes: bool = True

    def __post_init__(self):
        object.__setattr__(self, "path", Path(self.path))

    @property
    def plan(self) -> Path:
        """The gin file that wss-plan writes."""
        return self.path / PLAN_NAME

    @property
    def guessed_labels(self) -> Path:
        """The CSV file of image-level labels that wss-plan guesses."""
        return self.path / "guessed_labels.csv"

    @property
    def config(self) -> Path:
        """The gin file of all parameters that were in force."""
        return self.path / CONFIG_NAME

    @property
    def record(self) -> Path:
        """The file of what the run was trained on, see `wss.training.run_record`."""
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        """The file that the process that trains or plans there holds locked."""
        return self.path / "lock"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The file of the trained weights."""
        return self.path / WEIGHTS_NAME

    @property
    def best_weights(self) -> Path:
        """The file of the weights of the best step."""
        return self.path / BEST_NAME

    @property
    def encoder(self) -> Path:
        """The folder that says what an encoder of keras-hub is, without its weights."""
        return self.path / "encoder"

    @property
    def kept_encoder(self) -> Path | None:
        """That folder if it is there; None in a run without such an encoder."""
        return self.encoder if self.encoder.is_dir() else None

    @property
    def validation(self) -> Path:
        """The file of the evaluations on the way."""
        return self.path / "validation.json"

    @property
    def summaries(self) -> Path:
        """TensorBoard's folder of the training."""
        return self.path / "train"

    @property
    def finished(self) -> Path:
        """The file that says that the run is complete."""
        return self.path / "finished"

    @property
    def report(self) -> Path:
        """The HTML page of the run."""
        return self.path / "report.html"

    @property
    def export(self) -> Path:
        """The folder of the network in other formats."""
        return self.path / "export"

    @property
    def labels(self) -> Path:
        """The data set of pseudo labels that a round of self-training learns from."""
        return self.path / "labels"

    def evaluation(self, split: str) -> Path:
        """Returns the file of the last evaluation on a split."""
        return self.path / f"eval_{split}.json"

    def evaluation_summaries(self, split: str) -> Path:
        """Returns TensorBoard's folder of the evaluations on a split."""
        return self.path / f"eval_{split}"

    def pseudo_label_quality(self, split: str) -> Path:
        """Returns the file of how good the pseudo labels on a split are."""
        return self.path / f"pseudo_labels_{split}.json"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder and keeps other trainings and plans out of it; removes what a killed one left half-written.

        Raises:
            LockedError: Another process trains or plans there.
            WriteError: The folder cannot be made or written.
        """
        if not self.writes:
            yield
            return
        is_new = not self.path.exists()
        with write_errors(self.path, "expected a folder for the run in --run_dir"):
            self.path.mkdir(parents=True, exist_ok=True)
        busy = f"{self.path}: another training or wss-plan is running there; wait for it, or give another --run_dir"
        with locked(self.lock, busy=busy):
            for folder in (self.path, self.checkpoints):
                remove_temporaries(folder)
            try:
                yield
            finally:
                if is_new:
                    self._remove_if_unused()

    def save_config(self) -> None:
        """Writes the operative gin configuration."""
        if self.writes:
            write_text(self.config, gin.operative_config_str(max_line_length=120))

    def _remove_if_unused(self) -> None:
        """Removes a folder in which there is nothing but the lock."""
        with contextlib.suppress(OSError):
            if [path.name for path in self.path.iterdir()] == [self.lock.name]:
                self.lock.unlink()
                self.path.rmdir()
