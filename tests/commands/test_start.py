"""How commands begin, through real processes: their own words first, nothing of TensorFlow's, and help without waiting."""

import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from wss.errors import UserError
from wss.parameter_reference import describe, describe_all

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = {name: ["-c", f"from {name.replace('-', '.')} import console_main; console_main()"] for name in (
    "wss-train", "wss-eval", "wss-vis", "wss-report", "wss-export", "wss-demo", "wss-label"
)}  # fmt: skip
SCRIPTS = {
    str(path.relative_to(ROOT)): [str(path)] for path in sorted([*ROOT.glob("datasets/*.py"), *ROOT.glob("tools/*.py")])
}
COMMANDS = {**CONSOLE, "python -m wss.train": ["-m", "wss.train"], **SCRIPTS}
EVERY_DAY = ("wss-train", "wss-label", "python -m wss.train", "datasets/build_voc2012.py", "tools/linear_probe.py")
SOME_FLAGS = {
    "wss-train": ["dry_run", "seed", "gin_file"],
    "wss-eval": ["split", "output"],
    "wss-vis": ["images", "num_images"],
    "wss-report": ["compare", "output"],
    "wss-export": ["format", "size"],
    "wss-demo": ["host", "port"],
    "wss-label": ["alpha", "policy"],
    "datasets/build_voc2012.py": ["voc_root", "output_dir", "num_shards"],
}


def some(commands) -> list:
    """Parameters of a test; those that few people call each day are slow, for each is a start of Python."""
    return [pytest.param(name, marks=() if name in EVERY_DAY else pytest.mark.slow) for name in commands]


def run(command: list[str], **settings: str | None) -> subprocess.CompletedProcess:
    """Runs Python as a user does, who has not set what the tests set; None removes a variable."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": None, **settings}
    return subprocess.run(
        [sys.executable, *command],
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def help_of(tmp_path_factory):
    """Returns the help of a command, where TensorFlow and Keras cannot be imported."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("tensorflow", "keras"):
        (folder / f"{name}.py").write_text("raise ImportError('too early')\n")
    return functools.cache(lambda name: run([*COMMANDS[name], "--help"], PYTHONPATH=f"{folder}:{ROOT}"))


@pytest.mark.parametrize("command", some(COMMANDS))
def test_help_needs_no_tensorflow_and_begins_with_the_commands_words(help_of, command):
    shown = help_of(command)
    assert shown.stderr == "" and shown.returncode == 1  # as absl ends after --help
    words = shown.stdout.lstrip().splitlines()[0]
    assert len(words.split()) > 4 and not words.startswith("USAGE")


@pytest.mark.parametrize("command", some(SOME_FLAGS))
def test_help_lists_own_and_shared_flags(help_of, command):
    text = help_of(command).stdout
    for flag in SOME_FLAGS[command]:
        assert f"  --{flag}:" in text or f"  --[no]{flag}:" in text
    assert "--helpfull" in text
    if command.startswith("wss"):
        assert "  --run_dir:" in text and "  --gin_param:" in text and "wss-train --list_parameters" in text


@pytest.mark.slow
def test_commands_are_quiet(tmp_path):
    """A data set in two processes, the parameters, and the full help: nothing but their own words on stdout and stderr."""
    records = tmp_path / "records"
    built = run(
        [f"{ROOT}/datasets/build_shapes.py", f"--output_dir={records}", "--num_train=16", "--num_val=1", "--workers=2"]
    )
    assert built.returncode == 0 and built.stdout.split()[0] == "train"
    assert all(line.startswith(("writing shapes: ", "next: ")) for line in built.stderr.splitlines()), built.stderr
    listed = run(["-m", "wss.train", "--list_parameters"])
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "\n  train.num_steps  (required)   # an integer from 1 to" in listed.stdout
    assert "\n  PseudoSeg.gamma = 0.5   # " in listed.stdout
    full = run(["-m", "wss.train", "--helpfull"])
    assert full.stderr == "" and "absl.logging" in full.stdout
    wrong = run(["-m", "wss.train", "--list_parameters=trian"])
    assert (wrong.returncode, wrong.stderr) == (2, "error: nothing is called 'trian'. Did you mean 'train'?\n")


def test_a_parameter_is_explained_and_a_wrong_name_gets_the_nearest():
    explained = describe("train")
    assert "\n  train.num_steps  (required)   # an integer from 1 to" in explained and "num_steps: " in explained
    assert "  train.seed = 0   # an integer from 0 to" in describe_all()
    with pytest.raises(UserError, match="nothing is called 'trian'. Did you mean 'train'?"):
        describe("trian")


IMPORTS = "import wss.command, os; os.write(2, b'before\\n'); import tensorflow as tf; os.write(2, b'after\\n'); {}"


@pytest.mark.slow
def test_what_comes_after_the_start_is_shown():
    warns = IMPORTS.format(
        "tf.get_logger().warning('mind this'); print(tf.__loader__, 'TF_CPP_MIN_LOG_LEVEL' in os.environ)"
    )
    done = run(["-c", warns])
    first, second, warning = done.stderr.splitlines()
    assert (first, second) == ("before", "after") and "mind this" in warning
    assert "SourceFileLoader" in done.stdout and done.stdout.endswith("False\n")


@pytest.mark.slow
def test_a_user_who_sets_the_level_sees_everything():
    done = run(["-c", IMPORTS.format("")], TF_CPP_MIN_LOG_LEVEL="0")
    assert len(done.stderr.splitlines()) > 2


@pytest.mark.slow
def test_commands_run_where_stderr_is_closed():
    program = "import os; os.close(2); import wss.command; import tensorflow as tf; print(tf.constant(3).numpy())"
    assert run(["-c", program]).stdout == "3\n"


def test_a_failing_import_shows_what_was_caught(tmp_path):
    broken = tmp_path / "tensorflow"
    broken.mkdir()
    (broken / "__init__.py").write_text("import os\nos.write(2, b'no AVX\\n')\nraise ImportError('cannot load')\n")
    done = run(["-c", "import wss.command; import tensorflow"], PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 1
    assert done.stderr.startswith("no AVX\nTraceback") and done.stderr.endswith("ImportError: cannot load\n")


def test_help_for_a_reader_who_has_enough():
    """`wss-train --help | head` ends without a traceback."""
    command = shlex.join([sys.executable, *CONSOLE["wss-train"], "--help"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(f"{command} | true", shell=True, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
