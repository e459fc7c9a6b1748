"""The report of the study on voc_animals: what is recorded, in documents and pictures."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from studies import voc_animals
from studies.report import Report

from wss.evaluation.label_sources import Gate, LabelSources
from wss.evaluation.result import Result
from wss.workflows.studies.runs import Run
from wss.workflows.studies.study import Study

ROOT = Path(__file__).resolve().parents[3]
OWN = ("errors", "training", "box masks")
BLOCKS = [*voc_animals.TABLES, *OWN, *(f"calibration {labels}" for labels in voc_animals.CALIBRATED)]


@pytest.fixture
def study(tmp_path) -> Study:
    return Study(tmp_path / "runs", tmp_path / "records")


@pytest.fixture
def document(tmp_path) -> Path:
    path = tmp_path / "results.md"
    path.write_text("".join(f"<!-- {name} -->\n\n<!-- end of {name} -->\n" for name in BLOCKS))
    return path


def result(right: int, wrong: int) -> Result:
    """Two classes with `right` pixels right and `wrong` wrong each."""
    calibration = np.zeros([15, 3])
    calibration[9] = 2 * (right + wrong), 1.3 * (right + wrong), 2 * right
    confusion = np.array([[right, wrong], [wrong, right]])
    return Result("voc", "val", ("background", "cat"), confusion, calibration, 1, 1.0)


SCALARS = {
    f"{part}/accuracy": {"100": 0.1, "200": 0.5, "300": 0.7, "400": 0.9} for part in ("decoder", "sgc", "fusion")
}


def record(study: Study, run: Run, found: dict, suffix: str = ".json") -> None:
    path = study.records / f"{run.name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"settings": study.settings(run), "scalars": SCALARS, "result": found}))


def block(document: Path, name: str) -> str:
    return re.search(f"<!-- {name} -->\n(.*?)\n<!-- end of", document.read_text(), re.DOTALL)[1]


def test_what_is_recorded_is_in_the_tables_and_on_the_curve(study, document, tmp_path):
    record(study, voc_animals.make_run("supervised", "train_1_8"), result(3, 1).as_dict())  # IoU 3 / 5
    record(study, voc_animals.make_run("pseudoseg", "train_1_8"), result(4, 0).as_dict())
    text = Report(study, [document], tmp_path / "pictures").write()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block(document, "main").splitlines()]
    assert [row[:3] for row in rows[2:]] == [["supervised", "", "60.00"], ["PseudoSeg", "", "100.00"]]
    assert block(document, "temperature") == "Nothing is recorded yet."
    assert block(document, "main") in text
    with Image.open(tmp_path / "pictures/voc_animals_curve.png") as curve:
        assert curve.size == (1216, 736)
    assert not list((tmp_path / "pictures").glob("*calibration*"))


def test_training_is_in_a_table_of_its_second_half_and_in_a_chart(study, document, tmp_path):
    record(study, voc_animals.SHOWN["PseudoSeg"], result(3, 1).as_dict())
    Report(study, [document], tmp_path / "pictures").write()
    assert re.search(r"\| PseudoSeg, 1/8 \(55\) +\|( 80.0 +\|){3}( +\|){4}$", block(document, "training"), re.MULTILINE)
    assert (tmp_path / "pictures/voc_animals_learning.png").exists()


def test_parts_of_pseudo_labels_are_in_a_table_and_a_diagram(study, document, tmp_path):
    sources = LabelSources({"decoder": result(3, 1), "SGC": result(1, 1)}, Gate(("cat",), np.array([[2, 1, 2]])))
    record(study, voc_animals.CALIBRATED["train_1_16"], sources.as_dict(), ".pseudo_labels.json")
    Report(study, [document], tmp_path / "pictures").write()
    found = block(document, "calibration train_1_16")
    assert re.search(r"\| decoder +\| +60.00 \| +75.00 \| +65.00 \| +10.00 \|", found)
    assert re.search(r"\| classes +\| +50.00 \| +66.67 \|", found)
    assert block(document, "calibration train_1_8") == "Nothing is recorded yet."
    assert (tmp_path / "pictures/voc_animals_calibration_train_1_16.png").exists()


def test_the_tables_of_the_project_are_those_of_its_records(tmp_path):
    """Nothing is filled in by hand."""
    study = Study(tmp_path, ROOT / "docs/runs/voc_animals")
    documents = [ROOT / "docs/results.md", ROOT / "README.md"]
    copies = [tmp_path / document.name for document in documents]
    for document, copy in zip(documents, copies, strict=True):
        copy.write_text(document.read_text())
    Report(study, copies, tmp_path).write()
    assert [copy.read_text() for copy in copies] == [document.read_text() for document in documents]


def test_panels_are_lacking_once_their_runs_are_recorded(study, document, tmp_path):
    report = Report(study, [document], tmp_path)
    shown = list(voc_animals.SHOWN.values())
    record(study, shown[0], result(3, 1).as_dict())
    assert not report.lacks_panels
    record(study, shown[1], result(3, 1).as_dict())
    assert report.lacks_panels
    (tmp_path / "voc_animals_panels.png").touch()
    assert not report.lacks_panels
