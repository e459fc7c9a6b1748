"""The layers that PseudoSeg adds to a network: the image classifier and self-attention Grad-CAM."""

import gin
import keras
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.methods.components.image_classifier import ImageClassifier
from wss.methods.pseudoseg.grad_cam import pooled_linear_cam
from wss.methods.pseudoseg.self_attention_grad_cam import BACKGROUND_MODES, PROJECTION_INITS, SelfAttentionGradCAM
from wss.models.deeplab import DeepLab, Features
from wss.parameter_ranges import in_ranges
from wss.ranges import LARGEST_WIDTH, Integer, OneOf, SetByCode, Switch


class PseudoSegBranches(keras.layers.Layer):
    """The classifier, its Grad-CAM and the self-attention that refines it.

    Args:
        classifier: The image classifier, built.
        sgc: Self-attention Grad-CAM.
        feature_channels: Number of channels of each end point of the backbone, by name.
    """

    def __init__(self, classifier: ImageClassifier, sgc: SelfAttentionGradCAM, feature_channels: dict[str, int]):
        super().__init__(name="pseudoseg")
        self.classifier, self.sgc = classifier, sgc
        last, previous = (
            tf.zeros([1, 2, 2, feature_channels[name]]) for name in ("hypercolumn_last", "hypercolumn_previous")
        )
        sgc(last, previous, tf.zeros([1, 2, 2, classifier.linear.units]), tf.ones([1, 2, 2, 1]))
        self.built = True

    def classify(self, features: Features, training: bool = False) -> tf.Tensor:
        """Returns image-level logits [B, K], float32, of the globally pooled features."""
        return self.classifier(features, training=training)

    def cam(self, features: Features, image_label: tf.Tensor) -> tf.Tensor:
        """Returns the Grad-CAM [B, h, w, K] in [0, 1] of the classes in `image_label` [B, K], without gradient."""
        return pooled_linear_cam(features["cam_features"], self.classifier.kernel, image_label)

    def refine_cam(self, features: Features, cam: tf.Tensor, valid: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """Returns SGC logits [B, h, w, C] of a CAM [B, h, w, K] and a valid mask [B, H, W, 1]."""
        return self.sgc(features["hypercolumn_last"], features["hypercolumn_previous"], cam, valid, training=training)


@gin.configurable
@in_ranges(
    "build_sgc",
    network=SetByCode(),
    info=SetByCode(),
    attention_dim=Integer(1, LARGEST_WIDTH),
    background=OneOf(BACKGROUND_MODES),
    uniform_masked_queries=Switch(),
    projection_init=OneOf(PROJECTION_INITS),
    hypercolumn=Switch(),
)
def build_sgc(
    network: DeepLab,
    info: DatasetInfo,
    *,
    attention_dim: int = 128,
    background: str = "after",
    uniform_masked_queries: bool = False,
    projection_init: str = "glorot_uniform",
    hypercolumn: bool = True,
) -> SelfAttentionGradCAM:
    """Builds self-attention Grad-CAM for a network and a data set.

    Args:
        network: The network; its `batch_norm` settings hold for SGC's batch norm too.
        info: The data set.
        attention_dim: Width of queries and keys.
        background: See `SelfAttentionGradCAM`.
        uniform_masked_queries: See `SelfAttentionGradCAM`.
        projection_init: See `SelfAttentionGradCAM`.
        hypercolumn: See `SelfAttentionGradCAM`.
    """
    return SelfAttentionGradCAM(
        info.num_classes,
        has_background=info.has_background,
        attention_dim=attention_dim,
        background=background,
        uniform_masked_queries=uniform_masked_queries,
        projection_init=projection_init,
        hypercolumn=hypercolumn,
        synchronized=network.batch_norm.synchronized,
        batch_norm_momentum=0.999 if network.batch_norm.momentum is None else network.batch_norm.momentum,
        name="sgc",
    )
