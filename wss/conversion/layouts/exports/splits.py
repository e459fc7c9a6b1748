"""The pools and splits of an export: its own, or train and val by lists or by chance."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from wss.conversion.layouts.exports.export import Export, Part
from wss.conversion.layouts.folder import read_ids, split_train_val
from wss.conversion.sources import Pool, Source
from wss.data.names import is_split_name
from wss.errors import UserError

TRAIN, VAL, UNLABELED = "train", "val", "unlabeled"
# Names of splits that mean another, and those that mean none.
SYNONYMS = {"valid": VAL, "validation": VAL, "training": TRAIN, "testing": "test", "default": ""}
Pools = dict[str, Sequence[Source] | Pool]


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """How images are split that have no split of their own.

    Attributes:
        train_list: File of the images of train; None takes all that are not in val.
        val_list: File of the images of val; None chooses them by chance.
        val_fraction: Part of the images for val; None takes 0.2 where the export has no splits.
        seed: Seed of the choice.
    """

    train_list: str | None = None
    val_list: str | None = None
    val_fraction: float | None = None
    seed: int = 0

    @property
    def is_given(self) -> bool:
        """Whether a person asked for a split."""
        return self.train_list is not None or self.val_list is not None or self.val_fraction is not None


def pools_of(export: Export, rule: SplitRule) -> Pools:
    """Returns the pools of an export by the names of their splits; adds to its problems.

    Raises:
        UserError: Two splits have the same name, one can be none, or a person asked for a split beside those of the export.
    """
    parts = _named(export.parts)
    with_masks = {name: part for name, part in parts.items() if part.labeled}
    parts = _unlike(parts, export.problems)
    pools: Pools = {}
    if len(with_masks) == 1 and (rule.is_given or "" in with_masks):
        (name,) = with_masks
        part = parts[name]
        train, val = _split(part.labeled, rule, export.problems)
        pools |= {split: part.pool(images) for split, images in ((TRAIN, train), (VAL, val)) if images}
    elif rule.is_given:
        raise UserError(
            f"the export has splits of its own, {', '.join(map(repr, with_masks))}; leave out --train_list, --val_list and "
            "--val_fraction"
        )
    else:
        pools |= {name or TRAIN: part.pool(part.labeled) for name, part in parts.items() if part.labeled}
    unlabeled: list[Source] = []
    for name, part in parts.items():
        if name in ("", TRAIN):
            unlabeled += part.unlabeled
        elif part.unlabeled:  # to train on photos of val is a choice
            pools[f"{name}_{UNLABELED}"] = part.unlabeled_pool(part.unlabeled)
    if unlabeled:
        pool = next(part.unlabeled_pool for name, part in parts.items() if name in ("", TRAIN))
        pools[UNLABELED] = pool(unlabeled)
    return pools


def _split(labeled: Sequence[Source], rule: SplitRule, problems: list[str]) -> tuple[list[Source], list[Source]]:
    train_ids, val_ids = (path and read_ids(path) for path in (rule.train_list, rule.val_list))
    fraction = 0.2 if rule.val_fraction is None else rule.val_fraction
    return split_train_val(
        labeled, train_ids or None, val_ids or None, val_fraction=fraction, seed=rule.seed, problems=problems
    )


def _named(parts: Mapping[str, Part]) -> dict[str, Part]:
    named: dict[str, Part] = {}
    for name, part in parts.items():
        split = SYNONYMS.get(name.casefold(), name)
        if split in named:
            raise UserError(f"the export has the split {split!r} twice, once as {name!r}; expected one of each")
        if split and not is_split_name(split):
            raise UserError(f"the export has a split {name[:60]!r}, which can be no name; rename it")
        named[split] = part
    return named


def _unlike(parts: Mapping[str, Part], problems: list[str]) -> dict[str, Part]:
    """Returns the parts with ids that differ: photos of the same name in two splits get that of their split before it.

    The same photo in two splits is a problem.
    """
    seen: dict[str, tuple[str, Source]] = {}
    clashes: set[str] = set()
    for name, part in parts.items():
        for source in (*part.labeled, *part.unlabeled):
            other, first = seen.setdefault(source.id, (name, source))
            if other == name:
                continue
            clashes.add(source.id)
            if _same_content(first.image, source.image):
                problems.append(
                    f"{_shown(source)}: the same photo as {_shown(first)}, in {name or TRAIN!r} and in {other or TRAIN!r}; "
                    "delete it in one of them"
                )
    if not clashes:
        return dict(parts)
    renamed = lambda name, s: dataclasses.replace(s, id=f"{name or TRAIN}/{s.id}") if s.id in clashes else s
    return {
        name: dataclasses.replace(
            part,
            labeled=[renamed(name, source) for source in part.labeled],
            unlabeled=[renamed(name, source) for source in part.unlabeled],
        )
        for name, part in parts.items()
    }


def _same_content(first: str | os.PathLike | bytes, second: str | os.PathLike | bytes) -> bool:
    if isinstance(first, bytes) or isinstance(second, bytes):
        return first == second
    try:
        paths = [Path(first), Path(second)]
        if paths[0].stat().st_size != paths[1].stat().st_size:
            return False
        digests = [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    except OSError:
        return False
    return digests[0] == digests[1]


def _shown(source: Source) -> str:
    return source.id if isinstance(source.image, bytes) else str(source.image)
