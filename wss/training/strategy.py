"""The distribution strategy of a launch."""

import json
import os

import tensorflow as tf

from wss.errors import UserError

STRATEGIES = ("mirrored", "multi_worker", "tpu")


def build_strategy(name: str = "mirrored", tpu: str = "") -> tf.distribute.Strategy:
    """Builds a strategy over what this launch has.

    Args:
        name: "mirrored" (all GPUs of this machine, or its CPU), "multi_worker" (all hosts of TF_CONFIG) or "tpu".
        tpu: name or address of the TPU; "" or "local" for a TPU VM.

    Raises:
        UserError: an unknown name, a broken TF_CONFIG, no TPU.
    """
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(_local_devices())
    if name == "multi_worker":
        try:
            json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(
                "--strategy=multi_worker needs TF_CONFIG, such as "
                '\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}\'; '
                f"found {os.environ.get('TF_CONFIG', 'none')!r}"
            ) from error
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu or "local")
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
        except (ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"--strategy=tpu: no TPU found at {tpu or 'local'!r} ({reason})") from error
        return tf.distribute.TPUStrategy(resolver)
    raise UserError(f"--strategy={name}: expected one of {', '.join(STRATEGIES)}")


def _local_devices() -> list[str]:
    gpus = tf.config.list_logical_devices("GPU")
    return [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
