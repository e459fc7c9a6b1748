"""What a launch finds in its environment: broken descriptions of a cluster are one line at once."""

import json

import pytest
import tensorflow as tf

from wss.errors import UserError
from wss.runtime.strategy import build_strategy, slurm_cluster

BROKEN = ["{", "[]", "3", '"x"', '{"cluster": 3}', '{"cluster": {"worker": 3}}', "[" * 100_000, "\x00"]


def cluster(*addresses, **task):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0, **task}})


@pytest.fixture(autouse=True)
def outside_of_slurm(monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)


@pytest.mark.parametrize("config", [text for text in BROKEN if "\x00" not in text])
@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
def test_a_broken_tf_config_is_one_line_for_every_strategy(monkeypatch, config, strategy):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match="TF_CONFIG") as error:
        build_strategy(strategy, wait_seconds=1)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_hosts_that_mirrored_leaves_out_are_said(monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", cluster("a:1", "b:1"))
    assert isinstance(build_strategy("mirrored"), tf.distribute.MirroredStrategy)
    assert "TF_CONFIG names 2 hosts, but --strategy=mirrored" in capsys.readouterr().err


def test_strategies_of_one_process_share_their_collectives(monkeypatch):
    """Two trainings in a notebook, of networks of different sizes."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for size in (2, 3):
        strategy = build_strategy("mirrored")

        @tf.function
        def total(strategy=strategy, size=size):
            values = strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.ones([size])))
            return strategy.experimental_local_results(values)[0]

        assert total().numpy().tolist() == [strategy.num_replicas_in_sync] * size


def test_one_host_is_no_word(monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", cluster("a:1"))
    build_strategy("mirrored")
    assert "TF_CONFIG" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (cluster("a:1", "a:1"), "the address 'a:1' twice"),
        (cluster("a:port"), "the address 'a:port', expected host:port"),
        (cluster("a:0"), "the address 'a:0', expected host:port"),
        (cluster("a:70000"), "the address 'a:70000', expected host:port"),
        (cluster("a b:1"), "the address 'a b:1', expected host:port"),
        (cluster(7), "the address 7, expected host:port"),
        (cluster("a:1", index=True), "which is none of"),
        (cluster("a:1", type=[]), "which is none of"),
    ],
)
def test_hosts_that_cannot_be_are_named(monkeypatch, config, found):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match=found):
        build_strategy("multi_worker", wait_seconds=1)


@pytest.mark.parametrize("nodes", ["n[1-2", "n]1[", "n[2-1]", "n[1-999999999]", "n[a-b]", "n[]", "n[-]", "a b"])
def test_a_broken_list_of_nodes_is_one_line(nodes):
    environment = {"SLURM_STEP_NODELIST": nodes, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}
    with pytest.raises(UserError, match="SLURM"):
        slurm_cluster(environment)
