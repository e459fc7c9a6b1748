"""Gin bindings of a PseudoSeg run that takes seconds."""

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
    "train.pictures_every": 0,
}
