"""One training step of PseudoSeg by this package's own method, step and optimizer, under the original's names."""

import keras
import numpy as np
import tensorflow as tf

from wss.methods.pseudoseg.pseudoseg import VIEWS, PseudoLabel, PseudoSeg
from wss.models.backbones.registry import backbone_spec
from wss.models.deeplab import DeepLab, Features
from wss.models.layers.convolution import BatchNorm, resize_bilinear, resize_nearest
from wss.models.tf1_names import tf1_shapes, tf1_variables
from wss.parity.flags import Arrays, OriginalFlags, image_input, with_background
from wss.training.optimizers import build_optimizer
from wss.training.step import TrainStep

STEP_INPUTS = tuple(f"seg/{name}" for name in ("image", "label", "valid", "cls_label"))
STEP_INPUTS += tuple(f"unl/{name}" for name in ("image", "strong", "label", "valid", "cls_label"))


def step_tensors(model: DeepLab, inputs: Arrays, flags: OriginalFlags) -> dict[str, tf.Tensor]:
    """See `wss.parity.golden_tensors`: the part for "seg/..." and "unl/..."."""
    method = _RecordedPseudoSeg(model, flags)
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
        model,
        method,
        optimizer,
        flags.weight_decay,
        last_layer_multiplier=flags.last_layer_gradient_multiplier,
    )
    rate = tf.convert_to_tensor(optimizer.learning_rate)

    @tf.function
    def run(batch):
        statistics = _moving_statistics(model)
        before = {name: tf.identity(variable.value) for name, (variable, _) in statistics.items()}
        scalars = step.replica_step(batch)
        tensors = method.recorder.tensors
        for name, (_, momentum) in statistics.items():
            moves = [batch - before[name] for batch in method.recorder.statistics.get(name, [])]
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
    """{TF1 name: (variable, momentum)} of all moving means and variances."""
    norms = {f"{layer.tf1_scope}/": layer.momentum for layer in model._flatten_layers() if isinstance(layer, BatchNorm)}
    return {
        name: (variable, norms[name[: name.rindex("/") + 1]])
        for name, variable in tf1_variables(model).items()
        if "/moving_" in name
    }


class _RecordedPseudoSeg(PseudoSeg):
    """PseudoSeg with the original's flags; keeps the tensors of the last trace of `losses` under the original's names.

    All arguments are given, so that no gin binding of the caller's changes the original.
    """

    def __init__(self, model: DeepLab, flags: OriginalFlags):
        super().__init__(
            use_image_labels=flags.weakly,
            gamma=0.5,
            temperature=flags.temperature,
            norm_scope="batch" if flags.logit_norm else "none",
            norm_reduce="mean",
            source={"avg": "fusion", "att": "sgc"}[flags.pseudo_src],
            label="soft" if flags.soft_pseudo_label else "hard",
            threshold=flags.pseudo_label_threshold,
            class_threshold=0.5,
            cam_statistics="moving",
            decoder_statistics="batch",
            join_strong=False,
            hole_in_attention=True,
            batch_norm_views=VIEWS,
            segmentation_weight=1.0,
            consistency_weight=flags.unlabeled_weight,
            classification_weight=1.0,
            sgc_weight=1.0,
            consistency_ramp_steps=0,
            upsample_logits=flags.upsample_logits,
        )
        self.recorder = _Recorder(model, flags.weakly)

    def losses(self, model, batch, step):
        self.recorder.start(batch)
        return super().losses(self.recorder, batch, step)

    def pseudo_label(self, model, weak_features, unlabeled) -> PseudoLabel:
        pseudo = super().pseudo_label(model, weak_features, unlabeled)
        valid = resize_nearest(unlabeled["valid"], pseudo.decoder.shape[1:3])
        self.recorder.tensors |= {
            "cam_weak": resize_bilinear(with_background(pseudo.cam), pseudo.decoder.shape[1:3]),
            "att_logits_weak": pseudo.sgc,
            "max_prob_avg": tf.reduce_max(self.fusion.mix(pseudo.decoder, pseudo.sgc), axis=-1),
            "merged_logits": pseudo.probabilities,
            "valid_mask": valid * pseudo.confident,
        }
        return pseudo


class _Recorder:
    """A model that keeps what PseudoSeg asks of it: logits, and the batch statistics of every training pass.

    Name scopes in the original: "cls_weak/" and "cls_strong/"; the labelled pass has none (or, where image labels add a
    pass of the weak view before it, a "_1" behind the network's) and is run once more as "seg_data_cls/".
    """

    def __init__(self, model: DeepLab, weakly: bool):
        self.model = model
        self.backbone, self.head = _with_norm_inputs(model.backbone), _with_norm_inputs(model.segmentation_head)
        self.root = backbone_spec(model.backbone.name).scope
        self.scopes = {
            "weak": [f"cls_weak/{self.root}", *([self.root] if weakly else [])],
            "strong": [f"cls_strong/{self.root}"],
            "labeled": [f"seg_data_cls/{self.root}", f"{self.root}_1" if weakly else self.root],
        }

    def __getattr__(self, name):
        return getattr(self.model, name)

    def start(self, batch) -> None:
        """Begins a step; `segment` and `refine_cam` are known by the order in which `PseudoSeg.losses` calls them."""
        self.tensors: dict[str, tf.Tensor] = {}
        self.statistics: dict[str, list[tf.Tensor]] = {}
        images = {"weak": batch["unlabeled"]["weak"], "strong": batch["unlabeled"]["strong"]}
        self.views = {id(image): view for view, image in {**images, "labeled": batch["labeled"]["image"]}.items()}
        self.segmentations = iter(
            (("logits_weak", "cls_weak/"), ("logits_strong", "cls_strong/"), ("semantic_seg", ""))
        )
        self.refinements = iter(((None, "pixel_normalization"), ("att_logits_labeled", "pixel_normalization_1")))

    def features(self, images, training=False) -> Features:
        points, norms = self.backbone(images, training=training)
        if training:
            for scope in self.scopes[self.views[id(images)]]:
                self._keep(norms, self.root, scope)
        return points

    def segment(self, features, training=False) -> tf.Tensor:
        logits, norms = self.head([features["features"], features["low_level"]], training=training)
        name, scope = next(self.segmentations)
        self.tensors[name] = logits
        self._keep(norms, "", scope)
        return logits

    def refine_cam(self, features, cam, valid, training=False) -> tf.Tensor:
        sgc, (name, scope) = self.model.sgc, next(self.refinements)
        logits = self.model.refine_cam(features, cam, valid, training=training)
        score = sgc.attended_score(features["hypercolumn_last"], features["hypercolumn_previous"], cam, valid)
        self._keep({"pixel_normalization/BatchNorm": sgc.projection(score)}, "pixel_normalization", scope)
        if name:
            self.tensors[name] = logits
        return logits

    def _keep(self, norm_inputs: dict[str, tf.Tensor], root: str, scope: str) -> None:
        """Keeps what batch norms see, by their name in a pass: with `scope` in place of `root` at its beginning."""
        for norm, x in norm_inputs.items():
            mean, variance = tf.nn.moments(tf.cast(x, tf.float32), axes=[0, 1, 2])
            count = tf.cast(tf.size(x) / x.shape[-1], tf.float32)
            variance *= count / tf.maximum(count - 1.0, 1.0)
            for kind, statistic, value in (("mean", "moving_mean", mean), ("var", "moving_variance", variance)):
                self.tensors[f"bn_batch_{kind}/{scope}{norm.removeprefix(root)}/FusedBatchNormV3"] = value
                self.statistics.setdefault(f"{norm}/{statistic}", []).append(value)


def _with_norm_inputs(model: keras.Model) -> keras.Model:
    """The model with a second output: {scope: input} of the batch norms that use batch statistics in training."""
    norms = [layer for layer in model.layers if isinstance(layer, BatchNorm) and layer.fine_tune]
    return keras.Model(model.inputs, (model.output, {str(layer.tf1_scope): layer.input for layer in norms}))
