"""The page of a run: one file that loads nothing, escapes every text, and says what is there."""

import html
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from commands import run_command
from networks import two_convolutions
from pages import Page
from tiny import SMALL, bindings
from trained_runs import trained_with_class

from wss import experiment
from wss.evaluation.result import Result
from wss.pages import chosen_photos, document, run_report
from wss.pages.findings import pseudo_label_findings, result_findings
from wss.runtime import strategy

HOSTILE = '<script>alert("1")</script> $x_1$ & "it\'s"'


@pytest.fixture(scope="module", autouse=True)
def small_network():
    with two_convolutions():
        yield


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(strategy, "build_strategy", lambda *_: tf.distribute.MirroredStrategy(["CPU:0"]))


@pytest.fixture(scope="module")
def trained(tiny_shapes, tmp_path_factory):
    """A finished run of two evaluations, on data whose classes have hostile names."""
    more = ["train.evaluate_every = 3", "train.summary_every = 2"]
    return trained_with_class(HOSTILE, tiny_shapes, tmp_path_factory.mktemp("trained"), SMALL, more)


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def report(run_dir, *flags):
    done = run_command(["-m", "wss.report", f"--run_dir={run_dir}", *flags])
    assert done.returncode == 0, done.stderr
    return Page(run_dir / "report.html")


def test_a_page_has_everything_and_loads_nothing(run_dir):
    page = report(run_dir)
    result = json.loads((run_dir / "eval_val.json").read_text())
    assert f"{100 * result['mean_iou']:.2f} %" in page.text
    for words in ("Curves", "Classes", "Photos", "Worst", "Best", "Data", "Settings", "train.num_steps = 6"):
        assert words in page.text
    assert page.tags.count("svg") == 4  # mIoU, losses, confusion, reliability
    assert page.tags.count("img") == 6 * 3  # photos of val: image, truth, prediction
    page.check_that_it_stands_alone()


def test_texts_are_texts(run_dir):
    """Names of classes and runs are neither elements nor formulas."""
    page = report(shutil.move(run_dir, run_dir.parent / "<b>$x$ & run"))
    assert "script" not in page.tags and "b" not in page.tags
    assert HOSTILE in page.text  # in the table, and in the charts below it
    in_charts = re.findall(r"<text[^>]*>(.*?)</text>", page.source, re.DOTALL)
    assert sum(html.unescape(text) == HOSTILE for text in in_charts) == 2  # both axes of the confusion matrix


def test_compared_with_another_run(run_dir):
    other = shutil.copytree(run_dir, run_dir.parent / "other")
    config = other / "operative_config.gin"
    config.write_text(config.read_text().replace("train.num_steps = 6", "train.num_steps = 7"))
    result = json.loads((other / "eval_val.json").read_text())
    confusion = np.diag(np.arange(1, 8))
    (other / "eval_val.json").write_text(json.dumps({**result, "confusion": confusion.tolist()}))
    page = report(run_dir, f"--compare={other}")
    assert "100.00" in page.text and "IoU of other" in page.text
    assert re.search(r"train\.num_steps\s*6\s*7", page.text)
    assert page.tags.count("img") == 6 * 4
    changed = {**result, "class_names": ["a"], "confusion": [[1]], "iou": {}}
    (other / "eval_val.json").write_text(json.dumps(changed))
    done = run_command(["-m", "wss.report", f"--run_dir={run_dir}", f"--compare={other}"])
    assert done.returncode == 2 and "compare results of one split" in done.stderr


def test_a_run_that_is_not_finished(run_dir):
    """Without results, and with an event that is half written."""
    for name in ("eval_val.json", "validation.json", "model.weights.h5"):
        (run_dir / name).unlink()
    (events,) = (run_dir / "train").glob("events*")
    events.write_bytes(events.read_bytes()[:-5])
    page = report(run_dir)
    assert "not evaluated yet" in page.text and "The run has not finished" in page.text
    assert page.tags.count("svg") == 1  # losses


def test_what_hinders_a_page_is_one_line(run_dir, monkeypatch):
    cases = {
        "--output=/proc/x/report.html": "report.html: cannot be written",
        f"--compare={run_dir}/nothing": "no operative_config.gin in it",
        "--split=tests": "no split 'tests'",
    }
    for flag, message in cases.items():
        done = run_command(["-m", "wss.report", f"--run_dir={run_dir}", flag])
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) <= 2
    monkeypatch.setattr(document, "has_pages", lambda: False)
    done = run_command(["-m", "wss.report", f"--run_dir={run_dir}"])
    assert done.returncode == 2 and "pip install 'wss[report]'" in done.stderr
    assert not (run_dir / "report.html").exists()


@pytest.mark.slow
def test_a_training_writes_its_page(run_dir, monkeypatch):
    flags = [f"--gin_file={run_dir}/operative_config.gin", f"--run_dir={run_dir}"]
    done = run_command(["-m", "wss.train", *flags])
    assert done.returncode == 0 and f"report: {run_dir}/report.html" in done.stdout
    (run_dir / "report.html").unlink()
    monkeypatch.setattr(document, "has_pages", lambda: False)
    done = run_command(["-m", "wss.train", *flags])
    assert done.returncode == 0 and "no report: Jinja2 or matplotlib is not installed" in done.stderr
    done = run_command(["-m", "wss.train", *flags, "--noreport"])
    assert done.returncode == 0 and "report" not in done.stderr


def test_a_method_that_learns_from_no_masks(trained, tmp_path):
    """Of `Classification` there is no split of masks to name, and no class that is in none."""
    parameters = [*bindings(SMALL, trained.parent / "data"), "train.method = @Classification()"]
    parameters += ["train.evaluate_at_end = False", "TrainingData.labeled_split = 'gone'"]
    experiment.run([], parameters, tmp_path / "run", strategy=tf.distribute.MirroredStrategy(["CPU:0"]))
    page = report(tmp_path / "run")
    assert "masks to learn from" not in page.text and "In no mask to learn" not in page.text


def test_the_worst_and_the_best_are_chosen(trained, monkeypatch):
    """Photos whose prediction is their truth but for the first ones."""
    run = experiment.open_run(str(trained), [], tf.distribute.MirroredStrategy(["CPU:0"]))
    wrong = 4

    def predicted(step, examples):
        for number, photo in enumerate(one for batch in examples for one in batch):
            label = np.where(photo.label == run.info.ignore_label, 0, photo.label)
            yield photo, {"prediction": np.full_like(label, 3) if number < wrong else label}

    monkeypatch.setattr(chosen_photos, "run_examples", predicted)
    monkeypatch.setattr(chosen_photos, "OF_EACH_KIND", 2)
    chosen = chosen_photos.choose_photos(run, "val")
    assert chosen.looked_at == 6
    assert [one.score for one in chosen.kinds["best"]] == [1.0, 1.0]
    assert all(one.score < 0.2 for one in chosen.kinds["worst"])
    assert [len(photos) for photos in chosen.kinds.values()] == [2, 2, 2]
    names = [one.photo.name for photos in chosen.kinds.values() for one in photos]
    assert len(names) == len(set(names))


def counted(confusion, calibration=((1, 0.9, 1),)):
    names = ("background", "cat", "dog")
    return Result("pets", "val", names, np.array(confusion), np.array(calibration, float), 10, 1.0)


def test_findings_of_a_result():
    result = counted([[50, 0, 0], [1, 9, 0], [5, 5, 10]], [(100, 95.0, 70)])
    lines = [one.text for one in result_findings(result, masks=[20, 3, 0], measured=[10, 2, 9], first_class=1)]
    assert "Learnt from fewer than 5 masks: cat (3). More masks of these help most." in lines
    assert "In no mask to learn from: dog." in lines
    assert "In fewer than 5 masks of 'val': cat (2). Their IoU says little." in lines
    assert any("25 % in the mean, higher than the accuracy" in line for line in lines)
    good = counted([[50, 0, 0], [1, 19, 0], [0, 1, 19]])
    assert not result_findings(good, masks=[20, 9, 9], measured=[10, 9, 9], first_class=1)
    assert not result_findings(good, masks=None, measured=[10, 9, 9], first_class=1)


def test_findings_of_pseudo_labels():
    scalars = {"fusion/accuracy": {1: 0.9, 2: 0.6}, "gate/precision": {2: 0.5}, "total": {2: 1.0}}
    lines = [one.text for one in pseudo_label_findings(scalars)]
    assert lines[0] == "The pseudo labels are wrong on 40 % of the pixels that are known."
    assert "50 % are not in them" in lines[1]
    assert not pseudo_label_findings({"fusion/accuracy": {1: 0.6, 2: 0.9}})


def test_a_prediction_at_another_size():
    label = np.array([[1, 300], [5, 7]], np.int32)
    np.testing.assert_array_equal(chosen_photos._nearest(label, (2, 4)), [[1, 1, 300, 300], [5, 5, 7, 7]])
    np.testing.assert_array_equal(chosen_photos._nearest(label, (2, 2)), label)


def test_losses_are_told_from_metrics():
    scalars = {"total": {1: 2.0}, "sgc": {1: 1.0}, "weight_decay": {1: 1.0}, "mask_ratio": {1: 0.5}}
    assert list(run_report._losses(scalars)) == ["total", "sgc", "weight_decay"]
    assert run_report._losses({"mask_ratio": {1: 0.5}}) == {}


def test_confusions_are_sorted():
    first, second = run_report._confusions(counted([[50, 0, 0], [1, 9, 0], [0, 5, 5]]))
    assert first == ("dog", "cat", 0.5, 5 / 6) and second == ("cat", "background", 0.1, 1 / 6)


def test_titles_tell_runs_apart():
    assert list(run_report._titled(["runs/a/seed_0", "runs/b/seed_0"])) == ["a/seed_0", "b/seed_0"]
    assert list(run_report._titled(["runs/a", "runs/a/"])) == ["a"]
