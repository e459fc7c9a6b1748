"""Network and method that keep the tensors of a training step under the original's names."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from wss.methods.base import Batch, Losses
from wss.methods.pseudoseg.branches import PseudoSegBranches
from wss.methods.pseudoseg.pseudo_label import PseudoLabel
from wss.methods.pseudoseg.pseudoseg import VIEWS, PseudoSeg
from wss.models.backbones.registry import backbone_spec
from wss.models.deeplab import DeepLab, Features
from wss.models.layers.normalization import BatchNorm
from wss.ops.resizing import resize_bilinear, resize_nearest
from wss.parity.flags import OriginalFlags, with_background


class RecordedPseudoSeg(PseudoSeg):
    """A PseudoSeg that hands its tensors to a `RecordedNetwork`."""

    @classmethod
    def of(cls, flags: OriginalFlags) -> "RecordedPseudoSeg":
        """Returns the method with the original's flags; all settings are given, so that no gin binding changes them."""
        return cls(
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

    def losses(self, network: "RecordedNetwork", batch: Batch, step: tf.Tensor) -> Losses:  # type: ignore[override]
        """Returns the losses of one training step, see `Method.losses`."""
        result = super().losses(network, batch, step)
        network.tensors |= {
            "semantic_seg": result.tensors["logits"],
            "logits_strong": result.tensors["strong_logits"],
            "att_logits_labeled": result.tensors["sgc_logits"],
        }
        return result

    def pseudo_label(
        self, network: "RecordedNetwork", weak_features: Mapping[str, Features], unlabeled: Mapping[str, tf.Tensor]
    ) -> PseudoLabel:  # type: ignore[override]
        """Labels the weak view, see `PseudoSeg.pseudo_label`."""
        pseudo = super().pseudo_label(network, weak_features, unlabeled)
        valid = resize_nearest(unlabeled["valid"], pseudo.decoder.shape[1:3])
        network.tensors |= {
            "logits_weak": pseudo.decoder,
            "cam_weak": resize_bilinear(with_background(pseudo.cam), pseudo.decoder.shape[1:3]),
            "att_logits_weak": pseudo.sgc,
            "max_prob_avg": tf.reduce_max(self.fusion.mix(pseudo.decoder, pseudo.sgc), axis=-1),
            "merged_logits": pseudo.probabilities,
            "valid_mask": valid * pseudo.confident,
        }
        return pseudo


class Statistics:
    """The batch statistics of every training pass, by variable and by the original's name of the pass."""

    def __init__(self) -> None:
        self.tensors: dict[str, tf.Tensor] = {}
        self.by_variable: dict[str, list[tf.Tensor]] = {}

    def keep(self, norm_inputs: dict[str, tf.Tensor], root: str, scope: str) -> None:
        """Keeps what batch norms see, by their name in a pass: with `scope` in place of `root` at its beginning."""
        for norm, x in norm_inputs.items():
            mean, variance = tf.nn.moments(tf.cast(x, tf.float32), axes=[0, 1, 2])
            count = tf.cast(tf.size(x) / x.shape[-1], tf.float32)
            variance *= count / tf.maximum(count - 1.0, 1.0)
            for kind, statistic, value in (("mean", "moving_mean", mean), ("var", "moving_variance", variance)):
                self.tensors[f"bn_batch_{kind}/{scope}{norm.removeprefix(root)}/FusedBatchNormV3"] = value
                self.by_variable.setdefault(f"{norm}/{statistic}", []).append(value)


class RecordedNetwork(DeepLab):
    """The parts of a network, whose training passes keep their batch statistics.

    The original's name scopes are "cls_weak/" and "cls_strong/". The labelled pass has none, and is run once more as
    "seg_data_cls/". Where image labels add a pass of the weak view before it, it has a "_1" behind the network's.

    Args:
        network: The network whose parts these are, with PseudoSeg's layers.
        weakly: Whether image labels train the classifier.
    """

    def __init__(self, network: DeepLab, weakly: bool):
        super().__init__(
            network.backbone,
            network.segmentation_head,
            num_classes=network.num_classes,
            bias_multiplier=network.bias_multiplier,
            batch_norm=network.batch_norm,
            name="recorded",
        )
        self.root = backbone_spec(network.backbone.name).scope
        self.passes = {
            "weak": [f"cls_weak/{self.root}", *([self.root] if weakly else [])],
            "strong": [f"cls_strong/{self.root}"],
            "labeled": [f"seg_data_cls/{self.root}", f"{self.root}_1" if weakly else self.root],
        }
        self.branches = RecordedBranches(network.branches)
        self.recorded_backbone = _with_norm_inputs(network.backbone)
        self.recorded_head = _with_norm_inputs(network.segmentation_head)

    def start(self, batch: Batch) -> None:
        """Begins a step; `segment` knows its view by the order in which `PseudoSeg.losses` calls it."""
        self.tensors: dict[str, tf.Tensor] = {}
        self.statistics = Statistics()
        images = {"weak": batch["unlabeled"]["weak"], "strong": batch["unlabeled"]["strong"]}
        images["labeled"] = batch["labeled"]["image"]
        self.views = {id(image): view for view, image in images.items()}
        self.segmentations = iter(("cls_weak/", "cls_strong/", ""))
        self.branches.start(self.statistics)

    def features(self, images: tf.Tensor, training: bool = False) -> Features:
        """Returns the end points, see `DeepLab.features`."""
        points, norms = self.recorded_backbone(images, training=training)
        if training:
            for scope in self.passes[self.views[id(images)]]:
                self.statistics.keep(norms, self.root, scope)
        return points

    def segment(self, features: Features, training: bool = False) -> tf.Tensor:
        """Returns the logits, see `DeepLab.segment`."""
        logits, norms = self.recorded_head([features["features"], features["low_level"]], training=training)
        self.statistics.keep(norms, "", next(self.segmentations))
        return logits


class RecordedBranches(PseudoSegBranches):
    """The layers of PseudoSeg, whose refinements keep their batch statistics."""

    def __init__(self, branches: PseudoSegBranches):
        keras.layers.Layer.__init__(self, name="recorded_branches")
        self.classifier, self.sgc = branches.classifier, branches.sgc
        self.built = True

    def start(self, statistics: Statistics) -> None:
        """Begins a step: the weak view is refined first, then the labelled one."""
        self.statistics = statistics
        self.scopes = iter(("pixel_normalization", "pixel_normalization_1"))

    def refine_cam(self, features: Features, cam: tf.Tensor, valid: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """Returns SGC logits, see `PseudoSegBranches.refine_cam`."""
        logits = super().refine_cam(features, cam, valid, training=training)
        score = self.sgc.attended_score(features["hypercolumn_last"], features["hypercolumn_previous"], cam, valid)
        projected = {"pixel_normalization/BatchNorm": self.sgc.projection(score)}
        self.statistics.keep(projected, "pixel_normalization", next(self.scopes))
        return logits


def _with_norm_inputs(model: keras.Model) -> keras.Model:
    """Returns the model with a second output: {scope: input} of the batch norms that use batch statistics in training."""
    norms = [layer for layer in model.layers if isinstance(layer, BatchNorm) and layer.fine_tune]
    return keras.Model(model.inputs, (model.output, {str(layer.tf1_scope): layer.input for layer in norms}))
