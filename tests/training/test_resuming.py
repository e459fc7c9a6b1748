"""Going on with a run: what fits goes on to the bit, what does not is one line, and nothing is touched."""

import json
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from wss import experiment
from wss.errors import Interrupted, UserError
from wss.experiment import open_run
from wss.run_directory import RunDirectory
from wss.training import loop
from wss.training.loop import TrainingDiverged

DATA = ".data-00000-of-00001"
SHORT = ["train.checkpoint_every = 2", "train.num_steps = 4", "train.evaluate_at_end = False"]
LONGER = "train.num_steps = 6"


def one_device():
    return tf.distribute.MirroredStrategy(["CPU:0"])


def train(run_dir, parameters):
    return experiment.run([], parameters, run_dir, strategy=one_device())


def files_of(folder):
    """The content of all files, but the lock's."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock" and "events" not in path.name
    }


@pytest.fixture
def parameters(small_parameters):
    return [*small_parameters, *SHORT]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder for the one run of four steps that the tests copy."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def run_dir(trained, parameters, tmp_path):
    """A run that finished four steps, in a folder with pattern characters in its name."""
    if not (trained / "run").exists():
        train(trained / "run", parameters)
    return shutil.copytree(trained / "run", tmp_path / "lr [1e-3]*")


@pytest.fixture
def other_data(tiny_shapes, tmp_path):
    """Returns a function that makes a data set with other class names."""

    def make(change):
        folder = shutil.copytree(tiny_shapes, tmp_path / "other")
        content = json.loads((folder / "dataset.json").read_text())
        change(content)
        (folder / "dataset.json").write_text(json.dumps(content))
        return f"load_dataset.directory = {str(folder)!r}"

    return make


def exchange(content):
    names = content["class_names"]
    names[1], names[2] = names[2], names[1]


def add_class(content):
    content["class_names"].append("heptagon")
    content["colors"].append([1, 2, 3])


CHANGES = {
    "width": (["build_model.head_depth = 24"], "another network: build_model.head_depth was .*, is 24"),
    "optimizer": (["build_optimizer.name = 'adam'"], "build_optimizer.name was 'momentum', is 'adam'"),
    "ema": (["train.ema_decay = 0.9"], "does not fit.*train.ema_decay was None, is 0.9"),
    "method": (["train.method = @PseudoSeg()"], "does not fit.*train.method was @Supervised.., is @PseudoSeg"),
    "fewer steps": (["train.num_steps = 3"], "train.num_steps = 3: .* has 4 steps already"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_fit_is_refused_and_nothing_touched(run_dir, parameters, change):
    changed, message = CHANGES[change]
    before = files_of(run_dir)
    with pytest.raises(UserError, match=message) as error:
        train(run_dir, [*parameters, LONGER, *changed])
    assert "\n" not in str(error.value) and "another --run_dir" in str(error.value)
    assert files_of(run_dir) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [(exchange, "'disk' as class 1, .* has 'square'"), (add_class, "trained with 7 classes, .* has 8")],
)
def test_other_classes_are_refused(run_dir, parameters, other_data, change, message):
    data = other_data(change)
    before = files_of(run_dir)
    with pytest.raises(UserError, match=message):
        train(run_dir, [*parameters, LONGER, data])
    with pytest.raises(UserError, match=message):
        open_run(str(run_dir), [data], one_device())
    assert files_of(run_dir) == before


def test_what_fits_is_said_and_recorded(run_dir, parameters, capsys):
    train(run_dir, [*parameters, LONGER, "train.seed = 5", "TrainingData.labeled_batch_size = 3"])
    said = capsys.readouterr().err
    for words in ("train.num_steps was 4, is 6", "train.seed was 0, is 5", "labeled_batch_size was 2, is 3"):
        assert words in said
    (change,) = json.loads((run_dir / "run.json").read_text())["changes"]
    assert change["after_step"] == 4 and change["changed"]["train.seed"] == ["0", "5"]
    assert open_run(str(run_dir), [], one_device()).step == 6


def test_a_damaged_newest_checkpoint_ends_in_the_same_bits(run_dir, trained, parameters, capsys):
    data = run_dir / "checkpoints" / f"ckpt-4{DATA}"
    data.write_bytes(data.read_bytes()[:1000])
    (run_dir / "checkpoints" / "checkpoint").unlink()
    train(run_dir, parameters)
    printed = capsys.readouterr()
    assert "ckpt-4: damaged" in printed.err and "after 2 of 4 steps" in printed.out
    assert (run_dir / "model.weights.h5").read_bytes() == (trained / "run" / "model.weights.h5").read_bytes()


def test_an_unfinished_run_is_opened_at_its_newest_readable_checkpoint(run_dir, capsys):
    (run_dir / "model.weights.h5").unlink()
    (run_dir / "checkpoints" / "ckpt-4.index").unlink()
    assert open_run(str(run_dir), [], one_device()).step == 2
    assert "ckpt-4: damaged" in capsys.readouterr().err


def test_trained_weights_without_checkpoints_are_not_overwritten(run_dir, parameters):
    shutil.rmtree(run_dir / "checkpoints")
    before = files_of(run_dir)
    with pytest.raises(UserError, match="has a trained model.weights.h5, but no checkpoint"):
        train(run_dir, parameters)
    assert files_of(run_dir) == before


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"train.num_steps = ", b"x.y = ([", b"# nothing\n", None])
def test_a_damaged_configuration_is_one_line(run_dir, parameters, content):
    config = run_dir / "operative_config.gin"
    config.unlink()
    config.mkdir() if content is None else config.write_bytes(content)
    before = files_of(run_dir)
    with pytest.raises(UserError, match="operative_config.gin"):
        train(run_dir, parameters)
    with pytest.raises(UserError, match="operative_config.gin"):
        open_run(str(run_dir), [], one_device())
    assert files_of(run_dir) == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"class_names": 3}', "[" * 100_000])
def test_a_damaged_record_is_one_line(run_dir, parameters, content):
    (run_dir / "run.json").write_text(content)
    with pytest.raises(UserError, match="run.json: damaged"):
        open_run(str(run_dir), [], one_device())


def test_a_run_of_an_earlier_version_goes_on(run_dir, parameters):
    (run_dir / "run.json").unlink()
    train(run_dir, [*parameters, LONGER])
    assert "class_names" in json.loads((run_dir / "run.json").read_text())


def test_weights_that_are_not_finite_are_named_when_they_are_read(run_dir):
    opened = open_run(str(run_dir), [], one_device())
    variable = opened.model.variables[3]
    variable.assign(np.full(variable.shape, np.nan))
    opened.model.save_weights(run_dir / "model.weights.h5")
    with pytest.raises(UserError, match=f"model.weights.h5: {variable.path} is not finite"):
        open_run(str(run_dir), [], one_device())


def test_cut_off_weights_are_said_to_be_so(run_dir):
    weights = run_dir / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-500])
    with pytest.raises(UserError, match="model.weights.h5: cut off .truncated"):
        open_run(str(run_dir), [], one_device())


def test_weights_that_are_not_finite_are_never_saved(tmp_path, parameters):
    """Momentum at a rate of a million: the losses of the first steps are finite, the weights are not for long."""
    fast = ["build_optimizer.learning_rate = 1e6", "train.checkpoint_every = 1", "train.num_steps = 40"]
    with pytest.raises(TrainingDiverged, match="is not finite") as error:
        train(tmp_path / "run", [*parameters, *fast])
    run = RunDirectory(tmp_path / "run")
    saved = sorted(run.checkpoints.glob("*.index"))
    for index in saved:
        reader = tf.train.load_checkpoint(str(index.with_suffix("")))
        for name, dtype in reader.get_variable_to_dtype_map().items():
            assert not dtype.is_floating or np.isfinite(reader.get_tensor(name)).all(), (index, name)
    assert "Last good checkpoint" in str(error.value)
    assert not run.weights.exists()


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, None)])
def test_a_signal_saves_and_the_same_command_goes_on(
    tmp_path, trained, run_dir, parameters, monkeypatch, number, error
):
    after = loop.Trainer._after

    def send(self, step, *args):
        after(self, step, *args)
        if step == 2:
            signal.raise_signal(number)

    stop_often = [*parameters, "train.steps_per_loop = 1", "train.checkpoint_every = 4"]
    with monkeypatch.context() as patched:
        patched.setattr(loop.Trainer, "_after", send)
        if error:
            with pytest.raises(error, match="stopped by Ctrl-C after 2 steps, saved; run the same command to go on"):
                train(tmp_path / "run", stop_often)
        else:
            assert train(tmp_path / "run", stop_often) is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(tmp_path / "run", stop_often)
    finished = (tmp_path / "run" / "model.weights.h5").read_bytes()
    assert finished == (trained / "run" / "model.weights.h5").read_bytes()


def test_a_relative_data_set_from_elsewhere_is_one_line(run_dir, monkeypatch, tmp_path, tiny_shapes):
    config = run_dir / "operative_config.gin"
    directory = str(tiny_shapes)
    config.write_text(config.read_text().replace(repr(directory), "'data/tiny'"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="data/tiny: not found from .*--data_dir"):
        open_run(str(run_dir), [], one_device())
    assert open_run(str(run_dir), [f"load_dataset.directory = {directory!r}"], one_device()).step == 4
