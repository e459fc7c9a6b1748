"""PseudoSeg (Zou et al., ICLR 2021): consistency with pseudo labels fused from the decoder and self-attention Grad-CAM."""

import dataclasses
import functools
from collections.abc import Mapping

import gin
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.streams import MASKS, Views
from wss.methods.base import Batch, Figure, Losses, Method
from wss.methods.components.image_classifier import build_classifier
from wss.methods.pseudoseg.branches import PseudoSegBranches, build_sgc
from wss.methods.pseudoseg.calibrated_fusion import LABELS, NORM_AXES, NORM_REDUCTIONS, SOURCES, CalibratedFusion
from wss.methods.pseudoseg.pseudo_label import KNOWN_WHEN, PseudoLabel, pseudo_label_quality
from wss.models.deeplab import DeepLab, Features
from wss.models.layers.normalization import batch_norm_updates
from wss.ops.losses import consistency_loss, image_label_loss, segmentation_loss
from wss.ops.resizing import resize_bilinear, resize_nearest
from wss.parameter_ranges import in_ranges
from wss.ranges import LARGEST_STEP, Integer, Number, OneOf, Several, Switch

VIEWS = ("labeled", "weak", "strong")
STATISTICS = ("moving", "batch")


@gin.configurable
@in_ranges(
    "PseudoSeg",
    use_image_labels=Switch(),
    gamma=Number(minimum=0, maximum=1),
    temperature=Number(above=0),
    norm_scope=OneOf(tuple(NORM_AXES)),
    norm_reduce=OneOf(NORM_REDUCTIONS),
    source=OneOf(SOURCES),
    label=OneOf(LABELS),
    threshold=Number(minimum=0, below=1),
    class_threshold=Number(minimum=0, maximum=1),
    cam_statistics=OneOf(STATISTICS),
    decoder_statistics=OneOf(STATISTICS),
    join_strong=Switch(),
    hole_in_attention=Switch(),
    batch_norm_views=Several(OneOf(VIEWS), 0),
    segmentation_weight=Number(minimum=0),
    consistency_weight=Number(minimum=0),
    classification_weight=Number(minimum=0),
    sgc_weight=Number(minimum=0),
    consistency_ramp_steps=Integer(0, LARGEST_STEP),
    upsample_logits=Switch(),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoSeg(Method):
    """The loss L_s + L_u + L_x + L_sa, with the routing of the paper's Figure 7. There is no teacher.

    Attributes:
        use_image_labels: Whether the unlabelled images have image-level labels (the paper's second setting). They choose
            the classes of the CAM and train the classifier. Otherwise it learns from the labelled crops and chooses itself.
        gamma: See `CalibratedFusion`.
        temperature: See `CalibratedFusion`.
        norm_scope: See `CalibratedFusion`.
        norm_reduce: See `CalibratedFusion`.
        source: See `CalibratedFusion`.
        label: See `CalibratedFusion`.
        threshold: See `CalibratedFusion`.
        class_threshold: Sigmoid score from which a class counts as present in an unlabelled image.
        cam_statistics: Batch-norm statistics of the weak view where its classes and CAM are made. "moving" is a pass in
            inference mode, as in the original, "batch" one in training mode.
        decoder_statistics: The same where the decoder's part of the pseudo label is made; "batch" in the original. One and
            the same for both saves a pass.
        join_strong: Whether the labelled and the strong views are one batch with common batch-norm statistics, and not two
            passes as in the original.
        hole_in_attention: Whether the CutOut hole hides keys of the attention on the weak view too. It does in the
            original, though the weak view has no hole.
        batch_norm_views: The views whose passes move the batch-norm statistics.
        segmentation_weight: Weight of L_s; 1 in the paper.
        consistency_weight: Weight of L_u; 1 in the paper.
        classification_weight: Weight of L_x; 1 in the paper.
        sgc_weight: Weight of L_sa; 1 in the paper.
        consistency_ramp_steps: Number of steps over which the consistency weight rises linearly from 0; for networks that
            start without pretraining, whose first pseudo labels mean nothing. 0 as in the paper: no ramp.
        upsample_logits: See `segmentation_loss`, for both supervised losses.
    """

    independent_passes = len(VIEWS)
    weighs_classes = True
    known_when = KNOWN_WHEN

    use_image_labels: bool = False
    gamma: float = 0.5
    temperature: float = 0.5
    norm_scope: str = "batch"
    norm_reduce: str = "mean"
    source: str = "fusion"
    label: str = "soft"
    threshold: float = 0.0
    class_threshold: float = 0.5
    cam_statistics: str = "moving"
    decoder_statistics: str = "batch"
    join_strong: bool = False
    hole_in_attention: bool = True
    batch_norm_views: tuple[str, ...] = VIEWS
    segmentation_weight: float = 1.0
    consistency_weight: float = 1.0
    classification_weight: float = 1.0
    sgc_weight: float = 1.0
    consistency_ramp_steps: int = 0
    upsample_logits: bool = True

    @property
    def streams(self) -> Mapping[str, Views]:  # type: ignore[override]
        """Labelled images, and unlabelled ones in a weak and a strong view."""
        return {"labeled": MASKS, "unlabeled": Views(strong=1, image_labels=self.use_image_labels, masks=False)}

    @functools.cached_property
    def fusion(self) -> CalibratedFusion:
        """The fusion of decoder and SGC."""
        return CalibratedFusion(
            gamma=self.gamma,
            temperature=self.temperature,
            norm_scope=self.norm_scope,
            norm_reduce=self.norm_reduce,
            source=self.source,
            label=self.label,
            threshold=self.threshold,
        )

    def build(self, network: DeepLab, info: DatasetInfo) -> PseudoSegBranches:
        """Builds the image classifier and self-attention Grad-CAM."""
        sgc = build_sgc(network, info)
        return PseudoSegBranches(build_classifier(network, info), sgc, network.feature_channels)

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`.

        There are four passes: labelled, weak in both modes (see `cam_statistics`), strong (see `join_strong`).
        """
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        # First, so that it sees the statistics as the last step left them.
        weak_features = self._moving_features(network, unlabeled["weak"])
        joined = self.join_strong
        images = tf.concat([labeled["image"], unlabeled["strong"]], 0) if joined else labeled["image"]
        features = self._features(network, images, "labeled")
        weak_features |= self._batch_features(network, unlabeled["weak"])
        strong_features = features if joined else self._features(network, unlabeled["strong"], "strong")

        pseudo = self.pseudo_label(network, weak_features, unlabeled)
        strong_logits = self._segment(network, strong_features, "labeled" if joined else "strong")
        logits = strong_logits if joined else self._segment(network, features, "labeled")
        if joined:
            number = labeled["image"].shape[0]
            features = {name: value[:number] for name, value in features.items()}
            logits, strong_logits = logits[:number], strong_logits[number:]

        # L_s, L_u: the strong view against the pseudo label (Eq. 2), L_x and L_sa.
        valid = _like(unlabeled["valid"], strong_logits)
        sgc_logits = self._labeled_sgc(network, features, labeled, logits)
        losses = {
            "segmentation": self.segmentation_weight * self._supervised(network, logits, labeled["label"]),
            "consistency": self._consistency_weight(step)
            * consistency_loss(strong_logits, pseudo.probabilities, valid, confident=pseudo.confident),
            "classification": self.classification_weight
            * self._classification(network, features, weak_features, batch),
            "sgc": self.sgc_weight * self._supervised(network, sgc_logits, labeled["label"]),
        }
        tensors = {"logits": logits, "strong_logits": strong_logits, "sgc_logits": sgc_logits}
        return Losses(losses, pseudo_label_quality(pseudo, unlabeled, valid), tensors)

    def pseudo_label(
        self, network: DeepLab, weak_features: Mapping[str, Features], unlabeled: Mapping[str, tf.Tensor]
    ) -> PseudoLabel:
        """Labels the weak view.

        Args:
            network: The network.
            weak_features: End points of the weak view, by `STATISTICS`; those that `cam_statistics` and
                `decoder_statistics` name.
            unlabeled: The unlabelled stream of the batch.
        """
        cam_features, decoder_features = (
            {name: tf.stop_gradient(value) for name, value in weak_features[statistics].items()}
            for statistics in (self.cam_statistics, self.decoder_statistics)
        )
        in_training = self.decoder_statistics == "batch"
        decoder = self._segment(network, decoder_features, "weak") if in_training else network.segment(decoder_features)
        decoder = tf.stop_gradient(decoder)
        image_label = self._predicted_classes(network, cam_features)
        if self.use_image_labels:
            known = unlabeled["image_label_known"][:, None] > 0
            image_label = tf.where(known, unlabeled["image_label"], image_label)
        visible = unlabeled["valid"] if self.hole_in_attention else unlabeled["not_padding"]
        cam = network.branches.cam(cam_features, image_label)
        with batch_norm_updates("weak" in self.batch_norm_views):
            sgc = network.branches.refine_cam(cam_features, cam, _like(visible, decoder), training=True)
        sgc = tf.stop_gradient(sgc)
        probabilities, confident = self.fusion(decoder, sgc)
        return PseudoLabel(
            probabilities=probabilities,
            confident=confident,
            decoder=decoder,
            sgc=resize_bilinear(sgc, decoder.shape[1:3]),
            cam=cam,
            image_label=image_label,
        )

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns the unlabelled stream: both views, held label and all parts of the pseudo label."""
        unlabeled = batch["unlabeled"]
        with batch_norm_updates(False):
            weak_features = self._moving_features(network, unlabeled["weak"])
            weak_features |= self._batch_features(network, unlabeled["weak"])
            pseudo = self.pseudo_label(network, weak_features, unlabeled)
        return [
            Figure("image", "image", unlabeled["weak"]),
            Figure("label", "label", unlabeled["label"]),
            Figure("decoder", "probabilities", tf.nn.softmax(pseudo.decoder)),
            Figure("CAM", "heat", pseudo.cam),
            Figure("SGC", "probabilities", tf.nn.softmax(pseudo.sgc)),
            Figure("pseudo label", "probabilities", pseudo.probabilities),
            Figure("strong view", "image", unlabeled["strong"]),
        ]

    def intermediate_maps(
        self, network: DeepLab, features: Features, *, logits: tf.Tensor, valid: tf.Tensor
    ) -> list[Figure]:
        """Returns CAM, SGC and pseudo label; the classifier chooses the classes of the CAM."""
        sgc, cam, _ = self.infer(network, features, logits=logits, valid=valid)
        return [
            Figure("CAM", "heat", cam),
            Figure("SGC", "probabilities", tf.nn.softmax(sgc)),
            Figure("pseudo label", "probabilities", self.fusion(logits, sgc)[0]),
        ]

    def infer(
        self, network: DeepLab, features: Features, *, logits: tf.Tensor, valid: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns what pseudo labels are made of besides the decoder's logits, all in inference mode.

        Args:
            network: The trained network.
            features: End points of the backbone for the images.
            logits: Logits [B, h, w, C] of the decoder.
            valid: float32 [B, H, W, 1], 0 on padding.

        Returns:
            SGC's logits [B, h', w', C], the CAM [B, h', w', K], and the predicted classes [B, K] in {0, 1}, whose CAM
            counts.
        """
        image_label = self._predicted_classes(network, features)
        cam = network.branches.cam(features, image_label)
        return network.branches.refine_cam(features, cam, _like(valid, logits)), cam, image_label

    def _predicted_classes(self, network: DeepLab, features: Features) -> tf.Tensor:
        return tf.cast(tf.nn.sigmoid(network.branches.classify(features)) >= self.class_threshold, tf.float32)

    def _labeled_sgc(
        self, network: DeepLab, features: Features, labeled: Mapping[str, tf.Tensor], logits: tf.Tensor
    ) -> tf.Tensor:
        """Returns SGC's logits of the labelled images, whose CAM shows the classes of their crops."""
        cam = network.branches.cam(features, labeled["image_label"])
        with batch_norm_updates("labeled" in self.batch_norm_views):
            return network.branches.refine_cam(features, cam, _like(labeled["valid"], logits), training=True)

    def _classification(
        self, network: DeepLab, features: Features, weak_features: Mapping[str, Features], batch: Batch
    ) -> tf.Tensor:
        """Returns L_x: on the weak view where image labels are given, else on the labelled crops."""
        if not self.use_image_labels:
            return image_label_loss(network.branches.classify(features, training=True), batch["labeled"]["image_label"])
        logits = network.branches.classify(weak_features["batch"], training=True)
        return image_label_loss(logits, batch["unlabeled"]["image_label"], batch["unlabeled"]["image_label_known"])

    def _consistency_weight(self, step: tf.Tensor) -> tf.Tensor | float:
        if not self.consistency_ramp_steps:
            return self.consistency_weight
        return self.consistency_weight * tf.minimum(1.0, tf.cast(step, tf.float32) / self.consistency_ramp_steps)

    def _moving_features(self, network: DeepLab, weak: tf.Tensor) -> dict[str, Features]:
        """Returns the weak view's pass in inference mode, if something asks for it."""
        asked = "moving" in (self.cam_statistics, self.decoder_statistics)
        return {"moving": network.features(weak)} if asked else {}

    def _batch_features(self, network: DeepLab, weak: tf.Tensor) -> dict[str, Features]:
        """Returns the weak view's pass in training mode, if something asks for it; with image labels L_x does."""
        asked = self.use_image_labels or "batch" in (self.cam_statistics, self.decoder_statistics)
        return {"batch": self._features(network, weak, "weak")} if asked else {}

    def _supervised(self, network: DeepLab, logits: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        return segmentation_loss(
            logits, label, upsample_logits=self.upsample_logits, class_weights=network.class_weights
        )

    def _features(self, network: DeepLab, images: tf.Tensor, view: str) -> Features:
        with batch_norm_updates(view in self.batch_norm_views):
            return network.features(images, training=True)

    def _segment(self, network: DeepLab, features: Features, view: str) -> tf.Tensor:
        with batch_norm_updates(view in self.batch_norm_views):
            return network.segment(features, training=True)


def _like(mask: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns a mask on the decoder's grid; the original takes it from there to the CAM's, which picks other pixels."""
    return resize_nearest(mask, logits.shape[1:3])
