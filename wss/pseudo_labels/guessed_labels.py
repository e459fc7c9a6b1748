"""Guesses of what the photos of a split show, from those of another split whose classes are known."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from wss.data.dataset_info import DatasetInfo
from wss.data.record_index import Entry
from wss.data.splits import entries_of
from wss.errors import UserError
from wss.inference.pooled_features import features_by_id
from wss.models.deeplab import DeepLab
from wss.pseudo_labels.label_spreading import Agreement, SpreadLabels, spread_labels
from wss.tables import format_columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuessedLabels:
    """What photos show, as far as it is known or guessed.

    Attributes:
        info: The data set.
        sources: bool [K] by id, the known classes of the photos that labels spread from; K = C - has_background.
        spread: What spread to the photos `guessed`.
        guessed: Ids of the photos of the split whose classes are not known.
        known: Ids of the others.
    """

    info: DatasetInfo
    sources: Mapping[str, np.ndarray]
    spread: SpreadLabels
    guessed: Sequence[str]
    known: Sequence[str]

    @property
    def held_out(self) -> Agreement:
        """How right the guesses are for photos whose classes are known, each guessed from the others."""
        return Agreement.of(self._guessed_sources, self._sources)

    def labels(self) -> dict[str, tuple[int, ...]]:
        """Returns class ids by id of the photo; photos of which nothing is known or guessed are left out."""
        first = int(self.info.has_background)
        ids_of = lambda shown: tuple(int(c) + first for c in np.flatnonzero(shown))
        guesses = zip(self.guessed, self.spread.shown, strict=True)
        return {
            **{id: ids_of(self.sources[id]) for id in self.known},
            **{id: ids_of(shown) for id, shown in guesses if shown.any()},
        }

    def summary(self) -> str:
        """Returns a table of the classes, and in words how right guesses are."""
        guessed, true, labels = self._guessed_sources, self._sources, self.labels()
        percent = lambda value: f"{100 * value:.0f}"
        rows = []
        for c, name in enumerate(self.info.class_names[int(self.info.has_background) :]):
            agreement = Agreement.of(guessed[:, c], true[:, c])
            right = percent(agreement.precision) if guessed[:, c].any() else "-"
            found = percent(agreement.recall) if true[:, c].any() else "-"
            rows.append((name, str(true[:, c].sum()), right, found, str(self.spread.shown[:, c].sum())))
        right, found = percent(self.held_out.precision), percent(self.held_out.recall)
        rows.append(("all", str(true.sum()), right, found, str(self.spread.shown.sum())))
        return (
            f"{format_columns([('class', 'photos known', '% right', '% found', 'photos guessed'), *rows])}\n\n"
            f"About {right} % of the guesses are right, and {found} % of what photos show is guessed. So it is for the "
            f"{len(true)} photos whose classes are known, each guessed from the others. Of the {len(self.guessed)} photos "
            f"to guess, {len(self.guessed) + len(self.known) - len(labels)} got no class and are left out."
        )

    @property
    def _sources(self) -> np.ndarray:
        return np.stack(list(self.sources.values()))

    @property
    def _guessed_sources(self) -> np.ndarray:
        return self.spread.held_out >= self.spread.threshold


def guess_image_labels(
    model: DeepLab,
    info: DatasetInfo,
    *,
    labeled_split: str,
    unlabeled_split: str,
    image_size: int = 225,
    batch_size: int = 32,
    min_fraction: float = 0.005,
) -> GuessedLabels:
    """Guesses what the photos of a split show, from their likeness to photos whose classes are known.

    Args:
        model: A network with pretrained weights.
        info: The data set.
        labeled_split: Split of photos with masks, which tell their classes.
        unlabeled_split: Split of the photos to guess for. Those with image-level labels of their own are known too; their
            masks, if they have any, are not looked at.
        image_size: Side in pixels to which whole photos are resized.
        batch_size: Photos at a time.
        min_fraction: A class is on a photo from this share of its pixels on.

    Raises:
        UserError: A split is missing or damaged, has no masks, or shows fewer than two photos.
    """
    classes: dict[str, np.ndarray] = {}
    ids: dict[str, list[str]] = {}
    for split, by_masks in ((labeled_split, not info.split(labeled_split).hide_masks), (unlabeled_split, False)):
        ids[split] = []
        for entry in entries_of(info, split):
            ids[split].append(entry.id)
            found = _known_classes(entry, info, min_fraction if by_masks else None)
            if found is not None:
                classes.setdefault(entry.id, found)
    sources = {id: classes[id] for id in dict.fromkeys([*ids[labeled_split], *ids[unlabeled_split]]) if id in classes}
    if len(sources) < 2:
        raise UserError(
            f"{info.directory}: split {labeled_split!r} has {len(sources)} photos with masks, expected two or more"
        )
    both = {split: ids[split] for split in (unlabeled_split, labeled_split)}
    features = features_by_id(model, info, both, image_size=image_size, batch_size=batch_size)
    others = [id for id in ids[unlabeled_split] if id not in sources]
    known_features = np.stack([features[id] for id in sources])
    other_features = np.reshape([features[id] for id in others], [len(others), known_features.shape[1]])
    spread = spread_labels(known_features, np.stack(list(sources.values())), other_features)
    known = [id for id in ids[unlabeled_split] if id in sources]
    return GuessedLabels(info=info, sources=sources, spread=spread, guessed=others, known=known)


def _known_classes(entry: Entry, info: DatasetInfo, min_fraction: float | None) -> np.ndarray | None:
    """Returns the foreground classes of an image, bool [K]: of its mask, or without `min_fraction` of its own labels."""
    first, number = int(info.has_background), info.num_classes
    if min_fraction is None:
        present = entry.present(number, info.has_background, use_mask=False)
        return None if present is None else present[first:]
    if entry.pixels is None:
        return None
    least = max(min_fraction * entry.size[0] * entry.size[1], 1)
    return np.array([entry.pixels.get(c, 0) >= least for c in range(first, number)])
