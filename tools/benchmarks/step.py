"""A training step of a method on batches that lie ready in memory."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.measure import Case, Workload

if TYPE_CHECKING:
    from wss.data.dataset_info import DatasetInfo

STEPS = 2  # of one repeat


def cases() -> list[Case]:
    """Returns the step at the sizes that the original was timed at, and with options that change what it computes."""
    case = lambda name, **options: Case(name, build, options)
    return [
        case("crop 129, 2 + 2, 21 classes, float32"),
        case("crop 129, 2 + 2, 21 classes, float32, join_strong", parameters=("PseudoSeg.join_strong = True",)),
        case("crop 129, 2 + 2, 21 classes, float32, one weak pass", parameters=("PseudoSeg.cam_statistics = 'batch'",)),
        case("crop 129, 2 + 2, 21 classes, mixed_bfloat16", precision="mixed_bfloat16"),
        case("crop 129, 2 + 2, 81 classes, float32", num_classes=81),
        case("crop 257, 1 + 1, 21 classes, float32", crop=257, batch=1),
        case("crop 257, 1 + 1, 21 classes, mixed_bfloat16", crop=257, batch=1, precision="mixed_bfloat16"),
    ]


def build(
    crop: int = 129,
    batch: int = 2,
    num_classes: int = 21,
    precision: str = "float32",
    backbone: str = "xception_65",
    method: str = "PseudoSeg",
    parameters: Sequence[str] = (),
    jit_compile: bool = False,
    intra_op: int = 0,
) -> Workload:
    """Builds `STEPS` training steps, repeated.

    Args:
        crop: Side of the views.
        batch: Number of labelled images, and of unlabelled ones.
        num_classes: Number of classes with the background.
        precision: Keras dtype policy.
        backbone: One of `wss.models.backbones.registry.BACKBONES`.
        method: Name of the method.
        parameters: Gin bindings, such as "PseudoSeg.cam_statistics = 'batch'".
        jit_compile: Whether to compile the step by XLA.
        intra_op: As for `wss.runtime.cpu.set_cpu_threads`.
    """
    step, iterator = _step(
        crop=crop,
        batch=batch,
        num_classes=num_classes,
        precision=precision,
        backbone=backbone,
        method=method,
        parameters=parameters,
        jit_compile=jit_compile,
        intra_op=intra_op,
    )
    import tensorflow as tf

    from benchmarks.flops import count_flops

    flops = count_flops(step.loop.get_concrete_function(iterator, tf.constant(STEPS)))  # of one step of the loop

    def run() -> None:
        step.run(iterator, STEPS)
        step.results(STEPS)

    return Workload(run, len(step.method.streams) * batch * STEPS, flops * STEPS)


def first_step() -> None:
    """Does what a process does up to its first finished step."""
    step, iterator = _step(crop=129, batch=2, num_classes=21, precision="float32", backbone="xception_65")
    step.run(iterator, 1)
    step.results(1)


def _step(
    *, crop, batch, num_classes, precision, backbone, method="PseudoSeg", parameters=(), jit_compile=False, intra_op=0
):
    import gin
    import keras
    import tensorflow as tf

    from wss import configurables  # noqa: F401  registers what gin configures
    from wss.runtime.cpu import set_cpu_threads
    from wss.runtime.precision import set_precision
    from wss.training.optimizers import build_optimizer
    from wss.training.step import TrainStep
    from wss.training.train import build_network

    gin.parse_config([f"train.method = @{method}()", *parameters])
    set_cpu_threads(intra_op)
    set_precision(precision)
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.MirroredStrategy([f"{_device()}:0"])
    built = gin.query_parameter("train.method").scoped_configurable_fn()
    with strategy.scope():
        info = dataset_of(num_classes)
        model = build_network(info, built, backbone=backbone)
        model.state = built.build_state(model, info)
        optimizer = build_optimizer(30_000)
    step = TrainStep(strategy, model, built, optimizer=optimizer, weight_decay=4e-5, jit_compile=jit_compile)
    streams = batch_of(crop, batch, num_classes)
    data = tf.data.Dataset.from_tensors({name: streams[name] for name in built.streams}).repeat()
    iterator = iter(strategy.distribute_datasets_from_function(lambda _: data))
    return step, iterator


def _device() -> str:
    import tensorflow as tf

    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def dataset_of(num_classes: int) -> "DatasetInfo":
    """Returns a data set without images, for the networks of benchmarks."""
    from wss.data.dataset_info import DatasetInfo

    return DatasetInfo("benchmark", tuple(f"class_{i}" for i in range(num_classes)), ((0, 0, 0),) * num_classes, {})


def batch_of(crop: int, batch: int, num_classes: int) -> dict:
    """Returns noise images with blocks of labels and two boxes, as `Method.losses` takes them; every pixel is valid."""
    import tensorflow as tf

    draw = functools.partial(tf.random.stateless_uniform, seed=[0, 1])
    image = draw([batch, crop, crop, 3], maxval=255.0)
    blocks = draw([batch, 5, 5, 1], minval=0, maxval=num_classes, dtype=tf.int32)
    label = tf.image.resize(blocks, [crop, crop], "nearest")
    ones = tf.ones([batch, crop, crop, 1])
    image_label = tf.cast(draw([batch, num_classes - 1]) < 0.1, tf.float32)
    boxes = tf.tile(crop * tf.constant([[[0.1, 0.1, 0.5, 0.6], [0.4, 0.5, 0.9, 0.9]]]), [batch, 1, 1])
    return {
        "labeled": {"image": image, "label": label, "valid": ones, "image_label": image_label},
        "unlabeled": {
            "weak": image,
            "strong": image,
            "strong_2": image,
            "label": label,
            "valid": ones,
            "valid_2": ones,
            "not_padding": ones,
            "image_label": image_label,
            "image_label_known": tf.ones([batch]),
            "boxes": boxes,
            "box_labels": tf.ones([batch, 2], tf.int32),
            "box_count": tf.fill([batch], 2),
            "outside_boxes": tf.pad(
                tf.ones([batch, crop // 10, crop, 1]), [(0, 0), (0, crop - crop // 10), (0, 0), (0, 0)]
            ),
        },
        "pseudo": {
            "image": image,
            "strong": image,
            "label": label,
            "second_label": label,
            "valid": ones,
            "not_padding": ones,
            "image_label": image_label,
        },
    }
