"""The examples for clusters: their syntax, and what they name."""

import json
import re
import subprocess

import pytest
import yaml
from commands import ROOT

from wss.runtime.strategy import _checked

FOLDER = ROOT / "tools/cluster"


def test_the_job_of_slurm_is_a_script():
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)


@pytest.mark.parametrize("index", [0, 1])
def test_the_pods_of_kubernetes_find_each_other(index):
    service, job = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    spec = job["spec"]
    template = spec["template"]["spec"]
    name, subdomain = job["metadata"]["name"], template["subdomain"]
    assert service["metadata"]["name"] == subdomain and service["spec"]["selector"] == {"job-name": name}
    (script,) = template["containers"][0]["args"]
    quoted = re.search(r"TF_CONFIG='(.*)'\n", script)[1]
    config = _checked(quoted.replace("'$JOB_COMPLETION_INDEX'", str(index)))
    assert config["task"]["index"] == index and len(config["cluster"]["worker"]) == spec["completions"]
    assert config["cluster"]["worker"][index] == f"{name}-{index}.{subdomain}:2222"
    assert template["containers"][0]["ports"] == [{"containerPort": 2222}]


def test_the_job_of_vertex_names_commands_that_are_there():
    (pool,) = yaml.safe_load((FOLDER / "vertex.yaml").read_text())["workerPoolSpecs"]
    assert pool["containerSpec"]["command"] == ["wss-train"]
    assert json.dumps(pool).count("BUCKET") == 3


def test_the_image_copies_what_is_there_and_what_setup_needs():
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    copied = [part for line in lines if line.startswith("COPY") for part in line.split()[1:-1]]
    assert all((ROOT / path).exists() for path in copied)
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert all(f"!{path}" in ignored for path in copied)
    assert {"setup.py", "README.md", "wss", "gin_configs", "datasets", "constraints.txt"} <= set(copied)
