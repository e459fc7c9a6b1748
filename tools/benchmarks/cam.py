"""Grad-CAM alone, on the features of a 513 x 513 image at output stride 16: by GradientTape and in closed form."""

from benchmarks.measure import Case, Workload


def cases() -> list[Case]:
    """Returns both ways with the classes of PASCAL VOC and of COCO."""
    return [
        Case(f"{way}, {num_classes} classes", build, {"closed_form": way == "closed form", "num_classes": num_classes})
        for num_classes in (21, 81)
        for way in ("GradientTape", "closed form")
    ]


def build(closed_form: bool, num_classes: int = 21, batch: int = 4, side: int = 33, channels: int = 2048) -> Workload:
    """Builds the maps of all classes of random features, as one `tf.function`.

    Args:
        closed_form: Whether to take `pooled_linear_cam`; else `GradCAM`, which goes back through the head for each class.
        num_classes: Number of classes with the background, which has no map.
        batch: Number of images.
        side: Height and width of the features.
        channels: Channels of the features.
    """
    import tensorflow as tf

    from benchmarks.flops import count_flops
    from wss.methods.pseudoseg.grad_cam import GradCAM, pooled_linear_cam

    features = tf.nn.relu(tf.random.stateless_normal([batch, side, side, channels], [0, 1]))
    kernel = tf.random.stateless_normal([channels, num_classes - 1], [0, 2]) / channels**0.5
    present = tf.ones([batch, num_classes - 1])
    if closed_form:
        cam = tf.function(lambda features, present: pooled_linear_cam(features, kernel, present))
    else:
        head = lambda features: tf.reduce_mean(features, axis=(1, 2)) @ kernel
        cam = tf.function(GradCAM(head))
    flops = count_flops(cam.get_concrete_function(features, present))
    return Workload(lambda: cam(features, present).numpy(), batch, flops)
