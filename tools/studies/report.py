"""What the study of voc_animals found, in documents and pictures: tables between their marks, curves, diagrams, panels."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from studies import voc_animals
from wss.evaluation.label_sources import label_sources_table
from wss.visualization.charts import label_sources_diagram, line_chart, save_figure
from wss.visualization.picture_files import save_png
from wss.workflows.run_comparison import compare_runs
from wss.workflows.stages import run_all
from wss.workflows.studies.study import Study
from wss.workflows.studies.tables import (
    NOTHING,
    error_table,
    masks_table,
    mean_iou_table,
    mean_ious,
    training_table,
    write_block,
)


@dataclasses.dataclass(frozen=True)
class Report:
    """Where the study is reported.

    Attributes:
        study: The study, with its records.
        documents: Documents that have the marks of the tables, see `write_block`.
        pictures: Folder for the pictures.
    """

    study: Study
    documents: Sequence[Path]
    pictures: Path

    def write(self) -> str:
        """Writes what is recorded, and returns the tables."""
        texts = {
            **{name: mean_iou_table(table, self.study) for name, table in voc_animals.TABLES.items()},
            **self._calibration_tables(),
            "errors": self._error_table(),
            "training": self._training_table(),
            "box masks": self._masks_table(),
        }
        for name, text in texts.items():
            write_block(self.documents, name, text)
        self._draw_calibration()
        self._draw_learning()
        self._draw_curve()
        self._draw_labels()
        return "\n\n".join(texts.values())

    @property
    def lacks_panels(self) -> bool:
        """Whether the runs that the panels show are recorded, and there are no panels."""
        return not self._panels.exists() and None not in map(self.study.result, voc_animals.SHOWN.values())

    def draw_panels(self, strategy: tf.distribute.Strategy) -> None:
        """Draws the first validation images: truth, predictions, and what the pseudo labels are made of."""
        for run in voc_animals.SHOWN.values():
            run_all(self.study.stages(run))  # the weights, of a run that was recorded elsewhere
        folders = {title: str(self.study.folder(run)) for title, run in voc_animals.SHOWN.items()}
        compare_runs(folders, self.study.run_dir / "panels", strategy)
        with Image.open(self.study.run_dir / "panels" / "panels.png") as sheet:
            # For a repository, half the size in 256 colours.
            small = sheet.convert("RGB").reduce(2).quantize(256).convert("RGB")
        save_png(self._panels, np.asarray(small))

    @property
    def _panels(self) -> Path:
        return self.pictures / "voc_animals_panels.png"

    def _calibration_tables(self) -> dict[str, str]:
        found = {labels: self.study.label_sources(run) for labels, run in voc_animals.CALIBRATED.items()}
        return {
            f"calibration {labels}": label_sources_table(sources) if sources else NOTHING
            for labels, sources in found.items()
        }

    def _error_table(self) -> str:
        results = {title: self.study.result(run) for title, run in voc_animals.COMPARED.items()}
        return error_table({title: result for title, result in results.items() if result})

    def _training_table(self) -> str:
        watched = {title: self.study.scalars(run) for title, run in voc_animals.WATCHED.items()}
        return training_table({title: scalars for title, scalars in watched.items() if scalars})

    def _masks_table(self) -> str:
        scores = {title: self.study.masks(run) for title, run in voc_animals.MASKS.items()}
        return masks_table({title: found for title, found in scores.items() if found})

    def _draw_calibration(self) -> None:
        for labels, run in voc_animals.CALIBRATED.items():
            if sources := self.study.label_sources(run):
                path = self.pictures / f"voc_animals_calibration_{labels}.png"
                save_figure(label_sources_diagram(sources), path)

    def _draw_learning(self) -> None:
        if scalars := self.study.scalars(voc_animals.SHOWN["PseudoSeg"]):
            names = {"decoder": "decoder", "SGC": "sgc", "fusion": "fusion"}
            curves: dict[str, dict[float, list[float]]] = {
                title: {step: [100 * value] for step, value in scalars[f"{name}/accuracy"].items()}
                for title, name in names.items()
            }
            figure = line_chart(curves, x_label="steps", y_label="pixel accuracy, %")
            save_figure(figure, self.pictures / "voc_animals_learning.png")

    def _draw_curve(self) -> None:
        if recorded := mean_ious(voc_animals.MAIN, self.study):
            ticks: dict[float, str] = {number: title for title, number in voc_animals.NUM_MASKS.items()}
            curves: dict[str, dict[float, list[float]]] = {
                method: {voc_animals.NUM_MASKS[column]: values for column, values in row.items()}
                for method, row in recorded.items()
            }
            figure = line_chart(curves, x_label="labelled masks", y_label="mIoU, %", log_ticks=ticks)
            save_figure(figure, self.pictures / "voc_animals_curve.png")

    def _draw_labels(self) -> None:
        if recorded := mean_ious(voc_animals.LABELS, self.study):
            curves: dict[str, dict[float, list[float]]] = {
                title: {voc_animals.labeling_minutes(title, column): values for column, values in row.items()}
                for title, row in recorded.items()
            }
            ticks: dict[float, str] = {minutes: f"{minutes}" for minutes in (100, 200, 400, 800, 1600)}
            figure = line_chart(curves, x_label="minutes of labelling", y_label="mIoU, %", log_ticks=ticks, apart=False)
            save_figure(figure, self.pictures / "voc_animals_labels.png")
