"""Adds splits to a built data set without copying images, and refuses those after which some would be in none."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from etils import epath

from wss.data.dataset_info import DatasetInfo
from wss.data.record_index import read_index
from wss.data.splits import Record, SplitBuilder, check_name, records_of
from wss.errors import UserError


def check_names(info: DatasetInfo, names: Sequence[str], overwrite: bool) -> None:
    """Raises a `UserError` if a name cannot be, is given twice, or is that of a split that must not be replaced."""
    for name in names:
        check_name(name)
        if names.count(name) > 1:
            raise UserError(f"split {name!r}: the name is given twice")
        if name in info.splits and not overwrite:
            help = "choose another name" if orphans(info, [name]) else "add --overwrite or choose another name"
            raise UserError(f"{info.directory}: has a split {name!r} already; {help}")


def check_not_empty(info: DatasetInfo, splits: Mapping[str, Sequence[Record]]) -> None:
    """Raises a `UserError` for a split without records."""
    for name, records in splits.items():
        if not records:
            raise UserError(f"{info.directory}: nothing is left for split {name!r}")


def check_no_orphans(info: DatasetInfo, splits: Mapping[str, Sequence[Record]]) -> None:
    """Raises a `UserError` if images would be in no split any more once some splits are replaced.

    Args:
        info: The data set.
        splits: The records of each new split, by its name.
    """
    replaced = [name for name in splits if name in info.splits]
    kept = {(record.file, record.number) for records in splits.values() for record in records}
    if lost := [record for record in orphans(info, replaced) if (record.file, record.number) not in kept]:
        names = " and ".join(map(repr, replaced))
        raise UserError(
            f"{info.directory}: without the split {names} that is there, {len(lost)} images such as "
            f"{lost[0].entry.id!r} would be in no split; choose another name, such as {replaced[0] + '_2'!r}"
        )


def orphans(info: DatasetInfo, names: Sequence[str]) -> list[Record]:
    """Returns the records of some splits that no other split of the data set has."""
    others = {name: split for name, split in info.splits.items() if name not in names}
    covered = {file for split in others.values() if not split.runs_file for file in split.shards}
    alone = {
        (record.file, record.number): record
        for name in names
        if info.splits[name].shards.keys() - covered
        for record in records_of(info, name)
        if record.file not in covered
    }
    for name, split in others.items():
        if alone and split.runs_file and any(file in split.shards for file, _ in alone):
            for record in records_of(info, name):
                alone.pop((record.file, record.number), None)
    return list(alone.values())


def add_splits(
    info: DatasetInfo,
    splits: Mapping[str, Sequence[Record]],
    provenance: Mapping[str, dict],
    *,
    overwrite: bool = False,
    hide_masks: Collection[str] = (),
) -> DatasetInfo:
    """Adds splits of records that the data set has.

    Args:
        info: The data set, as loaded.
        splits: The records of each new split, by its name.
        provenance: Choice of each split, to be recorded; its checksum is added.
        overwrite: Whether to replace splits of these names.
        hide_masks: Names of the new splits whose masks training must not see.

    Returns:
        The data set with the new splits; it is saved.

    Raises:
        UserError: A split of that name exists, a new one has no images, or images would be in no split any more.
    """
    check_names(info, list(splits), overwrite)
    check_not_empty(info, splits)
    check_no_orphans(info, splits)
    folder, recorded, new = epath.Path(info.directory), dict(info.provenance.get("splits", {})), {}
    counts = {file: sum(1 for _ in read_index(folder / file)) for file in _files_of(splits)}
    for name, records in splits.items():
        builder = SplitBuilder(name in hide_masks)
        for record in sorted(records, key=lambda record: (record.file, record.number)):
            builder.add(record)
        new[name] = builder.finish(folder, name, counts)
        recorded[name] = {**provenance.get(name, {}), "checksum": new[name].checksum}
    provenance = {**info.provenance, "splits": recorded}
    info = dataclasses.replace(info, splits={**info.splits, **new}, provenance=provenance)
    info.save(folder)
    return info


def _files_of(splits: Mapping[str, Sequence[Record]]) -> list[str]:
    return sorted({record.file for records in splits.values() for record in records})
