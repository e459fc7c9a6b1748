"""The training that suits a data set: a command to begin with."""

from collections.abc import Callable

from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.next_step import tool


def training_command(info: DatasetInfo) -> list[str]:
    """Returns the command that plans a training from masks, or trains from boxes; nothing if neither is there."""
    places = [f"--data_dir={info.directory}", f"--run_dir=runs/{info.name}"]
    if labeled := _first(info, lambda split: split.num_masks > 0 and not split.hide_masks, "train"):
        return ["wss-plan", *places, *([] if labeled == "train" else [f"--labeled_split={labeled}"])]
    if _first(info, lambda split: split.num_with_boxes == split.num_examples, "boxes") and (
        train := tool("train_from_boxes")
    ):
        return [*train, "--gin_file=gin_configs/recipes/bap_nal/photos.gin", *places]
    return []


def _first(info: DatasetInfo, fits: Callable[[SplitInfo], bool], preferred: str) -> str:
    """Returns the split for training that fits, the preferred one if it does; "" if none does."""
    found = [name for name, split in info.splits.items() if not is_for_evaluation(name) and fits(split)]
    return preferred if preferred in found else next(iter(found), "")


def is_for_evaluation(name: str) -> bool:
    """Returns whether a split is for evaluation, by its name."""
    return name.startswith(("val", "test"))
