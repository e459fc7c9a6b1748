"""The page of a run: its numbers, curves, photos and settings, and what to notice in them."""

import datetime
import importlib.metadata
import os
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gin
import numpy as np
import tensorflow as tf

import wss
from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.splits import entries_of
from wss.evaluation.evaluation import default_split
from wss.evaluation.result import Result, read_json
from wss.evaluation.tables import check_comparable
from wss.experiment import OpenRun, open_run
from wss.pages.chosen_photos import ChosenPhotos, choose_photos, predictions_for
from wss.pages.document import picture, require_pages, write_page
from wss.pages.findings import Finding, pseudo_label_findings, result_findings
from wss.run_directory import RunDirectory
from wss.training.run_record import RunRecord, changed_between, saved_parameters
from wss.training.summaries import read_scalars
from wss.training.validation import advice, mean_iou_by_step
from wss.visualization.charts import confusion_chart, curve_chart, reliability_diagram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("tensorflow", "keras", "numpy")
QUALITIES = ("accuracy", "precision", "recall")  # of pseudo labels: the last part of a scalar's name
MOST_IN_CHART = 40  # classes of a confusion matrix
MOST_CONFUSIONS = 12  # pairs of classes


def write_run_report(
    run_dir: str,
    strategy: tf.distribute.Strategy,
    *,
    output: str | os.PathLike | None = None,
    others: Sequence[str] = (),
    parameters: Sequence[str] = (),
    weights: str = "best",
) -> Path:
    """Writes the page of a run, see `wss.pages.document`.

    Args:
        run_dir: Folder of the run.
        strategy: Strategy to run under.
        output: The HTML file; None for report.html in the folder.
        others: Folders of runs to compare with, of the same data.
        parameters: Gin bindings over the run's own.
        weights: "best" or "last", see `open_run`.

    Returns:
        The file.

    Raises:
        UserError: A package is missing, a run cannot be opened, or others were measured on other data.
        WriteError: The file cannot be written.
    """
    require_pages()
    run = open_run(run_dir, parameters, strategy, weights=weights, folded=True)
    split = default_split()
    folders = {title: RunDirectory(Path(folder)) for title, folder in _titled([run_dir, *others]).items()}
    results = {title: result_of(folder, split) for title, folder in folders.items()}
    check_comparable({title: result for title, result in results.items() if result})
    content = _content(run, split, folders=folders, results=results)
    chosen = choose_photos(run, split)
    predicted = {
        title: predictions_for(open_run(str(folder.path), [], strategy, weights=weights, folded=True), split, chosen)
        for title, folder in list(folders.items())[1:]
    }
    kinds = _photos(chosen, run, predicted, title=content["own"] if predicted else "prediction")
    path = Path(output or run.directory.report)
    write_page(path, "run.html", looked_at=chosen.looked_at, kinds=kinds, **content)
    return path


def result_of(run: RunDirectory, split: str) -> Result | None:
    """Returns the last evaluation of a run on a split; None without one."""
    path = run.evaluation(split)
    return read_json(path) if path.exists() else None


def _titled(folders: Sequence[str]) -> dict[str, str]:
    """Returns run directories by the shortest ends of their paths that tell them apart."""
    parts = [path.parts for path in dict.fromkeys(Path(folder).absolute() for folder in folders)]
    length = next(n for n in range(1, max(map(len, parts)) + 1) if len({path[-n:] for path in parts}) == len(parts))
    return {"/".join(path[-length:]): str(Path(*path)) for path in parts}


def _content(
    run: OpenRun, split: str, *, folders: Mapping[str, RunDirectory], results: Mapping[str, Result | None]
) -> dict[str, Any]:
    """Returns what the page says without looking at photos; the first of the folders is the run's."""
    info, own = run.info, next(iter(folders))
    labeled = (
        gin.get_bindings("TrainingData").get("labeled_split", "train") if "labeled" in run.method.streams else None
    )
    masks, measured = labeled and masks_with(info, labeled), masks_with(info, split)
    result, scalars = results[own], read_scalars(run.directory.summaries)
    curves = {title: mean_iou_by_step(folder) for title, folder in folders.items()}
    others = {title: found for title, found in results.items() if title != own and found}
    return {
        "title": f"{own} on {info.name}",
        "subtitle": f"{type(run.method).__name__}, evaluated on {split!r}; {run.weights}. {_now()}.",
        "written_by": f"wss-report --run_dir={shlex.quote(str(run.directory.path))}",
        "info": info,
        "split": split,
        "labeled": labeled,
        "own": own,
        "result": result,
        "others": others,
        "findings": _findings(run, result, scalars, curves[own], masks=masks, measured=measured),
        "charts": dict(_charts(result, scalars, curves)),
        "classes": _classes(info, result, others, masks=masks, measured=measured),
        "confusions": _confusions(result),
        "splits": _splits(run, split),
        "commands": _commands(run.directory.path),
        "configuration": run.directory.config.read_text(errors="replace"),
        "differences": {
            title: changed_between(saved_parameters(run.directory), saved_parameters(folder))
            for title, folder in folders.items()
            if title != own
        },
        "versions": _versions(),
        "num_images": info.split(split).num_examples,
    }


def masks_with(info: DatasetInfo, split: str) -> list[int]:
    """Returns in how many masks of a split each of the C classes occurs."""
    counts = np.zeros(info.num_classes, np.int64)
    for entry in entries_of(info, split):
        counts[[label for label in entry.pixels or () if label < info.num_classes]] += 1
    return counts.tolist()


def _findings(
    run: OpenRun,
    result: Result | None,
    scalars: Mapping[str, Mapping[int, float]],
    mean_iou: Mapping[int, float],
    *,
    masks: Sequence[int] | None,
    measured: Sequence[int],
) -> list[Finding]:
    first = int(run.info.has_background)
    found = [Finding("This run is not evaluated yet: wss-eval adds the numbers.")] if result is None else []
    if result is not None:
        found += result_findings(result, masks=masks, measured=measured, first_class=first)
        if result.step is not None and result.step != run.step:
            found.append(
                Finding(f"The numbers are of step {result.step}, the photos of step {run.step}: run wss-eval again.")
            )
    if line := advice(mean_iou, max(mean_iou, default=0)):
        found.append(Finding(f"{line}."))
    found += pseudo_label_findings(scalars)
    if run.weights.endswith("(the run has not finished)"):
        found.append(Finding("The run has not finished."))
    if gin.get_bindings("train").get("keep_best"):
        text = "The best step was chosen on the photos that it is measured on, so its mIoU is somewhat too high."
        found.append(Finding(text, warns=False))
    record = RunRecord.read(run.directory)
    for change in record.changes if record else ():
        changed = ", ".join(f"{name} from {old} to {new}" for name, (old, new) in change["changed"].items())
        found.append(Finding(f"Changed after step {change['after_step']}: {changed}.", warns=False))
    return found


def _charts(
    result: Result | None,
    scalars: Mapping[str, Mapping[int, float]],
    curves: Mapping[str, Mapping[int, float]],
) -> Iterator[tuple[str, "Figure"]]:
    """Yields captions and charts, of what there is."""
    if any(curves.values()):
        percent = {title: {step: 100 * value for step, value in curve.items()} for title, curve in curves.items()}
        yield "mIoU of the evaluations on the way", curve_chart(percent, y_label="mIoU (%)")
    losses = _losses(scalars)
    if any(value > 0 for by_step in losses.values() for value in by_step.values()):
        yield "Losses", curve_chart(losses, y_label="loss", log=True)
    qualities = {
        name: {step: 100 * value for step, value in by_step.items()}
        for name, by_step in scalars.items()
        if name.rpartition("/")[2] in QUALITIES
    }
    if qualities:
        yield "Pseudo labels on the photos of a step whose masks or tags are known", curve_chart(qualities, y_label="%")
    if result is None:
        return
    if len(result.class_names) <= MOST_IN_CHART:
        yield "Which classes are taken for which", confusion_chart(result.confusion, result.class_names)
    yield "Confidence and accuracy of the pixels", reliability_diagram({"prediction": result.calibration})


def _losses(scalars: Mapping[str, Mapping[int, float]]) -> dict[str, Mapping[int, float]]:
    """Returns the losses among scalars: `TrainStep` gives them first, from "total" to "weight_decay"."""
    names = list(scalars)
    if "total" not in names or "weight_decay" not in names:
        return {}
    return {name: scalars[name] for name in names[names.index("total") : names.index("weight_decay") + 1]}


def _classes(
    info: DatasetInfo,
    result: Result | None,
    others: Mapping[str, Result],
    *,
    masks: Sequence[int] | None,
    measured: Sequence[int],
) -> list[dict[str, Any]]:
    """Returns a row for each class."""
    return [
        {
            "name": name,
            "color": info.colors[c],
            "masks": masks[c] if masks else None,
            "measured": measured[c],
            "iou": result.iou[name] if result else None,
            "accuracy": result.accuracy[name] if result else None,
            "share": result.pixel_share[name] if result else None,
            "others": [other.iou[name] for other in others.values()],
        }
        for c, name in enumerate(info.class_names)
    ]


def _confusions(result: Result | None) -> list[tuple[str, str, float, float]]:
    """Returns the pairs of true and predicted class with most pixels: names, share of the class, share of all errors."""
    if result is None:
        return []
    wrong = result.confusion * (1 - np.eye(len(result.class_names), dtype=np.int64))
    order = np.argsort(-wrong, axis=None)[:MOST_CONFUSIONS]
    rows, columns = np.unravel_index(order, wrong.shape)
    names, of_class = result.class_names, result.confusion.sum(axis=1)
    return [
        (names[row], names[column], wrong[row, column] / of_class[row], wrong[row, column] / wrong.sum())
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if wrong[row, column]
    ]


def _photos(
    chosen: ChosenPhotos, run: OpenRun, predicted: Mapping[str, Mapping[str, np.ndarray]], *, title: str
) -> dict[str, list[dict[str, Any]]]:
    """Returns the photos of each kind: id, score, tiles, and the classes in it with their colours."""
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind, photos in chosen.kinds.items() if photos}
    for kind, scored, columns, labels in chosen.pictures(run, predicted, title=title):
        kinds[kind].append(
            {
                "name": scored.photo.name,
                "score": scored.score,
                "tiles": [(caption, picture(image)) for caption, image in columns],
                "classes": [c for c in labels if c < run.info.num_classes and c != run.info.ignore_label],
            }
        )
    return kinds


def _splits(run: OpenRun, evaluated: str) -> dict[str, SplitInfo]:
    """Returns the splits of the data set that the run read, and that of the evaluation; pseudo labels lie elsewhere."""
    record = RunRecord.read(run.directory)
    read = [] if record is None else [name.rpartition(": ")[2] for name in record.splits]
    return {name: run.info.splits[name] for name in dict.fromkeys([*read, evaluated]) if name in run.info.splits}


def _commands(folder: Path) -> list[str]:
    run_dir = f"--run_dir={folder}"
    commands = [
        ["wss-eval", run_dir],
        ["wss-vis", run_dir, f"--output={folder / 'pictures'}", "--images=photos"],
        ["wss-label", run_dir, f"--output_dir={folder}_labels"],
        ["wss-train", f"--gin_file={folder / 'operative_config.gin'}", f"--run_dir={folder}_again"],
        ["tensorboard", f"--logdir={folder}"],
    ]
    return [shlex.join(command) for command in commands]


def _versions() -> str:
    packages = [f"wss {wss.__version__}", *(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)]
    return ", ".join([*packages, f"Python {platform.python_version()}", platform.platform(terse=True)])


def _now() -> str:
    return datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
