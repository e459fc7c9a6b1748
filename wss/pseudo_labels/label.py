"""Labels a split as `wss-label` does: predictions, selection, a new data set, and a table of what was kept."""

import itertools
import math
import os
from collections.abc import Sequence

import numpy as np
from etils import epath

from wss.data.dataset_info import FILE_NAME
from wss.data.record_damage import check_unique, validate_records
from wss.data.splits import entries_of
from wss.errors import Interrupted, UserError
from wss.jobs.output_folder import GOES_ON, replacing
from wss.jobs.runner import Runner
from wss.methods.dars.class_quotas import distribution
from wss.methods.dars.confidence import NUM_PATTERNS
from wss.progress import track
from wss.pseudo_labels.dataset_writer import SPLIT, Policy, labeled_pixels, write_pseudo_split
from wss.pseudo_labels.predicting import PredictJob, predict_part, predicting, temperature_of
from wss.pseudo_labels.prediction_store import Predictions
from wss.pseudo_labels.teacher import Teacher
from wss.tables import format_table


def label(
    teacher: Teacher,
    split: str,
    labeled_split: str,
    *,
    output_dir: str,
    policy: Policy,
    predictions_dir: str | None = None,
    temperature: float = 1.0,
    fit_on: str | None = None,
    runner: Runner = Runner(),  # noqa: B008  frozen
    overwrite: bool = False,
    write_pngs: bool = True,
    write_confidences: bool = False,
) -> dict:
    """Predicts a split, unless that is done, and writes it with pseudo labels.

    Args:
        teacher: The open teacher.
        split: Name of the split to label.
        labeled_split: Name of the split whose masks give the target distribution.
        output_dir: Folder of the new data set.
        policy: Which predictions become labels.
        predictions_dir: Folder of the predictions; None keeps them beside `output_dir` until it is complete.
        temperature: Number that logits are divided by.
        fit_on: Split to fit the temperature on instead; None for `temperature`.
        runner: Where the jobs run.
        overwrite: Whether to replace a data set in `output_dir`.
        write_pngs: Whether to write the labels as PNGs too.
        write_confidences: Whether to keep the confidences in the records.

    Returns:
        The manifest.
    """
    info = teacher.run.info
    pixels = labeled_pixels(info, labeled_split)
    # What is missing shows before hours of prediction.
    policy.select(np.ones([info.num_classes, NUM_PATTERNS], np.int64), distribution(pixels))
    info.split(split)
    output = epath.Path(os.path.abspath(output_dir) if "://" not in output_dir else output_dir)
    predicted = predictions_dir or str(output.parent / f".{output.name}.predictions")
    with replacing(output_dir, overwrite, content_file=FILE_NAME) as folder:
        manifest = write_pseudo_split(
            folder,
            predict(teacher, split, predicted, temperature=temperature, fit_on=fit_on, runner=runner),
            info,
            policy=policy,
            target_pixels=pixels,
            manifest={"labeled_split": labeled_split, "operative_config": teacher.config},
            runner=runner,
            write_pngs=write_pngs,
            write_confidences=write_confidences,
        )
    if predictions_dir is None:
        epath.Path(predicted).rmtree()
    print(summary(manifest, output_dir))
    return manifest


def predict(
    teacher: Teacher,
    split: str,
    folder: str,
    *,
    temperature: float = 1.0,
    fit_on: str | None = None,
    shard: tuple[int, int] = (0, 1),
    runner: Runner = Runner(),  # noqa: B008
) -> Predictions:
    """Predicts what is missing in a folder of predictions.

    Args:
        teacher: The open teacher.
        split: Name of the split to predict.
        folder: Folder of the predictions.
        temperature: Number that logits are divided by.
        fit_on: Split to fit the temperature on instead; None for `temperature`.
        shard: (i, n) takes the record files i, i + n, ... of the split and leaves the others to other hosts.
        runner: Where the jobs run; on processes they are those of this process, which has the devices.
    """
    info = teacher.run.info
    validate_records(info, split)
    check_unique(info, split, (entry.id for entry in entries_of(info, split)), set())
    if not 0 < temperature < math.inf:
        raise UserError(f"--temperature={temperature}: expected a number above 0")
    if fit_on is not None:
        temperature = temperature_of(folder, teacher, fit_on)
    predictions = teacher.predictions(folder, split, temperature=temperature, fitted_on=fit_on)
    predictions.begin()
    mine = set(list(predictions.parts)[shard[0] :: shard[1]])
    missing = [predictions.only(part) for part in predictions.missing() if part in mine]
    try:
        if missing:
            _predict_parts(teacher, missing, runner)
        else:
            print(f"{folder}: the predictions of {split} are there already")
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted by Ctrl-C; {GOES_ON}") from error
    if not predictions.missing():
        predictions.remove_unfinished()
    return predictions


def _predict_parts(teacher: Teacher, parts: Sequence[Predictions], runner: Runner) -> None:
    """Predicts record files of one split, each of which has predictions of its own."""
    split, total = parts[0].split, sum(sum(part.parts.values()) for part in parts)
    what = f"predicting {split}"
    if runner.beam_pipeline_options is not None:
        jobs = [PredictJob(teacher.description, part) for part in parts]
        runner(predict_part, jobs, what, total=total, accelerators=True)
        return
    predictor, info = teacher.predictor(split), teacher.run.info
    names = itertools.chain.from_iterable(predicting(predictor, info, part) for part in parts)
    for _ in track(names, what, total):
        pass


def summary(manifest: dict, output_dir: str) -> str:
    """Returns a table of what was kept of each class, and the figures under it."""
    return "\n".join([format_table(*summary_table(manifest)), "", *summary_facts(manifest, output_dir)])


def summary_table(manifest: dict) -> tuple[Sequence[str], list[tuple]]:
    """Returns the headers and the rows of what was kept of each class."""
    selection, rows = manifest["selection"], []
    columns = (selection[name] for name in ("quotas", "available", "thresholds", "candidates", "kept"))
    for name, share, quota, available, threshold, candidates, kept in zip(
        manifest["classes"], manifest["target_distribution"], *columns, strict=True
    ):
        shown = "-" if threshold is None else f"{threshold:.4f}"
        rows.append((name, 100 * share, quota, available, shown, candidates, kept))
    return ("class", "target %", "quota", "predicted", "threshold", "candidates", "kept"), rows


def summary_facts(manifest: dict, output_dir: str) -> list[str]:
    """Returns the figures of all classes together, in two lines."""
    kept, total = sum(manifest["selection"]["kept"]), manifest["num_pixels"]
    facts = [f"{manifest['policy']['name']}: {kept} of {total} pixels labelled ({100 * kept / total:.2f} %)"]
    if kept:
        facts.append(f"KL divergence to the labelled classes {_number(manifest['kl_to_labeled'])}")
    if manifest["kl_to_true"] is not None:
        facts.append(f"to the true ones {_number(manifest['kl_to_true'])}")
    if manifest["accuracy"] is not None:
        facts.append(f"{100 * manifest['accuracy']:.2f} % of the labels are right")
    return [", ".join(facts), f"{manifest['num_images']} images in {output_dir}, split {SPLIT}"]


def _number(value: float | None) -> str:
    return "infinite (a class has no label)" if value is None else f"{value:.4f}"
