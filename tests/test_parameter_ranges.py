"""Every gin parameter has a range: its default is in it, wrong values are one line before anything is built."""

import inspect
import math
from pathlib import Path

import gin
import pytest

from wss import config, configurables
from wss.errors import UserError
from wss.gin_registry import configurables as registered
from wss.parameter_ranges import is_free, ranges_of
from wss.parameter_reference import page

assert configurables.MODULES
ROOT = Path(__file__).parents[1]
OURS = {name: what for name, what in registered().items() if what.__module__.startswith("wss.")}
PARAMETERS = [
    (name, parameter)
    for name, what in OURS.items()
    for parameter in inspect.signature(what).parameters.values()
    if parameter.default is not inspect.Parameter.empty
]
WRONG = ("", "text\n", "no such value", True, -1, -1.5, 2**70, math.nan, math.inf, (), ("a",), {}, object())


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS, ids=lambda value: getattr(value, "name", value))
def test_each_parameter_has_a_range(name, parameter):
    table = ranges_of(OURS[name])
    assert table is not None and parameter.name in table.ranges
    range_ = table.ranges[parameter.name]
    if not is_free(range_):
        return
    if parameter.default is not gin.REQUIRED:
        assert range_.accepts(parameter.default), f"{parameter.default} is not {range_}"
    refused = [value for value in WRONG if not range_.accepts(value)]
    assert refused
    for value in refused:
        line = range_.problem(f"{name}.{parameter.name}", value)
        assert line.startswith(f"{name}.{parameter.name} = ") and "expected" in line and "\n" not in line


CASES = {
    "train.steps_per_loop = 0": "expected an integer from 1",
    "train.checkpoint_every = -1": "expected an integer from 0",
    "train.num_steps = -5": "expected an integer from 1",
    "train.num_steps = 'many'": "expected an integer from 1",
    "train.num_steps = 1.5": "expected an integer from 1",
    "train.num_steps = True": "expected an integer from 1",
    "train.keep_checkpoints = 0": "expected an integer, 1 or more",
    "train.seed = -1": "expected an integer from 0",
    "train.seed = 1099511627776": "expected an integer from 0",
    "train.ema_decay = 2": "expected",
    "train.clip_norm = 0": "expected",
    "build_optimizer.learning_rate = -1": "expected",
    "build_optimizer.learning_rate = 'fast'": "expected",
    "TrainingData.crop_size = (0, 0)": "expected",
    "TrainingData.crop_size = (1000000000, 1000000000)": "expected",
    "TrainingData.crop_size = 33": "expected",
    "TrainingData.labeled_batch_size = 0": "expected",
    "TrainingData.shuffle_buffer = 0": "expected",
    "build_model.head_depth = 0": "expected",
    "Augmentation.min_scale = 3.0": "min_scale at most max_scale",
    "Evaluation.scales = ()": "expected",
    "Labeling.stride = 0": "expected",
}


@pytest.mark.parametrize("binding", CASES)
def test_a_wrong_value_is_told_when_it_is_parsed(binding):
    with pytest.raises(UserError, match=CASES[binding]) as error:
        config.parse_config([], [binding])
    assert binding.split(" = ")[0] in str(error.value) and "\n" not in str(error.value)


def test_all_wrong_values_are_told_at_once():
    with pytest.raises(UserError) as error:
        config.parse_config([], ["train.steps_per_loop = 0", "train.keep_checkpoints = 0", "train.seed = 3"])
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize("line", ["import os", "from os import path", "from __gin__ import dynamic_registration"])
@pytest.mark.parametrize("where", ["file", "include", "parameter"])
def test_imports_are_refused_wherever_they_stand(tmp_path, line, where):
    (tmp_path / "bad.gin").write_text(f"{line}\ntrain.num_steps = 3\n")
    (tmp_path / "includes.gin").write_text(f"include {str(tmp_path / 'bad.gin')!r}\n")
    files = {"file": [tmp_path / "bad.gin"], "include": [tmp_path / "includes.gin"], "parameter": []}[where]
    parameters = [f"train.num_steps = 3\n{line}"] if where == "parameter" else []
    with pytest.raises(UserError, match="import"):
        config.parse_config(list(map(str, files)), parameters)


def test_imports_are_allowed_where_they_are_asked_for_but_never_in_a_run(tmp_path):
    (tmp_path / "own.gin").write_text("import os.path\ntrain.num_steps = 3\n")
    config.parse_config([str(tmp_path / "own.gin")], [], allow_imports=True)
    with pytest.raises(UserError, match="no run saves such a line"):
        config.parse_config([str(tmp_path / "own.gin")], [], allow_imports=True, saved=True)


@pytest.mark.parametrize(
    "content", [b"\x00", b"\xff\xfe", b"x", b"(" * 5000, b"train.num_steps =", b"x.y = (", b"train.x = [" * 3000]
)
def test_a_file_that_is_no_gin_is_one_line(tmp_path, content):
    (tmp_path / "x.gin").write_bytes(content)
    with pytest.raises(UserError) as error:
        config.parse_config([str(tmp_path / "x.gin")], [])
    assert "\n" not in str(error.value) and "x.gin" in str(error.value)


def test_files_that_include_each_other_are_one_line(tmp_path):
    (tmp_path / "a.gin").write_text(f"include {str(tmp_path / 'b.gin')!r}\n")
    (tmp_path / "b.gin").write_text(f"include {str(tmp_path / 'a.gin')!r}\n")
    with pytest.raises(UserError, match="include"):
        config.parse_config([str(tmp_path / "a.gin")], [])


def test_the_reference_is_up_to_date():
    assert (ROOT / "docs" / "parameters.md").read_text() == page(), "run python tools/write_parameters.py"
