"""The network zoo: backbones, segmentation head, batch normalisation and the layers they share."""
