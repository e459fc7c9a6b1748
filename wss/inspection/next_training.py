"""The training that suits a data set: a command to begin with."""

from collections.abc import Callable

from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.next_step import tool

FILES = ("base/deeplab", "models/mobilenet_v2")


def training_command(info: DatasetInfo) -> list[str]:
    """Returns the command of a dry run on a data set, from boxes where there are no masks; nothing if neither is there.

    PseudoSeg is taken where there are images without masks, else the supervised baseline.
    """
    run_dir = f"--run_dir=runs/{info.name}"
    places = [run_dir, f"--data_dir={info.directory}"]
    labeled = _first(info, lambda split: split.num_masks == split.num_examples and not split.hide_masks, "train")
    if not labeled:
        boxes = _first(info, lambda split: split.num_with_boxes == split.num_examples, "boxes")
        train = tool("train_from_boxes") if boxes else []
        return [*train, "--gin_file=gin_configs/recipes/bap_nal/photos.gin", *places] if train else []
    unlabeled = _first(info, lambda split: not split.num_masks or split.hide_masks, "unlabeled")
    files = [*FILES, "methods/pseudoseg" if unlabeled else "methods/supervised"]
    parameters = [f'TrainingData.labeled_split = "{labeled}"']
    parameters += [f'TrainingData.unlabeled_split = "{unlabeled}"'] if unlabeled else []
    return [
        "wss-train",
        *(f"--gin_file=gin_configs/{file}.gin" for file in files),
        *places,
        *(f"--gin_param={parameter}" for parameter in [*parameters, *_evaluation(info)]),
        "--dry_run",
    ]


def _first(info: DatasetInfo, fits: Callable[[SplitInfo], bool], preferred: str) -> str:
    """Returns the split for training that fits, the preferred one if it does; "" if none does."""
    found = [name for name, split in info.splits.items() if not is_for_evaluation(name) and fits(split)]
    return preferred if preferred in found else next(iter(found), "")


def _evaluation(info: DatasetInfo) -> list[str]:
    """Returns the gin bindings of an evaluation on a split that is there."""
    with_masks = [name for name, split in info.splits.items() if is_for_evaluation(name) and _has_masks(split)]
    if "val" in with_masks:
        return []
    return [f'Evaluation.split = "{with_masks[0]}"' if with_masks else "train.evaluate_at_end = False"]


def is_for_evaluation(name: str) -> bool:
    """Returns whether a split is for evaluation, by its name."""
    return name.startswith(("val", "test"))


def _has_masks(split: SplitInfo) -> bool:
    return split.num_masks > 0
