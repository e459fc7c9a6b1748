"""The last line of a command names the next one, and that one runs as it stands."""

import shlex
import sys

import pytest
from commands import run_command

from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.inspection.next_training import training_command
from wss.next_step import PART_OF_A_WORKFLOW, inspection, same_command, say_next

DATA = "data/my own"


def info_with(**splits):
    return DatasetInfo("own", ("background", "cat"), ((0, 0, 0), (9, 0, 0)), splits, directory=DATA)


def split(images=4, masks=0, boxes=0, hide_masks=False):
    return SplitInfo({"a": images}, masks, 0, (2, 2), num_with_boxes=boxes, hide_masks=hide_masks)


def test_the_line_is_one_for_a_shell(capsys):
    say_next(["wss-eval", "--run_dir=runs/my own"])
    printed = capsys.readouterr()
    assert printed.err == "next: wss-eval '--run_dir=runs/my own'\n" and not printed.out


def test_stages_of_a_workflow_and_commands_without_a_next_say_nothing(capsys, monkeypatch):
    say_next([])
    monkeypatch.setenv(PART_OF_A_WORKFLOW, "1")
    say_next(["wss-eval"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--run_dir=a b", "--dry_run"], ["--run_dir=a b"]),
        (["--dry_run", "--seed", "3"], ["--seed", "3"]),
        (["-dry_run=true", "--shard=1/2", "--seed=3"], ["--seed=3"]),
        (["--shard", "1/2", "--seed", "3"], ["--seed", "3"]),
    ],
)
def test_the_same_command_without_some_flags(arguments, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["anything", *arguments])
    assert same_command("wss-x", without=["dry_run", "shard"], more=["--more"]) == ["wss-x", *expected, "--more"]


def test_inspection_of_a_folder():
    assert inspection("data/own/") == [
        "python", "tools/inspect_dataset.py", "--dataset=data/own", "--output=data/own_inspection",
    ]  # fmt: skip


PLACES = [f"--data_dir={DATA}", "--run_dir=runs/own"]


@pytest.mark.parametrize(
    ("splits", "more"),
    [
        ({"train": split(masks=4), "val": split(masks=4), "unlabeled": split()}, []),
        ({"train": split(masks=2), "boxes": split(boxes=4)}, []),
        ({"few": split(masks=4), "validation": split(masks=4)}, ["--labeled_split=few"]),
    ],
)
def test_masks_are_planned_with(splits, more):
    assert training_command(info_with(**splits)) == ["wss-plan", *PLACES, *more]


def test_boxes_alone_have_a_command_of_their_own():
    found = training_command(info_with(boxes=split(boxes=4), unlabeled=split()))
    recipe = "--gin_file=gin_configs/recipes/bap_nal/photos.gin"
    assert found == ["python", "tools/train_from_boxes.py", recipe, *PLACES]


def test_nothing_is_learnt_from_photos_alone():
    assert training_command(info_with(train=split(hide_masks=True, masks=4), val=split(masks=4))) == []


def next_of(done):
    """Runs nothing: the command after "next: ", as this process starts it."""
    assert done.returncode == 0, done.stderr
    program, *arguments = shlex.split(done.stderr.strip().splitlines()[-1].removeprefix("next: "))
    if program == "python":
        return arguments
    return ["-m", program.replace("-", "."), *arguments]


@pytest.mark.slow
def test_each_command_leads_to_one_that_runs(small_parameters, tmp_path):
    """From a converter by inspection, and from a dry run by training and evaluation to pictures."""
    looked_into = next_of(
        run_command(["datasets/build_shapes.py", f"--output_dir={tmp_path / 'my data'}", "--size=48"])
    )
    assert looked_into[0] == "tools/inspect_dataset.py"
    assert next_of(run_command(looked_into))[:2] == ["-m", "wss.plan"]

    (tmp_path / "empty.gin").write_text("")
    parameters = [*small_parameters, "train.num_steps = 2", "train.evaluate_at_end = False"]
    flags = [
        f"--gin_file={tmp_path / 'empty.gin'}",
        f"--run_dir={tmp_path / 'my run'}",
        f"--data_dir={tmp_path / 'my data'}",
    ]
    flags += [f"--gin_param={parameter}" for parameter in parameters if "directory" not in parameter]
    train = next_of(run_command(["-m", "wss.train", *flags, "--dry_run"]))
    assert train == ["-m", "wss.train", *flags]
    evaluate = next_of(run_command(train))
    assert evaluate == ["-m", "wss.eval", f"--run_dir={tmp_path / 'my run'}"]
    draw = next_of(run_command(evaluate))
    assert draw[:2] == ["-m", "wss.vis"]
    drawn = run_command(draw)
    assert drawn.stderr.strip().splitlines()[-1] == shlex.join(
        ["next:", "tensorboard", f"--logdir={tmp_path / 'my run'}"]
    )
    assert (tmp_path / "my run/pictures/panels.png").exists()
