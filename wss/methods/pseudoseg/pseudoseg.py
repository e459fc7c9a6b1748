"""PseudoSeg (Zou et al., ICLR 2021): consistency with pseudo labels fused from the decoder and self-attention Grad-CAM."""

import dataclasses

import gin
import tensorflow as tf

from wss.errors import UserError
from wss.methods.base import Batch, Scalars
from wss.methods.pseudoseg.calibrated_fusion import CalibratedFusion
from wss.models.deeplab import DeepLab, Features
from wss.models.layers.convolution import batch_norm_updates, resize_bilinear, resize_nearest
from wss.ops.losses import consistency_loss, image_label_loss, segmentation_loss
from wss.ops.metrics import calibration_histogram

VIEWS = ("labeled", "weak", "strong")
STATISTICS = ("moving", "batch")


@dataclasses.dataclass(frozen=True)
class PseudoLabel:
    """A pseudo label and what it was made of; all without gradient.

    Attributes:
        probabilities: [B, h, w, C], the fused label.
        confident: [B, h, w, 1] in {0, 1}.
        decoder, sgc: [B, h, w, C] logits.
        cam: [B, h', w', K] in [0, 1].
        image_label: [B, K] in {0, 1}, the gate of the CAM.
    """

    probabilities: tf.Tensor
    confident: tf.Tensor
    decoder: tf.Tensor
    sgc: tf.Tensor
    cam: tf.Tensor
    image_label: tf.Tensor


@gin.configurable
class PseudoSeg:
    """L_s + L_u + L_x + L_sa, with the routing of the paper's Figure 7. There is no teacher.

    Args:
        use_image_labels: the unlabelled images have image-level labels (the paper's second setting): they gate the CAM
            and train the classifier. Otherwise the classifier learns from the labelled crops and gates by itself.
        gamma, temperature, norm_scope, norm_reduce, source, label, threshold: of `CalibratedFusion`.
        class_threshold: sigmoid score from which a class counts as present in an unlabelled image.
        cam_statistics, decoder_statistics: which batch-norm statistics the weak view has where gate and CAM, and where the
            decoder's part of the pseudo label are made: "moving" is a pass in inference mode, "batch" one in training mode.
            The original's are "moving" and "batch"; one and the same saves a pass.
        join_strong: the labelled and the strong views are one batch with common batch-norm statistics, not two passes as in
            the original.
        hole_in_attention: the CutOut hole hides keys of the attention on the weak view too, as in the original, though
            the weak view has no hole.
        batch_norm_views: whose passes move the batch-norm statistics.
        segmentation_weight, consistency_weight, classification_weight, sgc_weight: of the losses; 1 in the paper.
        consistency_ramp_steps: raise the consistency weight linearly from 0 over so many steps; for networks that start
            without pretraining, whose first pseudo labels mean nothing. 0 as in the paper: no ramp.
        upsample_logits: of `segmentation_loss`, for both supervised losses.
    """

    streams: tuple[str, ...] = ("labeled", "unlabeled")
    independent_passes = len(VIEWS)

    def __init__(
        self,
        use_image_labels: bool = False,
        gamma: float = 0.5,
        temperature: float = 0.5,
        norm_scope: str = "batch",
        norm_reduce: str = "mean",
        source: str = "fusion",
        label: str = "soft",
        threshold: float = 0.0,
        class_threshold: float = 0.5,
        cam_statistics: str = "moving",
        decoder_statistics: str = "batch",
        join_strong: bool = False,
        hole_in_attention: bool = True,
        batch_norm_views: tuple[str, ...] = VIEWS,
        segmentation_weight: float = 1.0,
        consistency_weight: float = 1.0,
        classification_weight: float = 1.0,
        sgc_weight: float = 1.0,
        consistency_ramp_steps: int = 0,
        upsample_logits: bool = True,
    ):
        for name, value in (("cam_statistics", cam_statistics), ("decoder_statistics", decoder_statistics)):
            if value not in STATISTICS:
                raise UserError(f"PseudoSeg.{name} = {value!r}, expected one of {STATISTICS}")
        if unknown := set(batch_norm_views) - set(VIEWS):
            raise UserError(f"PseudoSeg.batch_norm_views has {unknown.pop()!r}, expected some of {VIEWS}")
        self.use_image_labels = use_image_labels
        self.fusion = CalibratedFusion(gamma, temperature, norm_scope, norm_reduce, source, label, threshold)
        self.class_threshold = class_threshold
        self.cam_statistics = cam_statistics
        self.decoder_statistics = decoder_statistics
        self.join_strong = join_strong
        self.hole_in_attention = hole_in_attention
        self.batch_norm_views = batch_norm_views
        self.consistency_ramp_steps = consistency_ramp_steps
        self.upsample_logits = upsample_logits
        self.weights = {
            "segmentation": segmentation_weight,
            "consistency": consistency_weight,
            "classification": classification_weight,
            "sgc": sgc_weight,
        }

    def losses(self, model: DeepLab, batch: Batch, step: tf.Tensor) -> tuple[Scalars, Scalars]:
        """See `Method.losses`. Four passes: labelled, weak in both modes (see `cam_statistics`), strong (`join_strong`)."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        # First, so that it sees the statistics as the last step left them.
        weak_features = self._moving_features(model, unlabeled["weak"])
        joined = self.join_strong
        images = tf.concat([labeled["image"], unlabeled["strong"]], 0) if joined else labeled["image"]
        features = self._features(model, images, "labeled")
        weak_features |= self._batch_features(model, unlabeled["weak"])
        strong_features = features if joined else self._features(model, unlabeled["strong"], "strong")

        pseudo = self.pseudo_label(model, weak_features, unlabeled)
        strong_logits = self._segment(model, strong_features, "labeled" if joined else "strong")
        logits = strong_logits if joined else self._segment(model, features, "labeled")
        if joined:
            number = labeled["image"].shape[0]
            features = {name: value[:number] for name, value in features.items()}
            logits, strong_logits = logits[:number], strong_logits[number:]
        valid = _like(unlabeled["valid"], strong_logits)
        cam = model.cam(features, labeled["image_label"])
        sgc_logits = self._refine_cam(model, features, cam, _like(labeled["valid"], strong_logits), "labeled")
        if self.use_image_labels:
            classes, truth, known = weak_features["batch"], unlabeled["image_label"], unlabeled["image_label_known"]
        else:
            classes, truth, known = features, labeled["image_label"], None
        losses = {
            "segmentation": self._supervised(logits, labeled["label"]),
            "consistency": consistency_loss(strong_logits, pseudo.probabilities, valid, pseudo.confident),
            "classification": image_label_loss(model.classify(classes, training=True), truth, known),
            "sgc": self._supervised(sgc_logits, labeled["label"]),
        }
        losses = {name: self.weights[name] * loss for name, loss in losses.items()}
        if self.consistency_ramp_steps:
            losses["consistency"] *= tf.minimum(1.0, tf.cast(step, tf.float32) / self.consistency_ramp_steps)
        return losses, pseudo_label_quality(pseudo, unlabeled, valid)

    def pseudo_label(
        self, model: DeepLab, weak_features: dict[str, Features], unlabeled: dict[str, tf.Tensor]
    ) -> PseudoLabel:
        """Labels the weak view.

        Args:
            weak_features: of the weak view, by `STATISTICS`; those that `cam_statistics` and `decoder_statistics` name.
            unlabeled: the unlabelled stream of the batch.
        """
        cam_features, decoder_features = (
            {name: tf.stop_gradient(value) for name, value in weak_features[statistics].items()}
            for statistics in (self.cam_statistics, self.decoder_statistics)
        )
        in_training = self.decoder_statistics == "batch"
        decoder = self._segment(model, decoder_features, "weak") if in_training else model.segment(decoder_features)
        decoder = tf.stop_gradient(decoder)
        image_label = self._predicted_label(model, cam_features)
        if self.use_image_labels:
            known = unlabeled["image_label_known"][:, None] > 0
            image_label = tf.where(known, unlabeled["image_label"], image_label)
        visible = unlabeled["valid"] if self.hole_in_attention else unlabeled["not_padding"]
        cam = model.cam(cam_features, image_label)
        sgc = tf.stop_gradient(self._refine_cam(model, cam_features, cam, _like(visible, decoder), "weak"))
        probabilities, confident = self.fusion(decoder, sgc)
        return PseudoLabel(
            probabilities, confident, decoder, resize_bilinear(sgc, decoder.shape[1:3]), cam, image_label
        )

    def pictures(self, model: DeepLab, batch: Batch) -> dict[str, tf.Tensor]:
        """The unlabelled stream: both views, held label and all parts of the pseudo label."""
        unlabeled = batch["unlabeled"]
        with batch_norm_updates(False):
            weak_features = self._moving_features(model, unlabeled["weak"])
            weak_features |= self._batch_features(model, unlabeled["weak"])
            pseudo = self.pseudo_label(model, weak_features, unlabeled)
        return {
            "image": unlabeled["weak"],
            "label": unlabeled["label"],
            "decoder": tf.nn.softmax(pseudo.decoder),
            "cam": pseudo.cam,
            "sgc": tf.nn.softmax(pseudo.sgc),
            "pseudo_label": pseudo.probabilities,
            "strong": unlabeled["strong"],
        }

    def explain(self, model: DeepLab, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the trained model makes of images, all in inference mode; the classifier gates the CAM.

        Args:
            images: [B, H, W, 3] in 0 .. 255.
            valid: [B, H, W, 1], 0 on padding.

        Returns:
            "prediction", "SGC", "pseudo label": class probabilities [B, h, w, C]; "CAM": [B, h', w', 1], the largest.
        """
        decoder, sgc, cam, _ = self.infer(model, images, valid)
        return {
            "prediction": tf.nn.softmax(decoder),
            "CAM": tf.reduce_max(cam, axis=-1, keepdims=True),
            "SGC": tf.nn.softmax(sgc),
            "pseudo label": self.fusion(decoder, sgc)[0],
        }

    def infer(
        self, model: DeepLab, images: tf.Tensor, valid: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """What pseudo labels are made of, all in inference mode; see `explain` for the arguments.

        Returns:
            decoder [B, h, w, C] and sgc [B, h', w', C]: logits; cam: [B, h', w', K]; image_label: [B, K] in {0, 1}, the
            classifier's, which gates the CAM.
        """
        features = model.features(images)
        decoder = model.segment(features)
        image_label = self._predicted_label(model, features)
        cam = model.cam(features, image_label)
        return decoder, model.refine_cam(features, cam, _like(valid, decoder)), cam, image_label

    def _predicted_label(self, model: DeepLab, features: Features) -> tf.Tensor:
        return tf.cast(tf.nn.sigmoid(model.classify(features)) >= self.class_threshold, tf.float32)

    def _moving_features(self, model: DeepLab, weak: tf.Tensor) -> dict[str, Features]:
        """The weak view's pass in inference mode, if something asks for it."""
        asked = "moving" in (self.cam_statistics, self.decoder_statistics)
        return {"moving": model.features(weak)} if asked else {}

    def _batch_features(self, model: DeepLab, weak: tf.Tensor) -> dict[str, Features]:
        """The weak view's pass in training mode, if something asks for it: with image labels, the classifier does."""
        asked = self.use_image_labels or "batch" in (self.cam_statistics, self.decoder_statistics)
        return {"batch": self._features(model, weak, "weak")} if asked else {}

    def _supervised(self, logits: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        return segmentation_loss(logits, label, upsample_logits=self.upsample_logits)

    def _features(self, model: DeepLab, images: tf.Tensor, view: str) -> Features:
        with batch_norm_updates(view in self.batch_norm_views):
            return model.features(images, training=True)

    def _segment(self, model: DeepLab, features: Features, view: str) -> tf.Tensor:
        with batch_norm_updates(view in self.batch_norm_views):
            return model.segment(features, training=True)

    def _refine_cam(self, model: DeepLab, features: Features, cam: tf.Tensor, valid: tf.Tensor, view: str) -> tf.Tensor:
        with batch_norm_updates(view in self.batch_norm_views):
            return model.refine_cam(features, cam, valid, training=True)


def _like(mask: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """A mask on the decoder's grid; the original takes it from there to the CAM's, which picks other pixels than at once."""
    return resize_nearest(mask, logits.shape[1:3])


def pseudo_label_quality(pseudo: PseudoLabel, unlabeled: dict[str, tf.Tensor], valid: tf.Tensor) -> Scalars:
    """What can be said of pseudo labels: confidence always; accuracy, calibration, the gate's hits where truth is held.

    Args:
        pseudo: of the weak views.
        unlabeled: the unlabelled stream; pixels of its label that are 255 count in no accuracy, images whose image-level
            labels are not known in no recall or precision.
        valid: [B, h, w, 1].
    """
    label = resize_nearest(unlabeled["label"], valid.shape[1:3])
    label = tf.where(valid > 0, label, 255)
    known = tf.cast(unlabeled["image_label_known"], tf.float32)[:, None]
    present, gated = unlabeled["image_label"] * known, pseudo.image_label * known
    hits = tf.reduce_sum(present * gated)
    metrics = {
        "mask_ratio": tf.math.divide_no_nan(tf.reduce_sum(pseudo.confident * valid), tf.reduce_sum(valid)),
        "gate/classes": tf.reduce_mean(tf.reduce_sum(pseudo.image_label, axis=-1)),
        "gate/recall": tf.math.divide_no_nan(hits, tf.reduce_sum(present)),
        "gate/precision": tf.math.divide_no_nan(hits, tf.reduce_sum(gated)),
    }
    for name, probabilities in (
        ("decoder", tf.nn.softmax(pseudo.decoder)),
        ("sgc", tf.nn.softmax(pseudo.sgc)),
        ("fusion", pseudo.probabilities),
    ):
        top = tf.reduce_max(probabilities, axis=-1, keepdims=True)
        metrics[f"{name}/max_probability"] = tf.math.divide_no_nan(tf.reduce_sum(top * valid), tf.reduce_sum(valid))
        count, confidence, correct = tf.unstack(
            tf.cast(calibration_histogram(label, probabilities), tf.float32), axis=1
        )
        pixels = tf.reduce_sum(count)
        metrics[f"{name}/accuracy"] = tf.math.divide_no_nan(tf.reduce_sum(correct), pixels)
        metrics[f"{name}/ece"] = tf.math.divide_no_nan(tf.reduce_sum(tf.abs(correct - confidence)), pixels)
    return metrics
