"""What a study found, in documents and pictures: tables between their marks, a curve, reliability diagrams, panels."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from wss.evaluation.charts import line_chart
from wss.evaluation.parts import parts_diagram, parts_table
from wss.evaluation.pictures import save_png
from wss.evaluation.visualization import compare_runs
from wss.studies import voc_animals
from wss.studies.study import Study
from wss.studies.tables import NOTHING, write_block


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
        for name, text in texts.items():
            write_block(self.documents, name, text)
        if curve := voc_animals.MAIN.values(self.study):
            save_png(self.pictures / "voc_animals_curve.png", line_chart(curve, "mIoU, %", "labelled masks"))
        return "\n\n".join(texts.values())

    def draw_panels(self, strategy: tf.distribute.Strategy) -> None:
        """Draws the first validation images: truth, predictions, and what the pseudo labels are made of."""
        for run in voc_animals.SHOWN.values():
            self.study.train(run)
        folders = {title: str(self.study.folder(run)) for title, run in voc_animals.SHOWN.items()}
        compare_runs(folders, self.study.run_dir / "panels", strategy)
        with Image.open(self.study.run_dir / "panels" / "panels.png") as sheet:
            # A sixth of the bytes, for a repository.
            small = sheet.convert("RGB").reduce(2).quantize(256).convert("RGB")
        save_png(self.pictures / "voc_animals_panels.png", np.asarray(small))
