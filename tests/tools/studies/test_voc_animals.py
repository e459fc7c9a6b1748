"""The study on voc_animals: its runs, in which order, and the flag that chooses among its tables."""

import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from scripts import load_module, separate_flags
from studies import voc_animals

ROOT = Path(__file__).resolve().parents[3]


def test_the_queue_of_voc_animals_has_each_run_once_and_the_most_telling_first():
    queue = voc_animals.queue()
    assert len(queue) == len(set(queue)) == len({run.name for run in queue})
    assert set(queue) == {run for table in voc_animals.TABLES.values() for run in table}
    methods = {run.name.split("/")[0] for run in queue[:8]}
    assert methods == {"supervised", "self_training", "pseudoseg", "pseudoseg_image_labels"}
    assert {run.seed for run in queue[:8]} == {0}


def test_teachers_of_voc_animals_are_supervised_runs_of_the_same_list_and_seed():
    for run in voc_animals.queue():
        method, _, which = run.name.partition("/")
        if method.startswith("self_training"):
            assert run.teacher.name == f"supervised/{which}"
        elif run.from_boxes:
            assert run.teacher in (None, voc_animals.BAP)
        else:
            assert run.teacher is None


def test_minutes_of_labelling_by_hand():
    """239.7 s a mask, 1 s a class of a tag, 7 s a box."""
    minutes = voc_animals.labeling_minutes
    assert minutes("supervised", "1/16 (27)") == minutes("PseudoSeg, guessed tags", "1/16 (27)")
    assert minutes("supervised", "1/16 (27)") == pytest.approx(27 * 239.7 / 60)
    assert minutes("PseudoSeg, tags of all photos", "1/8 (55)") == pytest.approx((55 * 239.7 + 6 * 3131) / 60)
    assert minutes("437 photos with boxes", "437 photos") == pytest.approx(1091 * 7 / 60)
    assert minutes("masks, and boxes of 437 photos", "1/4 (109)") == pytest.approx((109 * 239.7 + 1091 * 7) / 60)
    for title in ("all masks", "all masks, classifier by angles"):
        assert minutes(title, "437 photos") == pytest.approx(437 * 239.7 / 60)


def test_every_cell_of_the_labels_table_takes_time_and_55_masks_have_three_seeds():
    for title, row in voc_animals.LABELS.rows.items():
        for column, runs in row.items():
            assert voc_animals.labeling_minutes(title, column) > 0
            if column == "1/8 (55)":
                assert [run.seed for run in runs] == [0, 1, 2]


def test_run_table_accepts_the_name_of_every_table():
    with separate_flags():
        load_module(ROOT / "tools/run_table.py")
        for name in ("all", *voc_animals.TABLES):
            flags.FLAGS["table"].parse(name)
            assert flags.FLAGS["table"].value == name
        with pytest.raises(flags.IllegalFlagValueError, match="should be one of <all|main|"):
            flags.FLAGS["table"].parse("threshhold")


def test_run_table_plans_the_threshold_table():
    """Every run of it is recorded."""
    command = [sys.executable, "tools/run_table.py", "--table=threshold", "--plan"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    number = len(list(voc_animals.TABLES["threshold"]))
    assert done.stdout.splitlines()[0] == f"{number} of {number} runs are recorded in docs/runs/voc_animals"


def test_the_runs_of_the_study_are_known_without_tensorflow():
    """The command's help lists the tables at once."""
    code = "import sys; from studies import voc_animals; assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tools", check=True, timeout=60)
