"""Looks into the records of a built data set: numbers and pictures of each split, and what is wrong with it.

python tools/inspect_dataset.py --dataset=data/voc2012 --output=inspection [--splits=train,val] [--sample=500]

Prints report.txt. Beside it in --output are report.json with all numbers, <split>.png with thumbnails of images, their masks
and boxes, and report.html with all of it on one page, where wss[report] is installed. Nothing that dataset.json says is
believed: every record is read.

Exit code 0: nothing is wrong; there may be notes. 2: wrong flags, or the report cannot be written.
1: there are problems: damaged files or records, masks of another size than their images, labels that are no class, boxes
outside of their images or with swapped edges, masks of only 0 and "ignored", a class that a split for training with masks
never shows, an id twice in a split, images or ids of an evaluation split in a training split, or a dataset.json or index
that does not fit the records.
"""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from wss.command import run_main
from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError, did_you_mean
from wss.files import write_text
from wss.next_step import say_next

if TYPE_CHECKING:
    import numpy as np

    from wss.inspection.inspect import Inspection

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", None, "Folder of the records, with dataset.json in it.", required=True)
flags.DEFINE_string("output", None, "Folder for the report and the pictures.", required=True)
flags.DEFINE_list("splits", [], "Splits to look into, and to compare with each other; all by default.")
flags.DEFINE_list("eval_splits", [], "Splits to evaluate on; by default those whose names begin with val or test.")
flags.DEFINE_integer("sample", 0, "Decode only so many images of a split, evenly spread; 0 decodes all.", lower_bound=0)
flags.DEFINE_integer("sheet_images", 24, "Images in the picture of a split; 0 draws none.", lower_bound=0)


def main(argv: list[str]) -> int:
    """Writes the report and the pictures, prints the report and returns the exit code."""
    from wss.inspection.findings import PROBLEM, find
    from wss.inspection.inspect import inspect_split
    from wss.inspection.next_training import is_for_evaluation, training_command
    from wss.inspection.report import report
    from wss.pages.dataset_report import write_inspection_page
    from wss.pages.document import has_pages

    info = DatasetInfo.load(FLAGS.dataset)
    splits = FLAGS.splits or list(info.splits)
    for split in splits:
        info.split(split)
    eval_splits = FLAGS.eval_splits or [split for split in splits if is_for_evaluation(split)]
    for split in eval_splits:
        if split not in splits:
            raise UserError(f"--eval_splits={split}: not among {', '.join(splits)}.{did_you_mean(split, splits)}")
    output = Path(FLAGS.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output={output}: cannot be made ({error.strerror}); expected a folder") from error
    inspections, sheets = [], {}
    for split in splits:
        inspection = inspect_split(info, split, FLAGS.sample, sheet_images=FLAGS.sheet_images)
        if (sheet := draw_sheet(info, inspection, output / f"{split}.png")) is not None:
            sheets[split] = sheet
        inspections.append(inspection)
    findings = find(info, inspections, eval_splits)
    summaries = {inspection.name: inspection.summary(info) for inspection in inspections}
    content = {
        "dataset": info.name,
        "directory": info.directory,
        "splits": summaries,
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }
    text = report(info, summaries, findings)
    write_text(output / "report.json", json.dumps(content, indent=1) + "\n")
    write_text(output / "report.txt", text)
    print(text, end="")
    if has_pages():
        command = f"python tools/inspect_dataset.py --dataset={info.directory}"
        page = output / "report.html"
        write_inspection_page(page, info, summaries, findings=findings, sheets=sheets, command=command)
    wrong = any(finding.level == PROBLEM for finding in findings)
    say_next([] if wrong else training_command(info))
    return int(wrong)


def draw_sheet(info: DatasetInfo, inspection: "Inspection", path: Path) -> "np.ndarray | None":
    """Writes the contact sheet of a split and forgets its images; an older picture goes if there is nothing to show.

    Returns:
        The sheet, uint8 [H, W, 3]; None without images.
    """
    from wss.inspection.contact_sheet import contact_sheet
    from wss.visualization.picture_files import save_png

    chosen = inspection.candidates.choose(inspection.rarest_first(info))
    inspection.candidates.clear()
    records = [candidate.serialized for candidate in chosen]
    note = f"{len(chosen)} of {inspection.num_images} images"
    try:
        if records:
            title = f"{info.name}: {inspection.name}"
            sheet = contact_sheet(info, records, title=title, note=note, hide_masks=inspection.masks_hidden)
            save_png(path, sheet)
            return sheet
        path.unlink(missing_ok=True)
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


if __name__ == "__main__":
    run_main(main)
