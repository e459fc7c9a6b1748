"""What ESL's step takes, beside a supervised step of as many images, and its parts by themselves."""

import functools
from collections.abc import Callable

from benchmarks import step
from benchmarks.measure import Case, Workload

SEPARABLE = "build_projector.separable = True"
BACKBONES = {"MobileNetV2": ("mobilenet_v2", (SEPARABLE,)), "ResNet-50": ("resnet_v1_50_beta", ())}
PARTS = ("teacher", "CutMix", "soft label", "contrast")


def cases() -> list[Case]:
    """Returns for each network both steps, ESL's without contrast, and the parts; then the memory of many classes."""
    found = []
    for title, (backbone, parameters) in BACKBONES.items():
        name = f"{title}, crop 129, 8 + 8, 7 classes"
        options = {"backbone": backbone, "batch": 8, "num_classes": 7}
        methods: dict[str, dict] = {
            "supervised step": {"method": "Supervised", "batch": 16, "parameters": ()},
            "ESL without contrast": {"method": "ESL", "parameters": ("ESL.contrast_weight = 0.0",)},
            "ESL": {"method": "ESL", "parameters": parameters},
        }
        found += [Case(f"{name}, {row}", step.build, {**options, **more}) for row, more in methods.items()]
        found += [
            Case(f"{name}, {part}", build_part, {**options, "part": part, "parameters": parameters}) for part in PARTS
        ]
    for row, parameters in (("image", ()), ("logits", ("ESL.resolution = 'logits'",))):
        name = f"MobileNetV2, crop 257, 8 + 8, 81 classes, ESL, soft labels on the grid of the {row}"
        options = {"backbone": "mobilenet_v2", "batch": 8, "num_classes": 81, "crop": 257, "method": "ESL"}
        found.append(Case(name, step.build, {**options, "parameters": (SEPARABLE, *parameters)}))
    return found


def build_part(
    part: str, backbone: str, parameters: tuple[str, ...], batch: int = 8, num_classes: int = 7, crop: int = 129
) -> Workload:
    """Builds one of `PARTS`: forward, and backward where gradients flow.

    Args:
        part: Its name.
        backbone: One of `wss.models.backbones.registry.BACKBONES`.
        parameters: Gin bindings.
        batch: Number of labelled images, and of unlabelled ones.
        num_classes: Number of classes with the background.
        crop: Side of the views.
    """
    import gin
    import keras
    import tensorflow as tf

    from wss import configurables  # noqa: F401  registers what gin configures
    from wss.methods.components.cut_mix import CutMix
    from wss.methods.esl.esl import ESL
    from wss.methods.esl.passes import teacher_view
    from wss.methods.esl.soft_label import soft_label
    from wss.models.layers.dropout import dropout_seed
    from wss.runtime.cpu import set_cpu_threads
    from wss.training.train import build_network

    gin.parse_config(list(parameters))
    set_cpu_threads(0)
    keras.utils.set_random_seed(0)
    seed = tf.constant([0, 1], tf.int64)
    method, info = ESL(), step.dataset_of(num_classes)
    network = build_network(info, method, backbone=backbone)
    network.state = method.build_state(network, info)
    stream = step.batch_of(crop, batch, num_classes)
    labeled, unlabeled = stream["labeled"], stream["unlabeled"]
    probabilities = tf.nn.softmax(3 * tf.random.stateless_normal([batch, crop, crop, num_classes], seed))
    images = tf.concat([labeled["image"], unlabeled["weak"]], 0)
    run_teacher = functools.partial(teacher_view, network.state.teacher, network, network.branches, images)

    def contrast(view, hidden: tf.Tensor) -> tf.Tensor:
        with dropout_seed(seed), tf.GradientTape() as tape:
            tape.watch(hidden)
            loss, _, tensors = method.contrast.loss(
                network.state.parts,
                network.branches,
                label=labeled["label"],
                teacher=network.state.teacher,
                view=view,
                valid=unlabeled["valid"],
                student=hidden,
                mix=CutMix.draw(seed, batch, (crop, crop)),
            )
        gradient = tape.gradient(loss, hidden)
        method.contrast.after_step(network.state.parts, tensors)
        return gradient

    def cut_mix() -> tuple[tf.Tensor, tf.Tensor]:
        mix = CutMix.draw(seed, batch, (crop, crop))
        return mix(unlabeled["weak"]), mix(probabilities)

    view = run_teacher()
    parts: dict[str, Callable] = {
        "teacher": lambda: run_teacher().logits,
        "CutMix": cut_mix,
        "soft label": lambda: soft_label(probabilities),
        "contrast": lambda: contrast(view, view.hidden),
    }
    compiled = tf.function(parts[part], autograph=False)

    def run() -> None:
        for _ in range(step.STEPS):
            tf.nest.map_structure(lambda value: value.numpy(), compiled())

    return Workload(run, 2 * batch * step.STEPS)
