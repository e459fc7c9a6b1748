"""One training step of PseudoSeg by this package's own method, step and optimizer, under the original's names."""

import keras
import numpy as np
import tensorflow as tf

from wss.models.deeplab import DeepLab
from wss.models.layers.normalization import BatchNorm
from wss.models.tf1_names import tf1_shapes, tf1_variables
from wss.parity.flags import Arrays, OriginalFlags, image_input
from wss.parity.recording import RecordedNetwork, RecordedPseudoSeg
from wss.training.optimizers import build_optimizer
from wss.training.step import TrainStep

STEP_INPUTS = tuple(f"seg/{name}" for name in ("image", "label", "valid", "cls_label"))
STEP_INPUTS += tuple(f"unl/{name}" for name in ("image", "strong", "label", "valid", "cls_label"))


def step_tensors(model: DeepLab, inputs: Arrays, flags: OriginalFlags) -> dict[str, tf.Tensor]:
    """Computes one training step: the part of `wss.parity.golden_tensors` for "seg/..." and "unl/..."."""
    recorded = RecordedNetwork(model, flags.weakly)
    method = RecordedPseudoSeg.of(flags)
    optimizer = build_optimizer(
        flags.training_number_of_steps,
        name="momentum",
        learning_rate=flags.base_learning_rate,
        power=flags.learning_power,
        slow_start_steps=flags.slow_start_step,
        slow_start_rate=flags.slow_start_learning_rate,
        momentum=flags.momentum,
    )
    step = TrainStep(
        tf.distribute.get_strategy(),
        recorded,
        method,
        optimizer=optimizer,
        weight_decay=flags.weight_decay,
        rate_factors=model.rate_factors(last_layer=flags.last_layer_gradient_multiplier),
    )
    rate = tf.convert_to_tensor(optimizer.learning_rate)

    @tf.function
    def run(batch: dict[str, dict[str, tf.Tensor]]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        statistics = _moving_statistics(model)
        before = {name: tf.identity(variable.value) for name, (variable, _) in statistics.items()}
        recorded.start(batch)
        scalars = step.replica_step(batch)
        tensors = {**recorded.tensors, **recorded.statistics.tensors}
        for name, (_, momentum) in statistics.items():
            moves = [batch - before[name] for batch in recorded.statistics.by_variable.get(name, [])]
            tensors[f"after_step_racy/{name}"] = before[name] + (1.0 - momentum) * sum(moves)
        return dict(zip(step.names, tf.unstack(scalars), strict=False)), tensors

    losses, tensors = run(_batch(inputs))
    # After the first step an accumulator of momentum is the gradient.
    gradients = dict(zip((v.path for v in model.trainable_variables), optimizer.accumulators, strict=True))
    names = tf1_variables(model)
    gradients = {name: gradients[v.path].value for name, v in names.items() if v.path in gradients}
    shapes = tf1_shapes(model)
    return {
        **tensors,
        "loss_consistency": losses["consistency"],
        "loss_cls": losses["classification"],
        "loss_collection/loss_consistency": losses["consistency"],
        "loss_collection/loss_cls": losses["classification"],
        "loss_collection/semantic_merged_logits/mul_1": losses["segmentation"],
        "loss_collection/self-attention_self-attention_logits/mul_1": losses["sgc"],
        "regularization_loss": losses["weight_decay"],
        "total_loss": losses["total"],
        "learning_rate_step0": rate,
        **{f"grad/{name}": tf.reshape(value, shapes[name]) for name, value in gradients.items()},
        "grad_norm_names": np.array(list(gradients)),
        "grad_norms": tf.stack([tf.norm(value) for value in gradients.values()]),
        **{f"after_step/{name}": tf.reshape(v.value, shapes[name]) for name, v in names.items()},
    }


def _batch(inputs: Arrays) -> dict[str, dict[str, tf.Tensor]]:
    valid = image_input(inputs, "unl/valid")
    return {
        "labeled": {
            "image": image_input(inputs, "seg/image"),
            "label": tf.constant(np.asarray(inputs["seg/label"]), tf.int32),
            "valid": image_input(inputs, "seg/valid"),
            "image_label": image_input(inputs, "seg/cls_label"),
        },
        "unlabeled": {
            "weak": image_input(inputs, "unl/image"),
            "strong": image_input(inputs, "unl/strong"),
            "label": tf.constant(np.asarray(inputs["unl/label"]), tf.int32),
            "valid": valid,
            "image_label": image_input(inputs, "unl/cls_label"),
            "image_label_known": tf.ones(valid.shape[:1]),
        },
    }


def _moving_statistics(model: DeepLab) -> dict[str, tuple[keras.Variable, float]]:
    """Returns {TF1 name: (variable, momentum)} of all moving means and variances."""
    norms = {f"{layer.tf1_scope}/": layer.momentum for layer in model._flatten_layers() if isinstance(layer, BatchNorm)}
    return {
        name: (variable, norms[name[: name.rindex("/") + 1]])
        for name, variable in tf1_variables(model).items()
        if "/moving_" in name
    }
