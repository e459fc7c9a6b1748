"""Gin bindings of runs that take seconds."""

from pathlib import Path

TINY = {
    "build_model.backbone": "'mobilenet_v2'",
    "build_model.depth_multiplier": 0.25,
    "build_model.batch_norm_momentum": 0.9,
    "TrainingData.labeled_split": "'train_1_4'",
    "TrainingData.unlabeled_split": "'train'",
    "TrainingData.labeled_batch_size": 2,
    "TrainingData.unlabeled_batch_size": 2,
    "TrainingData.crop_size": "(33, 33)",
    "Augmentation.cutout_half_side": 4,
    "Evaluation.batch_size": 2,
    "train.method": "@PseudoSeg()",
    "train.num_steps": 6,
    "train.steps_per_loop": 2,
    "train.summary_every": 100,
    "train.pictures_every": 0,
    "train.checkpoint_every": 1000,
}
# With `networks.two_convolutions`: a head without atrous branches and one stream, so that little is left to trace.
SMALL = {**TINY, "build_model.aspp_rates": "()", "build_model.head_depth": 8, "train.method": "@Supervised()"}


def bindings(parameters: dict, data_dir: Path) -> list[str]:
    """Returns a dictionary such as `TINY` as gin bindings, for the data set of a folder."""
    return [f"load_dataset.directory = '{data_dir}'", *(f"{name} = {value}" for name, value in parameters.items())]
