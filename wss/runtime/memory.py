"""Peak memory: of a GPU as TensorFlow counts it, else of a process as the system does."""

import resource
import sys
from pathlib import Path


def peak_memory() -> tuple[int, str]:
    """Returns the peak of what this process computes on: bytes of the fullest GPU, or of the process without one.

    Returns:
        The bytes, and in words what they are of.
    """
    import tensorflow as tf

    if gpus := tf.config.list_logical_devices("GPU"):
        infos = [tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:")) for gpu in gpus]
        return max(info["peak"] for info in infos), "GPU memory, largest device"
    return peak_process_memory(), "memory of this process"


def peak_process_memory() -> int:
    """Returns the largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a process starts at that of the one that started it
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return _max_rss(resource.RUSAGE_SELF)


def peak_memory_with_children() -> int:
    """Returns the largest resident memory so far of this process or of one that it started and that has ended, in bytes."""
    return max(peak_process_memory(), _max_rss(resource.RUSAGE_CHILDREN))


def _max_rss(who: int) -> int:
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
