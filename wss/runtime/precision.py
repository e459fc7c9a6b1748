"""The precision of the computation."""

from pathlib import Path

import gin
import keras
import tensorflow as tf

from wss.parameter_ranges import in_ranges
from wss.ranges import OneOf

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
PROCESSOR = Path("/proc/cpuinfo")
# What a processor needs for more than plain loops, as Linux names it.
INSTRUCTIONS = {
    "mixed_bfloat16": ("avx512_bf16", "amx_bf16"),
    "mixed_float16": ("avx512_fp16", "amx_fp16"),
}


@gin.configurable
@in_ranges("set_precision", policy=OneOf(PRECISIONS))
def set_precision(policy: str = "float32") -> None:
    """Sets the Keras dtype policy.

    Args:
        policy: Name of the policy: "float32", "mixed_bfloat16" (TPU, recent GPU, CPU with AVX-512 BF16 or AMX) or
            "mixed_float16" (GPU).

    Raises:
        UserError: The policy is none of these.
    """
    keras.config.set_dtype_policy(policy)


def slow_precision(policy: str) -> str | None:
    """Returns why a policy makes nothing faster here, in words; None if it does, or if nobody knows.

    Args:
        policy: One of `PRECISIONS`.
    """
    needed = INSTRUCTIONS.get(policy)
    if needed is None or any(device.device_type != "CPU" for device in tf.config.list_physical_devices()):
        return None
    known = _instructions()
    if not known or known.intersection(needed):
        return None
    return (
        f"set_precision.policy = {policy!r}: this processor has none of {' and '.join(needed)}, so that TensorFlow computes "
        "by plain loops, slower than float32"
    )


def _instructions() -> frozenset[str]:
    """Returns the names of the processor's extensions; nothing where the system does not tell."""
    try:
        lines = PROCESSOR.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.split()) for line in lines if line.startswith("flags")), frozenset())
