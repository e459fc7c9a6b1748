"""The precision of the computation."""

import gin
import keras

from wss.parameter_ranges import in_ranges
from wss.ranges import OneOf

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@gin.configurable
@in_ranges("set_precision", policy=OneOf(PRECISIONS))
def set_precision(policy: str = "float32") -> None:
    """Sets the Keras dtype policy.

    Args:
        policy: Name of the policy: "float32", "mixed_bfloat16" (TPU, recent GPU and CPU) or "mixed_float16" (GPU).

    Raises:
        UserError: The policy is none of these.
    """
    keras.config.set_dtype_policy(policy)
