"""Photos that a report shows: those that a network predicts worst and best, and some at random."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.padding import Padding
from wss.experiment import OpenRun
from wss.inference.photos import Batch, Photo, SplitExamples, run_examples
from wss.inference.prediction import predict
from wss.ops.metrics import mean_iou
from wss.progress import track
from wss.visualization.layout import classes_in
from wss.visualization.overlays import Columns
from wss.visualization.panels import columns_of, explained

MOST_PHOTOS = 200  # that are looked at
OF_EACH_KIND = 3


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredPhoto:
    """A photo with what a network predicts for it.

    Attributes:
        photo: The photo, as the network sees it.
        prediction: Class ids, int32 [h, w].
        score: Mean IoU of the classes in its mask and its prediction, 0 .. 1; NaN without labelled pixels.
    """

    photo: Photo
    prediction: np.ndarray
    score: float


@dataclasses.dataclass(frozen=True, eq=False)
class ChosenPhotos:
    """Photos of a split that a report shows.

    Attributes:
        kinds: The "worst", "best" and "random" ones; a photo is in one of them.
        looked_at: Number of photos that they were chosen from.
        shape: (height, width) of the evaluation's batches.
    """

    kinds: Mapping[str, Sequence[ScoredPhoto]]
    looked_at: int
    shape: tuple[int, int]

    def pictures(
        self, run: OpenRun, others: Mapping[str, Mapping[str, np.ndarray]], *, title: str
    ) -> Iterator[tuple[str, ScoredPhoto, Columns, list[int]]]:
        """Yields the kind of each photo, itself, its pictures, and the label values in its truth and its prediction.

        Args:
            run: The run that the photos were chosen for.
            others: What other runs predict, by name of the photo by title, see `predictions_for`.
            title: Title of the run's own prediction.
        """
        shown = [(kind, scored) for kind, scored_photos in self.kinds.items() for scored in scored_photos]
        photos = _OneByOne([scored.photo for _, scored in shown], self.shape, run.model.padding)
        outputs = explained(run.model, run.method, photos)
        for (kind, scored), (photo, values) in zip(shown, outputs, strict=True):
            before = {title: by_name[photo.name] for title, by_name in others.items() if photo.name in by_name}
            labels = [] if photo.label is None else [photo.label]
            columns = columns_of(photo, values, run.info, before=before, title=title)
            yield kind, scored, columns, classes_in([scored.prediction, *labels])


def choose_photos(run: OpenRun, split: str, *, seed: int = 0) -> ChosenPhotos:
    """Predicts the first photos of a split, without the scales and windows of an evaluation, and chooses some.

    Args:
        run: The run.
        split: Name of a split with masks.
        seed: Seed of the random ones.
    """
    examples = SplitExamples(run.info, split, run.model.padding, number=MOST_PHOTOS)
    # More than are shown, since some of them may be among the worst or the best.
    drawn = np.random.default_rng(seed).permutation(len(examples))[: 3 * OF_EACH_KIND].tolist()
    worst: list[ScoredPhoto] = []
    best: list[ScoredPhoto] = []
    random: dict[int, ScoredPhoto] = {}
    for number, scored in enumerate(_predicted(run, examples)):
        if np.isnan(scored.score):
            continue
        worst = sorted([*worst, scored], key=lambda one: one.score)[:OF_EACH_KIND]
        best = sorted([*best, scored], key=lambda one: -one.score)[:OF_EACH_KIND]
        if number in drawn:
            random[drawn.index(number)] = scored
    taken: set[str] = set()
    kinds = {}
    for kind, candidates in (("worst", worst), ("best", best), ("random", [random[rank] for rank in sorted(random)])):
        kinds[kind] = [scored for scored in candidates if scored.photo.name not in taken][:OF_EACH_KIND]
        taken.update(scored.photo.name for scored in kinds[kind])
    return ChosenPhotos(kinds, len(examples), examples.shape)


def predictions_for(run: OpenRun, split: str, chosen: ChosenPhotos) -> dict[str, np.ndarray]:
    """Returns what another run predicts for chosen photos, as it sees them, at their size: class ids [h, w] by name."""
    sizes = {scored.photo.name: scored.photo.image.shape[:2] for photos in chosen.kinds.values() for scored in photos}
    examples = SplitExamples(run.info, split, run.model.padding, number=MOST_PHOTOS)
    return {
        scored.photo.name: _nearest(scored.prediction, sizes[scored.photo.name])
        for scored in _predicted(run, examples)
        if scored.photo.name in sizes
    }


def _predicted(run: OpenRun, examples: SplitExamples) -> Iterator[ScoredPhoto]:
    """Yields each photo with its prediction."""

    @tf.function
    def step(images: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"prediction": tf.argmax(predict(run.model, images), axis=-1, output_type=tf.int32)}

    for photo, outputs in track(run_examples(step, examples), "choosing photos", len(examples)):
        height, width = photo.image.shape[:2]
        prediction = outputs["prediction"][:height, :width]
        score = np.nan if photo.label is None else _score(photo.label, prediction, run.info)
        yield ScoredPhoto(photo, prediction, score)


def _nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns class ids [h, w] at a size (H, W)."""
    rows, columns = (np.arange(side) * seen // side for side, seen in zip(size, label.shape, strict=True))
    return label[rows][:, columns]


def _score(label: np.ndarray, prediction: np.ndarray, info: DatasetInfo) -> float:
    """Returns the mean IoU of one photo; values that are no class do not count."""
    classes = info.num_classes
    counted = (label != info.ignore_label) & (label >= 0) & (label < classes)
    pairs = label[counted].astype(np.int64) * classes + prediction[counted]
    return mean_iou(np.bincount(pairs, minlength=classes**2).reshape(classes, classes))


class _OneByOne:
    """Photos in batches of one, padded as in the evaluation."""

    def __init__(self, photos: Sequence[Photo], shape: tuple[int, int], padding: Padding):
        self._photos, self._shape, self._padding = photos, shape, padding

    def __len__(self) -> int:
        return len(self._photos)

    def __iter__(self) -> Iterator[Batch]:
        for photo in self._photos:
            height, width = photo.image.shape[:2]
            image = self._padding.canvas(self._shape)
            image[0, :height, :width] = photo.image
            labels = None
            if photo.label is not None:
                labels = np.zeros([1, *self._shape], np.int32)
                labels[0, :height, :width] = photo.label
            yield Batch([photo.name], image, np.array([[height, width]], np.int32), labels)
