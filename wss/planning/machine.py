"""What a plan is made for: devices, cores, memory."""

import dataclasses
import os

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Machine:
    """The machine that trains.

    Attributes:
        gpus: Number of GPUs.
        cores: Number of cores that this process may use.
    """

    gpus: int
    cores: int

    @classmethod
    def here(cls, strategy: tf.distribute.Strategy) -> "Machine":
        """Returns this machine, as far as a strategy uses it."""
        accelerators = [device for device in strategy.extended.worker_devices if "CPU" not in device.upper()]
        return cls(len(accelerators), len(os.sched_getaffinity(0)))

    @property
    def accelerated(self) -> bool:
        """Whether there is an accelerator."""
        return self.gpus > 0

    @property
    def replicas(self) -> int:
        """Number of replicas of a step."""
        return max(self.gpus, 1)

    def __str__(self):
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        return f"{self.gpus} accelerator{'s' if self.gpus > 1 else ''}, {cores}" if self.gpus else f"{cores}, no GPU"
