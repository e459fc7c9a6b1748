"""The precision of the computation."""

import gin
import keras

from wss.errors import UserError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@gin.configurable
def set_precision(policy: str = "float32") -> None:
    """Sets the Keras dtype policy.

    Args:
        policy: Name of the policy: "float32", "mixed_bfloat16" (TPU, recent GPU and CPU) or "mixed_float16" (GPU).

    Raises:
        UserError: The policy is none of these.
    """
    if policy not in PRECISIONS:
        raise UserError(f"set_precision.policy = {policy!r}, expected one of {', '.join(PRECISIONS)}")
    keras.config.set_dtype_policy(policy)
