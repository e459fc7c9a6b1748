"""The original's command-line flags, and what both parts of the parity code share."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from wss.errors import UserError

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class OriginalFlags:
    """Command-line flags of the original's train_wss.py that change its tensors: its names, the values of its goldens."""

    weakly: bool = False
    fine_tune_batch_norm: bool = True
    output_stride: int = 16
    multi_grid: Sequence[int] | None = None
    atrous_rates: Sequence[int] | None = (6, 12, 18)
    decoder_output_stride: int | None = 4
    weight_decay: float = 4e-5
    base_learning_rate: float = 0.007
    learning_power: float = 0.9
    training_number_of_steps: int = 30000
    momentum: float = 0.9
    last_layer_gradient_multiplier: float = 1.0
    upsample_logits: bool = True
    unlabeled_weight: float = 1.0
    pseudo_src: str = "avg"
    soft_pseudo_label: bool = True
    pseudo_label_threshold: float = 0.0
    temperature: float = 0.5
    logit_norm: bool = True
    attention_dim: int = 128
    att_strides: Sequence[str | int] = ("15", "16")

    def __post_init__(self):
        for name, value, choices in (
            ("att_strides", tuple(map(str, self.att_strides)), (("15", "16"), ("16",))),
            ("pseudo_src", self.pseudo_src, ("avg", "att")),
            ("decoder_output_stride", self.decoder_output_stride, (4, None)),
        ):
            if value not in choices:
                raise UserError(f"{name} = {value!r}, expected one of {choices}")


def image_input(inputs: Arrays, name: str) -> tf.Tensor:
    return tf.constant(np.asarray(inputs[name]), tf.float32)


def with_background(cam: tf.Tensor) -> tf.Tensor:
    return tf.concat([1.0 - tf.reduce_max(cam, axis=-1, keepdims=True), cam], axis=-1)
