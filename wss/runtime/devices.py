"""What there is to compute on."""

import tensorflow as tf


def on_cpu() -> bool:
    """Returns whether there are processors only, whose fast ways are not an accelerator's; starts TensorFlow's runtime."""
    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())
