"""The same passes in PyTorch on processors: DeepLabv3+ of segmentation_models_pytorch with timm's Xception-65.

It is no second implementation of PseudoSeg: what its step computes besides the passes of the network (CAM, attention,
fusion), a fiftieth of its time, is left out.
"""

import importlib.util
import os

from benchmarks.measure import Case, Workload
from benchmarks.step import STEPS

PACKAGES = {"torch": "torch", "segmentation_models_pytorch": "segmentation-models-pytorch", "timm": "timm"}
ENCODER = "tu-xception65"
OUTPUT_STRIDE = 16


def missing() -> list[str]:
    """Returns the packages, as pip names them, that are not installed."""
    return [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]


def step_cases() -> list[Case]:
    """Returns the rows of `step.cases` that stand beside PyTorch's, whose batch norm takes no single value a channel."""
    return [
        Case(f"PyTorch: crop 129, 2 + 2, 21 classes, {precision}", build_step, options)
        for precision, options in (("float32", {}), ("mixed_bfloat16", {"mixed": True}))
    ]


def inference_cases() -> list[Case]:
    """Returns the rows of `inference.cases` that stand beside PyTorch's."""
    return [
        Case("PyTorch: 513, 1 image, float32", build_inference),
        Case("PyTorch: 513, 1 image, mixed_bfloat16", build_inference, {"mixed": True}),
    ]


def build_step(crop: int = 129, batch: int = 2, num_classes: int = 21, mixed: bool = False) -> Workload:
    """Builds `STEPS` steps: labelled and strong passes with gradient, the weak one without, in training and inference mode.

    Args:
        crop: Side of the views.
        batch: Number of labelled images, and of unlabelled ones.
        num_classes: Number of classes with the background.
        mixed: Whether under bfloat16's autocast.
    """
    import torch
    from torch.nn import functional

    network = _network(num_classes, crop)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=4e-5)
    labeled, weak, strong = (_images(batch, crop) for _ in range(3))
    label = torch.randint(0, num_classes, (batch, crop, crop))

    def run() -> None:
        network.train()
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = functional.cross_entropy(network(labeled).float(), label)
                with torch.no_grad():
                    target = torch.softmax(network(weak).float(), 1)
                    network.eval()
                    network.encoder(weak)
                    network.train()
                loss = loss + functional.cross_entropy(network(strong).float(), target)
            loss.backward()
            optimizer.step()

    return Workload(run, 2 * batch * STEPS)


def build_inference(size: int = 513, num_classes: int = 21, mixed: bool = False) -> Workload:
    """Builds the prediction of one image of noise, softmax and argmax at image size included.

    Args:
        size: Side of the image.
        num_classes: Number of classes with the background.
        mixed: Whether under bfloat16's autocast.
    """
    import torch

    network, images = _network(num_classes, size).eval(), _images(1, size)

    def run() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            torch.softmax(network(images).float(), 1).argmax(1)

    return Workload(run, 1)


def _network(num_classes: int, size: int):
    """Returns the network for images of one side; the library's own takes multiples of the output stride only."""
    import segmentation_models_pytorch as smp
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = smp.DeepLabV3Plus(
        ENCODER, encoder_weights=None, encoder_output_stride=OUTPUT_STRIDE, classes=num_classes, decoder_channels=256
    )
    network.check_input_shape = lambda images: None
    network.decoder.up = torch.nn.Upsample((size - 1) // 4 + 1, mode="bilinear", align_corners=True)
    network.segmentation_head[1] = torch.nn.Upsample(size, mode="bilinear", align_corners=True)
    return network.to(memory_format=torch.channels_last)


def _images(batch: int, size: int):
    import torch

    return torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
