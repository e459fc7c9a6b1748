"""The original PseudoSeg's tensors, by its names, computed by the parts of this package.

`golden_tensors` sets up what the original code (googleinterns/wss, TensorFlow 1) builds for a backbone, a number of
classes and its command-line flags. It puts in weights by TensorFlow 1 name, and returns the tensors that the goldens of
the original hold. Crop and batch follow from the inputs. Dropout is the identity, as in the goldens.
"""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.methods.components.image_classifier import build_classifier
from wss.methods.pseudoseg.branches import PseudoSegBranches, build_sgc
from wss.methods.pseudoseg.grad_cam import GradCAM
from wss.models.backbones.registry import backbone_spec
from wss.models.deeplab import DeepLab, build_model
from wss.models.layers.normalization import batch_norm_updates
from wss.models.tf1_names import assign_tf1, only_classifies, tf1_shapes
from wss.ops.resizing import resize_bilinear, resize_nearest
from wss.parity.flags import Arrays, OriginalFlags, image_input, with_background
from wss.parity.step import STEP_INPUTS, step_tensors


def build_original(backbone: str, num_classes: int = 21, flags: OriginalFlags | None = None) -> DeepLab:
    """Builds the original's network for a data set with background; dropout is the identity, gin bindings do not count.

    Args:
        backbone: A key of `wss.models.backbones.registry.BACKBONES`.
        num_classes: Number of classes, with the background.
        flags: The original's flags; None for those of the goldens.
    """
    flags = flags or OriginalFlags()
    names = ("background", *(f"class_{number}" for number in range(1, num_classes)))
    info = DatasetInfo("original", names, ((0, 0, 0),) * num_classes, {})
    network = build_model(
        info,
        backbone=backbone,
        head="deeplab_v3_plus",
        output_stride=flags.output_stride,
        multi_grid=flags.multi_grid,
        depth_multiplier=flags.depth_multiplier,
        depth_divisor=flags.divisible_by or (8 if flags.depth_multiplier == 1.0 else 1),
        # Ours are rates at output stride 16, the original's those of the network as it is.
        aspp_rates=[rate * flags.output_stride / 16 for rate in flags.atrous_rates or ()],
        use_decoder=flags.decoder_output_stride is not None,
        head_depth=256,
        dropout=0.0,
        fine_tune_batch_norm=flags.fine_tune_batch_norm,
        synchronized_batch_norm=False,
        batch_norm_momentum=None,
        aspp_first_two_only=False,
    )
    sgc = build_sgc(
        network,
        info,
        attention_dim=flags.attention_dim,
        background="after",
        uniform_masked_queries=True,
        projection_init="glorot_uniform",
        hypercolumn=len(flags.att_strides) == 2,
    )
    classifier = build_classifier(network, info, dropout=0.0)
    network.branches = PseudoSegBranches(classifier, sgc, network.feature_channels)
    return network


def golden_tensors(
    backbone: str, weights: Arrays, inputs: Arrays, num_classes: int = 21, flags: OriginalFlags | None = None
) -> dict[str, np.ndarray]:
    """Computes what the original computes, under the names of its goldens.

    Which part of the original runs follows from the inputs. A golden file's own keys are inputs enough; further keys are
    ignored.

    - "input" [B, H, W, 3]: inference. Returns "preprocessed", "mean_pixel", "end_point:<name>", "features",
      "aspp_output", "decoder_output" (if there is one), "logits", "prediction".
    - Also "cls_label" [B, C - 1], "valid_mask" [B, H, W, 1]: the classification branch, CAM and SGC. Returns them under
      "net_training_<bool>/..." and ".../sgc_training_<bool>/...".
    - Or "cls_label", "dropout_mask" [B, 1, 1, D] and "keep_prob": the classification branch in training with this dropout
      mask. Its Grad-CAM has the original's average over the batch.
    - "seg/image", "seg/label", "seg/valid", "seg/cls_label", "unl/image", "unl/strong", "unl/label", "unl/valid",
      "unl/cls_label": one training step. Returns

      - logits, CAM, SGC and pseudo label;
      - "loss_*", "loss_collection/*", "regularization_loss", "total_loss";
      - "grad/<variable>" after the gradient multipliers, "grad_norms" with "grad_norm_names";
      - "bn_batch_mean/<pass>/<scope>/FusedBatchNormV3" and "bn_batch_var/..." (unbiased);
      - "learning_rate_step0", "after_step/<variable>" and "after_step_racy/<moving statistic>".

    The original moves the statistics in every pass, the labelled one twice, in no order. "after_step_racy" is the sum of
    all moves. "after_step/<moving statistic>" is what our step leaves, in which each image counts once.

    Images are raw, 0 .. 255; labels int with 255 to ignore; masks in {0, 1}. Where a golden file holds a part of a tensor,
    as "name@[:, :8, :8, :]", and is given as inputs, that part is returned too.

    Args:
        backbone: A key of `wss.models.backbones.registry.BACKBONES`.
        weights: Arrays by TensorFlow 1 name; names that the part does not need are ignored.
        inputs: Arrays by name, as above; what `numpy.load` returns will do.
        num_classes: Number of classes, with the background.
        flags: The original's flags; None for those of the goldens.

    Raises:
        UserError: A variable of the part has no weights or another shape, an input is missing, or no part has such inputs.
    """
    part = _part(inputs)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        model = build_original(backbone, num_classes, flags)
        _assign(model, weights, head=part in (step_tensors, _inference), classifier=part is not _inference)
        tensors = {name: np.asarray(value) for name, value in part(model, inputs, flags or OriginalFlags()).items()}
    finally:
        keras.config.set_dtype_policy(policy)
    return tensors | _crops(tensors, inputs)


def _part(inputs: Arrays) -> Callable[[DeepLab, Arrays, OriginalFlags], dict]:
    """Returns the part of the original whose inputs these are."""
    for part, needed in (
        (step_tensors, STEP_INPUTS),
        (_dropout_cam, ("dropout_mask", "input", "cls_label", "keep_prob")),
        (_classification, ("cls_label", "input", "valid_mask")),
        (_inference, ("input",)),
    ):
        if needed[0] in inputs:
            missing = [name for name in needed if name not in inputs]
            if missing:
                raise UserError(f"inputs: {needed[0]!r} without {missing[0]!r}; expected {', '.join(needed)}")
            return part
    raise UserError(f"inputs: {', '.join(inputs)}; expected 'input' or 'seg/image' and what belongs to them")


def _crops(tensors: dict[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Returns the tensors that goldens hold in part: "name@[:, :8, 0, :]" of "name"."""
    crops = {}
    for name in names:
        whole, _, crop = name.partition("@")
        if crop and whole in tensors:
            parts = [part.split(":") for part in crop.strip("[]").replace(" ", "").split(",")]
            bounds = [[int(bound) if bound else None for bound in part] for part in parts]
            crops[name] = tensors[whole][tuple(slice(*part) if len(part) > 1 else part[0] for part in bounds)]
    return crops


def _assign(model: DeepLab, weights: Arrays, *, head: bool, classifier: bool) -> None:
    needed = {name for name in tf1_shapes(model.backbone) if classifier or not only_classifies(name)}
    in_head = tf1_shapes(model.segmentation_head).keys()
    needed |= in_head if head else set()
    needed |= tf1_shapes(model).keys() - tf1_shapes(model.backbone).keys() - in_head if classifier else set()
    missing = sorted(needed - set(weights))
    if missing:
        raise UserError(f"weights: no value for {missing[0]} ({len(missing)} of {len(needed)} variables are missing)")
    assign_tf1(model, {name: weights[name] for name in needed}, strict=False)


def _inference(model: DeepLab, inputs: Arrays, flags: OriginalFlags) -> dict[str, tf.Tensor]:
    head, roles = model.segmentation_head, backbone_spec(model.backbone.name).roles
    inside = {layer.name: layer.output for layer in head.layers if layer.name in ("aspp_output", "decoder_output")}
    head = keras.Model(head.inputs, {**inside, "logits": head.output})

    @tf.function
    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        points = model.features(images)
        named = {f"end_point:{name}": value for name, value in points.items() if name not in roles}
        return {
            "preprocessed": model.backbone.get_layer("preprocess")(images),
            **named,
            "features": points["features"],
            **head([points["features"], points["low_level"]]),
        }

    images = image_input(inputs, "input")
    tensors = run(images)
    logits = resize_bilinear(tensors["logits"], images.shape[1:3])
    return {**tensors, "prediction": tf.argmax(logits, -1), "mean_pixel": backbone_spec(model.backbone.name).mean_pixel}


def _classification(model: DeepLab, inputs: Arrays, flags: OriginalFlags) -> dict[str, tf.Tensor]:
    images, label, valid = (image_input(inputs, name) for name in ("input", "cls_label", "valid_mask"))
    stride = flags.decoder_output_stride or flags.output_stride
    valid = resize_nearest(valid, [(side - 1) // stride + 1 for side in images.shape[1:3]])
    roles, branches = backbone_spec(model.backbone.name).roles, model.branches

    @tf.function
    def run(training: bool) -> dict[str, tf.Tensor]:
        with batch_norm_updates(False):
            points = model.features(images, training=training)
            logits = branches.classify(points)
            predicted = tf.cast(tf.nn.sigmoid(logits) >= 0.5, tf.float32)
            cams = {"": branches.cam(points, label), "_predicted_label": branches.cam(points, predicted)}
            tensors = {"cls_logits": logits, "predicted_label": predicted}
            tensors |= {f"cam{suffix}": with_background(cam) for suffix, cam in cams.items()}
            tensors["cam_no_attention"] = tensors["cam"]
            for sgc_training in (True,) if training else (False, True):
                for suffix, cam in cams.items():
                    name = f"sgc_training_{sgc_training}/sgc_logits{suffix}"
                    tensors[name] = branches.refine_cam(points, cam, valid, training=sgc_training)
            for role in ("hypercolumn_last", "hypercolumn_previous"):
                tensors[f"end_point:{roles[role]}"] = points[role]
        return {f"net_training_{training}/{name}": value for name, value in tensors.items()}

    return {"valid_mask_decoder_res": valid, **run(False), **run(True)}


def _dropout_cam(model: DeepLab, inputs: Arrays, flags: OriginalFlags) -> dict[str, tf.Tensor]:
    images, label = image_input(inputs, "input"), image_input(inputs, "cls_label")
    mask = image_input(inputs, "dropout_mask")[:, 0, 0] / float(inputs["keep_prob"])

    def head(features: tf.Tensor) -> tf.Tensor:
        return model.branches.classifier.linear(tf.reduce_mean(features, axis=(1, 2)) * mask)

    with batch_norm_updates(False):
        last = tf.function(lambda x: model.features(x, training=True)["cam_features"])(images)
    with tf.GradientTape() as tape:
        tape.watch(last)
        logits = head(last)
        first = logits[:, 0]
    return {
        "last_feature": last,
        "cls_logits": logits,
        "cam": with_background(GradCAM(head, average_over_batch=True)(last, label)),
        "dlogit0_dfeature": tape.gradient(first, last),
    }
