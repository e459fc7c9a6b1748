"""What `wss-label` does: predict a split, select, write, and tell."""

import itertools
import math
import os

import numpy as np
from etils import epath

from wss.data.example import validate_records
from wss.errors import UserError
from wss.evaluation.tables import format_table
from wss.jobs.output_folder import replacing
from wss.jobs.processes import ConversionStoppedError
from wss.methods.dars.class_quotas import distribution
from wss.methods.dars.confidence import NUM_PATTERNS
from wss.progress import track
from wss.pseudo_labels.dataset_writer import SPLIT, Policy, Runner, labeled_pixels, write_pseudo_split
from wss.pseudo_labels.predicting import (
    PredictJob,
    TeacherSpec,
    describe,
    open_teacher,
    predict_part,
    predicting,
    temperature_of,
)
from wss.pseudo_labels.prediction_store import Predictions


def label(
    spec: TeacherSpec,
    split: str,
    labeled_split: str,
    output_dir: str,
    policy: Policy,
    predictions_dir: str | None = None,
    *,
    temperature: float = 1.0,
    fit_on: str | None = None,
    runner: Runner = Runner(),  # noqa: B008  frozen
    overwrite: bool = False,
    write_pngs: bool = True,
    write_confidences: bool = False,
) -> dict:
    """Predicts a split, unless that is done, and writes it with pseudo labels.

    Args:
        spec: the teacher.
        split: to label.
        labeled_split: whose masks give the target distribution.
        output_dir: for the data set.
        policy: which predictions become labels.
        predictions_dir: where they are, or will be kept; None keeps them beside `output_dir` until it is complete.
        temperature: logits are divided by it.
        fit_on: split to fit the temperature on instead; None for `temperature`.
        runner: where to work.
        overwrite, write_pngs, write_confidences: see `write_pseudo_split`.

    Returns:
        The manifest.
    """
    teacher = open_teacher(spec)
    info = teacher.run.info
    pixels = labeled_pixels(info, labeled_split)
    # What is missing shows before hours of prediction.
    policy.select(np.ones([info.num_classes, NUM_PATTERNS], np.int64), distribution(pixels))
    info.split(split)
    output = epath.Path(os.path.abspath(output_dir) if "://" not in output_dir else output_dir)
    predicted = predictions_dir or str(output.parent / f".{output.name}.predictions")
    with replacing(output_dir, overwrite) as folder:
        manifest = write_pseudo_split(
            folder,
            predict(spec, split, predicted, temperature=temperature, fit_on=fit_on, runner=runner),
            info,
            policy,
            pixels,
            {"labeled_split": labeled_split, "operative_config": teacher.config},
            runner,
            write_pngs=write_pngs,
            write_confidences=write_confidences,
        )
    if predictions_dir is None:
        epath.Path(predicted).rmtree()
    print(summary(manifest, output_dir))
    return manifest


def predict(
    spec: TeacherSpec,
    split: str,
    folder: str,
    *,
    temperature: float = 1.0,
    fit_on: str | None = None,
    shard: tuple[int, int] = (0, 1),
    runner: Runner = Runner(),  # noqa: B008
) -> Predictions:
    """Predicts what is missing in a folder of predictions; `shard` = (i, n) leaves all but each n-th part to others."""
    info = open_teacher(spec).run.info
    validate_records(info, split)
    if not 0 < temperature < math.inf:
        raise UserError(f"--temperature={temperature}: expected a number above 0")
    if fit_on is not None:
        temperature = temperature_of(folder, spec, fit_on)
    predictions = describe(folder, spec, split, temperature, fit_on)
    predictions.begin()
    mine = set(list(predictions.parts)[shard[0] :: shard[1]])
    jobs = [PredictJob(spec, predictions.only(part)) for part in predictions.missing() if part in mine]
    total = sum(sum(job.predictions.parts.values()) for job in jobs)
    try:
        if not jobs:
            print(f"{folder}: the predictions of {split} are there already")
        elif runner.beam_pipeline_options is not None:
            runner(predict_part, jobs, f"predicting {split}", total, accelerators=True)
        else:
            for _ in track(itertools.chain.from_iterable(map(predicting, jobs)), f"predicting {split}", total):
                pass
    except KeyboardInterrupt as error:
        raise ConversionStoppedError("interrupted; the same command goes on where it stopped") from error
    if not predictions.missing():
        predictions.remove_unfinished()
    return predictions


def summary(manifest: dict, output_dir: str) -> str:
    """Returns a table of what was kept of each class, and the figures under it."""
    selection, policy = manifest["selection"], manifest["policy"]
    rows = []
    columns = (selection[name] for name in ("quotas", "available", "thresholds", "candidates", "kept"))
    for name, share, quota, available, threshold, candidates, kept in zip(
        manifest["classes"], manifest["target_distribution"], *columns, strict=True
    ):
        shown = "-" if threshold is None else f"{threshold:.4f}"
        rows.append((name, 100 * share, quota, available, shown, candidates, kept))
    headers = ("class", "target %", "quota", "predicted", "threshold", "candidates", "kept")
    kept, total = sum(selection["kept"]), manifest["num_pixels"]
    facts = [f"{policy['name']}: {kept} of {total} pixels labelled ({100 * kept / total:.2f} %)"]
    if kept:
        facts.append(f"KL divergence to the labelled classes {_number(manifest['kl_to_labeled'])}")
    if manifest["kl_to_true"] is not None:
        facts.append(f"to the true ones {_number(manifest['kl_to_true'])}")
    if manifest["accuracy"] is not None:
        facts.append(f"{100 * manifest['accuracy']:.2f} % of the labels are right")
    return "\n".join(
        [
            format_table(headers, rows),
            "",
            ", ".join(facts),
            f"{manifest['num_images']} images in {output_dir}, split {SPLIT}",
        ]
    )


def _number(value: float | None) -> str:
    return "infinite (a class has no label)" if value is None else f"{value:.4f}"
