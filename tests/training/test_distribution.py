"""Two hosts (real processes on this machine), two replicas and one device train the same; what a launch's mistakes say."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import networks
import numpy as np
import pytest
import tensorflow as tf
from tiny import SMALL

from wss import experiment
from wss.conversion import shapes
from wss.errors import UserError
from wss.runtime.strategy import build_strategy, is_chief, number_of_hosts, of_all_replicas, slurm_cluster
from wss.training.summaries import read_scalars

WEIGHTS = Path(__file__).parents[2] / "gin_configs/recipes/shapes/classifier.npz"
# Each step takes all 8 images of the split, four on each replica and unchanged, so that the global batch does not depend on
# who reads what. Pretrained weights: the fusion and the CAM blow the noise of an untrained network up.
SAME_BATCHES = {
    "build_model.depth_multiplier": 0.5,
    "build_model.fine_tune_batch_norm": False,
    "build_model.synchronized_batch_norm": True,  # SGC's statistics are of the batch even then
    "build_sgc.projection_init": "'identity'",
    "build_model.dropout": 0.0,
    "build_classifier.dropout": 0.0,
    "build_optimizer.learning_rate": 0.001,
    "TrainingData.unlabeled_split": "'train_1_4'",
    "TrainingData.labeled_batch_size": 4,
    "TrainingData.unlabeled_batch_size": 4,
    "TrainingData.crop_size": "(49, 49)",
    "Augmentation.min_scale": 1.0,
    "Augmentation.max_scale": 1.0,
    "Augmentation.flip_probability": 0.0,
    "Augmentation.jitter_strength": 0.0,
    "Augmentation.cutout_half_side": 0,
    "PseudoSeg.norm_scope": "'image'",
    "Evaluation.batch_size": 4,
    "train.initial_weights": f"'{WEIGHTS}'",
    "train.num_steps": 3,
    "train.steps_per_loop": 1,
    "train.summary_every": 1,
    "train.pictures_every": 3,
}
LOSSES = ("total", "segmentation", "consistency", "classification", "sgc", "weight_decay")


@pytest.fixture
def parameters(tmp_path, monkeypatch, tiny_parameters) -> list[str]:
    """A run whose steps see the same images, and as many labelled pixels on each replica, however many share them."""
    generate = shapes.generate

    def without_border(*args, **options):
        image, mask = generate(*args, **options)
        return image, np.where(mask == 255, 0, mask).astype(np.uint8)

    monkeypatch.setattr(shapes, "generate", without_border)
    directory = tmp_path / "shapes"
    shapes.build_shapes(directory, num_train=32, num_val=6, size=48, num_shards=2)
    changes = {"load_dataset.directory": f"'{directory}'", **SAME_BATCHES}
    return [*tiny_parameters, *(f"{name} = {value}" for name, value in changes.items())]


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def cluster(index, ports):
    workers = [f"127.0.0.1:{port}" for port in ports]
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def start_host(command, tf_config):
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"TF_CONFIG": tf_config, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command], env=environment, stdout=pipe, stderr=pipe, text=True)


# wss-train on a network of two convolutions.
SMALL_TRAIN = f"""
import sys
sys.path.append({str(Path(networks.__file__).parent)!r})
from networks import two_convolutions
from wss.train import console_main

with two_convolutions():
    console_main()
"""


def start_hosts(tmp_path, run_dir, parameters, program=("-m", "wss.train")):
    empty = tmp_path / "empty.gin"
    empty.write_text("")
    flags = [f"--gin_file={empty}", f"--run_dir={run_dir}", "--strategy=multi_worker"]
    flags += [f"--gin_param={parameter}" for parameter in parameters]
    ports = free_ports(2)
    return [start_host([*program, *flags], cluster(index, ports)) for index in range(2)]


def finish(hosts, timeout=900):
    """Returns what each printed; all must have ended well."""
    try:
        outputs = [host.communicate(timeout=timeout) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    for host, (_, errors) in zip(hosts, outputs, strict=True):
        assert host.returncode == 0, errors[-3000:]
    return [printed for printed, _ in outputs]


def run_here(run_dir, parameters, strategy):
    return experiment.run([], parameters, run_dir, strategy=strategy)


def losses_of(run_dir):
    """Loss name -> value of each step."""
    return {name: list(values.values()) for name, values in read_scalars(run_dir / "train").items() if name in LOSSES}


def weights_of(run_dir):
    values = {}
    with h5py.File(run_dir / "model.weights.h5") as file:
        file.visititems(lambda name, item: values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return values


def assert_same_run(a, b):
    losses, weights = (losses_of(a), losses_of(b)), (weights_of(a), weights_of(b))
    assert losses[0].keys() == losses[1].keys() and weights[0].keys() == weights[1].keys()
    for name in losses[0]:
        np.testing.assert_allclose(losses[0][name], losses[1][name], rtol=1e-5, atol=1e-6, err_msg=name)
    for name in weights[0]:
        np.testing.assert_allclose(weights[0][name], weights[1][name], rtol=1e-5, atol=1e-6, err_msg=name)


def evaluation_of(run_dir):
    result = json.loads((run_dir / "eval_val.json").read_text())
    return result["num_images"], result["confusion"]


@pytest.mark.slow
def test_two_hosts_two_replicas_and_one_device_train_the_same(tmp_path, parameters, two_replicas):
    """PseudoSeg; six images to evaluate in batches of four: two hosts with two each, and two of them empty at the end."""
    finish(start_hosts(tmp_path, tmp_path / "hosts", parameters))
    run_here(tmp_path / "replicas", parameters, two_replicas)
    doubled = [*parameters, "TrainingData.labeled_batch_size = 8", "TrainingData.unlabeled_batch_size = 8"]
    run_here(tmp_path / "one", doubled, tf.distribute.MirroredStrategy(["CPU:0"]))

    losses = losses_of(tmp_path / "hosts")
    assert losses.keys() == set(LOSSES) and len(losses["total"]) == 3 and losses["total"][2] < losses["total"][0]
    for name in ("replicas", "one"):
        assert_same_run(tmp_path / "hosts", tmp_path / name)
        assert evaluation_of(tmp_path / "hosts") == evaluation_of(tmp_path / name)
    assert evaluation_of(tmp_path / "hosts")[0] == 6
    # Only one host wrote, and nothing half-written is left.
    for folder in ("train", "eval_val"):
        assert len(list((tmp_path / "hosts" / folder).iterdir())) == 1
    assert {path.name for path in (tmp_path / "hosts").iterdir()} == {
        "operative_config.gin", "run.json", "lock", "model.weights.h5", "checkpoints", "eval_val.json", "train", "eval_val"
    }  # fmt: skip


@pytest.mark.slow
def test_sigterm_at_one_host_stops_both_and_both_go_on(tmp_path, parameters, two_replicas):
    """The second host of two is told to stop; later both read what the first has saved."""
    changes = {
        **SMALL,
        **SAME_BATCHES,
        "train.method": "@Supervised()",
        "train.initial_weights": "None",
        "train.num_steps": 12,
        "train.checkpoint_every": 2,
        "train.evaluate_at_end": False,
        "train.pictures_every": 0,
    }
    parameters = [*parameters, *(f"{name} = {value}" for name, value in changes.items())]
    start = lambda: start_hosts(tmp_path, tmp_path / "hosts", parameters, ("-c", SMALL_TRAIN))
    hosts = start()
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("hosts/checkpoints/*.index")) and time.monotonic() < deadline:
        time.sleep(0.05)
    hosts[1].send_signal(signal.SIGTERM)
    lines = [printed.splitlines()[-1] for printed in finish(hosts)]
    assert lines[0] == lines[1] and lines[0].startswith("stopped by SIGTERM after ")
    steps = lines[0].split()[4]
    for printed in finish(start()):
        assert f"after {steps} of 12 steps" in printed
    with networks.two_convolutions():
        run_here(tmp_path / "replicas", parameters, two_replicas)
    assert_same_run(tmp_path / "hosts", tmp_path / "replicas")


HOST = """
import sys
from wss.command import run_main

def main(argv):
    from wss.runtime.strategy import build_strategy, hosts_together, is_chief, number_of_hosts, of_all_replicas

    strategy = build_strategy("multi_worker", wait_seconds=float(argv[1]))
    print(number_of_hosts(strategy), is_chief(strategy), flush=True)
    with hosts_together(strategy):
        print(of_all_replicas(strategy, 7 + int(is_chief(strategy))), flush=True)
        if argv[2:] and not is_chief(strategy):
            import time
            time.sleep(float(argv[2]))
        of_all_replicas(strategy, 0)

run_main(main)
"""


@pytest.mark.slow
def test_a_lost_host_is_one_line(tmp_path):
    ports = free_ports(2)
    hosts = [start_host(["-c", HOST, "60", "600"], cluster(index, ports)) for index in range(2)]
    printed = [[host.stdout.readline().strip() for _ in range(2)] for host in hosts]
    hosts[1].kill()
    errors = [host.communicate(timeout=600)[1] for host in hosts][0]
    assert printed == [["2 True", "[8, 7]"], ["2 False", "[8, 7]"]] and hosts[0].returncode == 2
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "another host stopped" in line and "Traceback" not in errors


@pytest.mark.parametrize("index", [0, 1])
def test_an_absent_host_is_named_in_time(index, monkeypatch):
    ports = free_ports(2)
    monkeypatch.setenv("TF_CONFIG", cluster(index, ports))
    start = time.monotonic()
    with pytest.raises(UserError, match=f"no answer from 127.0.0.1:{ports[1 - index]} within 1 s"):
        build_strategy("multi_worker", wait_seconds=1)
    assert time.monotonic() - start < 10


def test_a_port_in_use_is_named(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = [other.getsockname()[1], *free_ports(1)]
        monkeypatch.setenv("TF_CONFIG", cluster(0, ports))
        with pytest.raises(UserError, match=f"cannot listen at 127.0.0.1:{ports[0]} .*in use"):
            build_strategy("multi_worker", wait_seconds=1)


@pytest.mark.parametrize(
    ("tf_config", "found"),
    [
        (None, "found none, and no SLURM job step"),
        ("{", "found '{'"),
        ("[]", r"found '\[\]'"),
        ('{"cluster": {}, "task": {"type": "worker", "index": 0}}', "found jobs none, expected worker"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "found jobs ps, expected worker"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "address 'a', expected host:port"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "index.: 1}, which is none of"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}', "which is none of"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "which is none of"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}', "which is none of"),
    ],
)
def test_a_broken_tf_config_is_one_line(tf_config, found, monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if tf_config is not None:
        monkeypatch.setenv("TF_CONFIG", tf_config)
    with pytest.raises(UserError, match=found) as error:
        build_strategy("multi_worker", wait_seconds=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("gpu1", ["gpu1"]),
        ("a,b-2.local", ["a", "b-2.local"]),
        ("n[1-2,10],m5", ["n1", "n2", "n10", "m5"]),
        ("node[008-010]-ib,x[7]", ["node008-ib", "node009-ib", "node010-ib", "x7"]),
    ],
)
def test_slurm_hosts_keep_the_order_of_ranks(nodes, expected):
    environment = {
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_NUM_TASKS": str(len(expected)),
        "SLURM_PROCID": "0",
        "SLURM_JOB_ID": "40123",
    }
    config = slurm_cluster(environment)
    assert config["cluster"]["worker"] == [f"{name}:12123" for name in expected]
    assert config["task"] == {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SLURM_PROCID": "0"}, "no job step .*start it with srun"),
        (
            {"SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "a,b", "SLURM_STEP_NUM_TASKS": "4"},
            "4 tasks on 2 nodes, expected one on each; start it with srun --ntasks-per-node=1",
        ),
    ],
)
def test_a_slurm_step_that_does_not_fit_is_one_line(environment, message):
    with pytest.raises(UserError, match=message):
        slurm_cluster(environment)


@pytest.mark.parametrize("tpu", ["grpc://127.0.0.1:1", "no-such-tpu"])
def test_an_absent_tpu_is_one_line(tpu, monkeypatch):
    """A name is looked up on Google Cloud's metadata server, which is not here."""
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    with pytest.raises(UserError, match=f"--strategy=tpu: no TPU found at '{tpu}'") as error:
        build_strategy("tpu", tpu)
    assert "\n" not in str(error.value)


def test_one_process_is_its_own_chief(two_replicas):
    assert number_of_hosts(two_replicas) == 1 and is_chief(two_replicas)
    assert of_all_replicas(two_replicas, 3) == [3]
