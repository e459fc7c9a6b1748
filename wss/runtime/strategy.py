"""The distribution strategy of a launch, and what its hosts must agree on."""

import contextlib
import functools
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from textwrap import shorten

import tensorflow as tf

from wss.errors import UserError, did_you_mean, first_line

STRATEGIES = ("mirrored", "multi_worker", "tpu")
EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
# How long hosts wait for each other, at the start and at the end.
WAIT_SECONDS = 300.0
MAX_NODES = 2**16
HOST_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def build_strategy(name: str = "mirrored", tpu: str = "", wait_seconds: float = WAIT_SECONDS) -> tf.distribute.Strategy:
    """Builds a strategy over what this launch has.

    Args:
        name: Name of the strategy. "mirrored" takes all GPUs of this machine that CUDA_VISIBLE_DEVICES shows, or its CPU.
            "multi_worker" takes all hosts of TF_CONFIG, or else of the SLURM job step, one process a host. The third is
            "tpu".
        tpu: Name or address of the TPU; "" or "local" for a TPU VM.
        wait_seconds: Seconds to wait for the other hosts to start.

    Raises:
        UserError: An unknown name, a broken TF_CONFIG, a port in use, hosts that do not answer, no TPU.
    """
    if name == "mirrored":
        _look_at_unused(os.environ.get("TF_CONFIG"))
        return _mirrored(_local_devices())
    if name == "multi_worker":
        return _multi_worker(wait_seconds)
    if name == "tpu":
        return _tpu(tpu or "local")
    expected = ", ".join(STRATEGIES)
    raise UserError(f"--strategy={name}: expected one of {expected}.{did_you_mean(name, STRATEGIES)}")


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """One a process: each numbers its collectives from the same start, and two over the same devices mix them up."""
    return tf.distribute.MirroredStrategy(devices)


def number_of_hosts(strategy: tf.distribute.Strategy) -> int:
    """Returns how many processes run this program together; 1 for a TPU, which one process drives."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    return max(1, sum(map(len, strategy.cluster_resolver.cluster_spec().as_dict().values())))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the one that writes: task "chief" where TF_CONFIG has one, else worker 0."""
    if number_of_hosts(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return resolver.task_type == first and resolver.task_id == 0


def of_all_replicas(strategy: tf.distribute.Strategy, number: int) -> list[int]:
    """Returns the host's `number` of every replica; all hosts must call it at the same point, and get the same."""
    if number_of_hosts(strategy) == 1:
        return [number]
    replicas = strategy.num_replicas_in_sync
    own = lambda context: tf.one_hot(context.replica_id_in_sync_group, replicas, int(number), 0, dtype=tf.int64)
    return _sum_over_replicas(strategy)(strategy.experimental_distribute_values_from_function(own)).numpy().tolist()


@functools.lru_cache(maxsize=1)
def _sum_over_replicas(strategy: tf.distribute.Strategy):
    # `Strategy.gather` would be traced anew on each call.
    return tf.function(lambda values: strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None))


@contextlib.contextmanager
def hosts_together(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Ends what runs inside on all hosts at once, so that none is missing while another waits for its tensors.

    Raises:
        UserError: Another host is lost.
    """
    if number_of_hosts(strategy) == 1:
        yield
        return
    try:
        yield
    except HOST_LOST as error:
        raise UserError(
            "--strategy=multi_worker: another host stopped or does not answer; see its last lines, then start the same "
            f"command on all hosts again, it goes on from the last checkpoint ({type(error).__name__})"
        ) from error
    # There is no public barrier. If it fails then because a host is already gone, which is what it waited for.
    from tensorflow.python.eager import context

    with contextlib.suppress(tf.errors.OpError):
        context.context().wait_at_barrier("wss_end", int(WAIT_SECONDS * 1000))


def _multi_worker(wait_seconds: float) -> tf.distribute.Strategy:
    if "TF_CONFIG" not in os.environ and "SLURM_PROCID" in os.environ:
        os.environ["TF_CONFIG"] = json.dumps(slurm_cluster(os.environ))
    config = _checked(os.environ.get("TF_CONFIG"))
    task = config["task"]
    own = config["cluster"][task["type"]][task["index"]]
    _meet(own, [other for job in config["cluster"].values() for other in job if other != own], wait_seconds)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(f"--strategy=multi_worker: {first_line(error)} (TF_CONFIG {json.dumps(config)})") from error


def _meet(own: str, others: list[str], seconds: float) -> None:
    """Returns once every other host has its port open, this one's or TensorFlow's, which waits without an end."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", int(own.rsplit(":", 1)[1])))
            server.listen(len(others) + 8)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--strategy=multi_worker: cannot listen at {own} ({first_line(error)}); "
                "end what uses the port, or choose another in TF_CONFIG on all hosts"
            ) from error
        deadline = time.monotonic() + seconds
        while silent := [other for other in others if not _listens(other)]:
            if time.monotonic() > deadline:
                raise UserError(
                    f"--strategy=multi_worker: no answer from {', '.join(silent)} within {seconds:.0f} s; "
                    "start the same command there, and see that the address and the firewall let it be reached"
                )
            time.sleep(0.5)


def _look_at_unused(text: str | None) -> None:
    """Looks at a TF_CONFIG that the strategy of one machine does not use, though TensorFlow reads it.

    Raises:
        UserError: TensorFlow cannot read it.
    """
    if not text:
        return
    try:
        cluster = json.loads(text).get("cluster", {})
        hosts = sum(len([*addresses]) for addresses in cluster.values())
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"TF_CONFIG: found {shorten(text, 200)!r}, expected such as '{EXAMPLE}'; unset it for --strategy=mirrored"
        ) from error
    if hosts > 1:
        print(
            f"TF_CONFIG names {hosts} hosts, but --strategy=mirrored trains on this machine alone; "
            "--strategy=multi_worker joins them",
            file=sys.stderr,
        )


def _checked(text: str | None) -> dict:
    """Returns TF_CONFIG parsed.

    Raises:
        UserError: It does not describe this process in a cluster.
    """
    found = lambda problem: UserError(f"--strategy=multi_worker needs TF_CONFIG, such as '{EXAMPLE}'; {problem}")
    if text is None:
        raise found("found none, and no SLURM job step")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], task["index"]
        jobs = {job: list(addresses) for job, addresses in cluster.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise found(f"found {shorten(text, 200)!r}") from error
    if not set(jobs) <= {"chief", "worker"} or not jobs.get("worker"):
        raise found(f"found jobs {', '.join(jobs) or 'none'}, expected worker, and chief if you like")
    for address in (address for addresses in jobs.values() for address in addresses):
        if not re.fullmatch(r"\S+:\d{1,5}", str(address)) or not 0 < int(address.rsplit(":", 1)[1]) < 2**16:
            raise found(f"found the address {address!r}, expected host:port")
        if sum(addresses.count(address) for addresses in jobs.values()) > 1:
            raise found(f"found the address {address!r} twice, expected one for each host")
    if not isinstance(kind, str) or kind not in jobs or type(index) is not int or not 0 <= index < len(jobs[kind]):
        raise found(f"found task {json.dumps(task)}, which is none of {json.dumps(jobs)}")
    return config


def slurm_cluster(environment: Mapping[str, str]) -> dict:
    """Returns the TF_CONFIG of a SLURM job step that has one task on each node.

    `tf.distribute.cluster_resolver.SlurmClusterResolver` sorts nodes by name (n10 before n2), which is not the order of
    SLURM_PROCID, and does not work without GPUs.
    """
    try:
        nodes = _node_names(environment["SLURM_STEP_NODELIST"])
        tasks, rank = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment["SLURM_PROCID"])
        job = int(environment.get("SLURM_JOB_ID", 0))
    except (KeyError, ValueError) as error:
        raise UserError(f"--strategy=multi_worker under SLURM: no job step ({error}); start it with srun") from error
    if tasks != len(nodes):
        raise UserError(
            f"--strategy=multi_worker under SLURM: {tasks} tasks on {len(nodes)} nodes, expected one on each; "
            "start it with srun --ntasks-per-node=1"
        )
    # Below Linux' ephemeral ports; jobs that share a node differ.
    port = 12000 + job % 20000
    return {"cluster": {"worker": [f"{node}:{port}" for node in nodes]}, "task": {"type": "worker", "index": rank}}


def _node_names(text: str) -> list[str]:
    """Expands SLURM's "n[1-2,07],m5" to n1, n2, n07, m5; a `ValueError` tells that it is no such list."""
    names: list[str] = []
    if not re.fullmatch(r"[^\[\]\s]*(\[[\d,-]+\][^\[\]\s]*)*", text):
        raise ValueError(f"SLURM_STEP_NODELIST is {text!r}")
    for prefix, ranges, suffix in re.findall(r"([^,\[\]]*)(?:\[([^\]]*)\])?([^,\[\]]*)(?:,|$)", text):
        if not prefix + ranges + suffix:
            continue
        for part in ranges.split(","):
            first, _, last = part.partition("-")
            numbers = range(int(first), int(last or first) + 1) if part else [""]
            if not 0 < len(numbers) <= MAX_NODES:
                raise ValueError(f"SLURM_STEP_NODELIST is {text!r}")
            names += [f"{prefix}{str(number).zfill(len(first))}{suffix}" for number in numbers]
    return names


def _tpu(tpu: str) -> tf.distribute.Strategy:
    absent = f"--strategy=tpu: no TPU found at {tpu!r}"
    if tpu.startswith("grpc://") and not _listens(tpu.removeprefix("grpc://")):
        raise UserError(f"{absent} (nothing listens there)")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    # A name is looked up on Google Cloud, which fails in as many ways as its clients and urllib have.
    except (ValueError, RuntimeError, OSError, ImportError, tf.errors.OpError) as error:
        raise UserError(f"{absent} ({first_line(error)})") from error


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return True
    except (OSError, ValueError):
        return False


def _local_devices() -> tuple[str, ...]:
    gpus = tf.config.list_logical_devices("GPU")
    return tuple(device.name for device in gpus or tf.config.list_logical_devices("CPU"))
