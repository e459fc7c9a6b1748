"""Inference of one network with random weights: whole images, several scales with flips, sliding windows."""

from collections.abc import Sequence

from benchmarks.measure import Case, Workload


def cases() -> list[Case]:
    """Returns Xception-65 at 513 x 513, one image and four, both precisions; then the slower ways to predict."""
    case = lambda name, **options: Case(name, build, options)
    return [
        case("513, 1 image, float32"),
        case("513, 1 image, mixed_bfloat16", precision="mixed_bfloat16"),
        case("513, 4 images, float32", batch=4),
        case("513, 4 images, mixed_bfloat16", batch=4, precision="mixed_bfloat16"),
        case("513, scales 0.5, 1, 1.5, flip, float32", scales=(0.5, 1.0, 1.5), flip=True),
        case("769, 4 windows of 513, all at once, float32", size=769, window=513, windows_at_once=None),
        case("769, 4 windows of 513, one at a time, float32", size=769, window=513, windows_at_once=1),
    ]


def build(
    size: int = 513,
    batch: int = 1,
    num_classes: int = 21,
    precision: str = "float32",
    backbone: str = "xception_65",
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: int | None = None,
    windows_at_once: int | None = None,
) -> Workload:
    """Builds the prediction of one batch of noise, softmax and argmax at image size included.

    Args:
        size: Side of the images.
        batch: Images of one pass.
        num_classes: Number of classes with the background.
        precision: Keras dtype policy.
        backbone: One of `wss.models.backbones.registry.BACKBONES`.
        scales: As for `wss.inference.prediction.predict`.
        flip: As for `wss.inference.prediction.predict`.
        window: Side of sliding windows; None for whole images.
        windows_at_once: As for `predict_sliding`.
    """
    import functools

    import keras
    import tensorflow as tf

    from benchmarks.flops import count_flops
    from benchmarks.step import dataset_of
    from wss.inference.prediction import predict, predict_sliding
    from wss.models.deeplab import build_model
    from wss.models.folding import fold
    from wss.runtime.precision import set_precision

    set_precision(precision)
    keras.utils.set_random_seed(0)
    model = build_model(dataset_of(num_classes), backbone=backbone)
    fold(model)  # as wss-eval, wss-vis and wss-label do
    images = tf.random.stateless_uniform([batch, size, size, 3], [0, 1], maxval=255.0)

    def labels_by(windows_at_once: int | None) -> tf.types.experimental.PolymorphicFunction:
        probabilities = functools.partial(predict, scales=scales, flip=flip)
        if window is not None:
            probabilities = functools.partial(
                predict_sliding,
                window=(window, window),
                pad_value=model.padding.color,
                scales=scales,
                flip=flip,
                windows_at_once=windows_at_once,
            )
        return tf.function(lambda images: tf.argmax(probabilities(model, images), axis=-1, output_type=tf.int32))

    # Few windows at once are a loop, whose operations are counted once; all at once are as many operations.
    flops = count_flops(labels_by(None).get_concrete_function(images))
    labels = labels_by(windows_at_once)
    return Workload(lambda: labels(images).numpy(), batch, flops)
