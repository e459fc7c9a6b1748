"""What a study found, in documents and pictures: tables between their marks, a curve, reliability diagrams, panels."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from wss.evaluation.label_sources import parts_diagram, parts_table
from wss.visualization.charts import line_chart
from wss.visualization.overlays import save_png
from wss.workflows.run_comparison import compare_runs
from wss.workflows.stages import run_all
from wss.workflows.studies import voc_animals
from wss.workflows.studies.study import Study
from wss.workflows.studies.tables import NOTHING, error_table, training_table, write_block


@dataclasses.dataclass(frozen=True)
class Report:
    """Where a study is reported.

    Attributes:
        documents: see `write_block`.
        pictures: folder.
    """

    study: Study
    documents: Sequence[Path]
    pictures: Path

    def write(self) -> str:
        """Writes what is recorded, and returns the tables."""
        texts = {name: table.markdown(self.study) for name, table in voc_animals.TABLES.items()}
        for labels, run in voc_animals.CALIBRATED.items():
            parts = self.study.parts(run)
            texts[f"calibration {labels}"] = parts_table(parts) if parts else NOTHING
            if parts:
                save_png(self.pictures / f"voc_animals_calibration_{labels}.png", parts_diagram(parts))
        results = {title: self.study.result(run) for title, run in voc_animals.COMPARED.items()}
        texts["errors"] = error_table({title: result for title, result in results.items() if result})
        watched = {title: self.study.scalars(run) for title, run in voc_animals.WATCHED.items()}
        texts["training"] = training_table({title: scalars for title, scalars in watched.items() if scalars})
        if scalars := self.study.scalars(voc_animals.SHOWN["PseudoSeg"]):
            curves = {
                part: {str(step): [100 * value] for step, value in scalars[f"{part}/accuracy"].items()}
                for part in ("decoder", "sgc", "fusion")
            }
            save_png(self.pictures / "voc_animals_learning.png", line_chart(curves, "pixel accuracy, %", "steps"))
        for name, text in texts.items():
            write_block(self.documents, name, text)
        if curve := voc_animals.MAIN.values(self.study):
            save_png(self.pictures / "voc_animals_curve.png", line_chart(curve, "mIoU, %", "labelled masks"))
        return "\n\n".join(texts.values())

    @property
    def lacks_panels(self) -> bool:
        """Whether the runs that the panels show are recorded, and there are no panels."""
        return not self._panels.exists() and None not in map(self.study.result, voc_animals.SHOWN.values())

    @property
    def _panels(self) -> Path:
        return self.pictures / "voc_animals_panels.png"

    def draw_panels(self, strategy: tf.distribute.Strategy) -> None:
        """Draws the first validation images: truth, predictions, and what the pseudo labels are made of."""
        for run in voc_animals.SHOWN.values():
            run_all(self.study.phases(run))  # the weights, of a run that was recorded elsewhere
        folders = {title: str(self.study.folder(run)) for title, run in voc_animals.SHOWN.items()}
        compare_runs(folders, self.study.run_dir / "panels", strategy)
        with Image.open(self.study.run_dir / "panels" / "panels.png") as sheet:
            # For a repository, half the size in 256 colours.
            small = sheet.convert("RGB").reduce(2).quantize(256).convert("RGB")
        save_png(self._panels, np.asarray(small))
