"""The original's command-line flags, and what both parts of the parity code share."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from wss.errors import UserError

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class OriginalFlags:
    """The command-line flags of the original's train_wss.py that change its tensors, with the values of its goldens.

    Some are not here, because our parts have no such option. On in the original are use_attention, att_v2 and cls_with_cls.
    Off are hard_example_mining_step and top_k_percent_pixels. The optimizer is momentum, the learning_policy poly.
    """

    weakly: bool = False
    fine_tune_batch_norm: bool = True
    output_stride: int = 16
    multi_grid: Sequence[int] | None = None
    atrous_rates: Sequence[int] | None = (6, 12, 18)
    decoder_output_stride: int | Sequence[int] | None = 4
    depth_multiplier: float = 1.0
    divisible_by: int | None = None
    weight_decay: float = 4e-5
    base_learning_rate: float = 0.007
    learning_power: float = 0.9
    training_number_of_steps: int = 30000
    momentum: float = 0.9
    slow_start_step: int = 0
    slow_start_learning_rate: float = 1e-4
    last_layer_gradient_multiplier: float = 1.0
    upsample_logits: bool = True
    unlabeled_weight: float = 1.0
    pseudo_src: str = "avg"
    soft_pseudo_label: bool = True
    pseudo_label_threshold: float = 0.0
    temperature: float = 0.5
    logit_norm: bool = True
    attention_dim: int = 128
    att_strides: str | Sequence[str | int] = ("15", "16")

    def __post_init__(self):
        strides = self.att_strides.split(",") if isinstance(self.att_strides, str) else self.att_strides
        for name, value, choices in (
            ("att_strides", sorted(map(str, strides)), (["15", "16"], ["16"])),
            ("pseudo_src", self.pseudo_src, ("avg", "att")),
            ("decoder_output_stride", self.decoder_output_stride, (4, [4], (4,), None)),
        ):
            if value not in choices:
                raise UserError(f"{name} = {value!r}, expected one of {choices}")
        object.__setattr__(self, "att_strides", tuple(sorted(map(str, strides))))


def image_input(inputs: Arrays, name: str) -> tf.Tensor:
    """Returns an input as float32."""
    return tf.constant(np.asarray(inputs[name]), tf.float32)


def with_background(cam: tf.Tensor) -> tf.Tensor:
    """Returns a CAM [B, h, w, K] with the background 1 - max before it: [B, h, w, K + 1]."""
    return tf.concat([1.0 - tf.reduce_max(cam, axis=-1, keepdims=True), cam], axis=-1)
