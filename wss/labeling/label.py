"""What `wss-label` does: predict a split, select, write, and tell."""

import itertools
import os

import gin
import numpy as np
from etils import epath

from wss.data.schema import validate_records
from wss.errors import UserError
from wss.labeling.confidence import NUM_PATTERNS
from wss.labeling.predictions import (
    Predictions,
    PredictJob,
    TeacherSpec,
    fit_temperature,
    open_teacher,
    predict_part,
    predicting,
)
from wss.labeling.pseudo_split import SPLIT, Policy, Runner, labeled_pixels, write_pseudo_split
from wss.progress import track


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
    run, _, _ = open_teacher(spec)
    pixels = labeled_pixels(run.info, labeled_split)
    if not pixels.any():
        raise UserError(f"--labeled_split={labeled_split}: has no masks to take the distribution of the classes from")
    # What the policy lacks shows before hours of prediction.
    policy.select(np.ones([run.info.num_classes, NUM_PATTERNS], np.int64), pixels / pixels.sum())
    output = epath.Path(os.path.abspath(output_dir) if "://" not in output_dir else output_dir)
    folder = predictions_dir or str(output.parent / f".{output.name}.predictions")
    predictions = predict(spec, split, folder, temperature=temperature, fit_on=fit_on, runner=runner)
    manifest = write_pseudo_split(
        output_dir,
        predictions,
        run.info,
        policy,
        pixels,
        {"labeled_split": labeled_split, "operative_config": gin.config_str(max_line_length=120)},
        runner,
        overwrite=overwrite,
        write_pngs=write_pngs,
        write_confidences=write_confidences,
    )
    if predictions_dir is None:
        epath.Path(folder).rmtree()
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
    run, _, _ = open_teacher(spec)
    validate_records(run.info, split)
    if fit_on is not None:
        temperature = round(fit_temperature(spec, fit_on), 4)
        print(f"temperature {temperature}, fitted on {fit_on}")
    predictions = Predictions.of(folder, spec, split, temperature)
    mine = list(predictions.parts)[shard[0] :: shard[1]]
    jobs = [PredictJob(spec, predictions, part) for part in predictions.missing() if part in mine]
    total = sum(predictions.parts[job.part] for job in jobs)
    if not jobs:
        print(f"{folder}: the predictions of {split} are there already")
    elif runner.beam_pipeline_options is not None:
        runner(predict_part, jobs, f"predicting {split}", total, accelerators=True)
    else:
        for _ in track(itertools.chain.from_iterable(map(predicting, jobs)), f"predicting {split}", total):
            pass
    return predictions


def summary(manifest: dict, output_dir: str) -> str:
    """Returns a table of what was kept of each class, and the figures under it."""
    selection, policy = manifest["selection"], manifest["policy"]
    rows = [("class", "target %", "quota", "predicted", "threshold", "candidates", "kept")]
    columns = (selection[name] for name in ("quotas", "available", "thresholds", "candidates", "kept"))
    for name, share, quota, available, threshold, candidates, kept in zip(
        manifest["classes"], manifest["target_distribution"], *columns, strict=True
    ):
        numbers = [quota, available, "-" if threshold is None else f"{threshold:.4f}", candidates, kept]
        rows.append((name, f"{100 * share:.2f}", *map(str, numbers)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    kept, total = sum(selection["kept"]), manifest["num_pixels"]
    facts = [f"{policy['name']}: {kept} of {total} pixels labelled ({100 * kept / total:.2f} %)"]
    if kept:
        facts.append(f"KL divergence to the labelled classes {_number(manifest['kl_to_labeled'])}")
    if manifest["kl_to_true"] is not None:
        facts.append(f"to the true ones {_number(manifest['kl_to_true'])}")
    if manifest["accuracy"] is not None:
        facts.append(f"{100 * manifest['accuracy']:.2f} % of the labels are right")
    return "\n".join([*lines, ", ".join(facts), f"{manifest['num_images']} images in {output_dir}, split {SPLIT}"])


def _number(value: float | None) -> str:
    return "infinite (a class has no label)" if value is None else f"{value:.4f}"
