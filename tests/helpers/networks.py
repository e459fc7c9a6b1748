"""Networks for tests, with the layers of a method."""

from wss.data.dataset_info import DatasetInfo
from wss.methods.components.image_classifier import build_classifier
from wss.methods.pseudoseg.branches import PseudoSegBranches
from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.methods.pseudoseg.self_attention_grad_cam import SelfAttentionGradCAM
from wss.models.deeplab import DeepLab
from wss.training.train import build_network


def pseudoseg_network(info: DatasetInfo, **settings) -> DeepLab:
    """A network with the image classifier and self-attention Grad-CAM; `settings` are those of `build_model`."""
    return build_network(info, PseudoSeg(), **settings)


def with_small_branches(network: DeepLab, num_classes: int) -> DeepLab:
    """Gives a network PseudoSeg's layers with an attention of four channels."""
    info = DatasetInfo("tiny", tuple(map(str, range(num_classes))), ((0, 0, 0),) * num_classes, {})
    sgc = SelfAttentionGradCAM(num_classes, attention_dim=4)
    classifier = build_classifier(network, info, dropout=0.0)
    network.branches = PseudoSegBranches(classifier, sgc, network.feature_channels)
    return network
