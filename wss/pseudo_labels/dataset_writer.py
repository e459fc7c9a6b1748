"""From predictions to a data set of pseudo labels: thresholds, random subsets, and records with the new masks."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from wss.conversion.writer import shard_names
from wss.data.dataset_info import FILE_NAME, SPLITS_FOLDER, DatasetInfo
from wss.data.record_index import SUFFIX
from wss.data.splits import Split, Statistics, entries_of, only_file, write_splits
from wss.errors import UserError
from wss.files import write_text
from wss.jobs.output_folder import keep_only
from wss.jobs.restartable import keep_same_plan
from wss.jobs.runner import Runner
from wss.methods.dars import exact_sampling as sampling
from wss.methods.dars import policies
from wss.methods.dars.class_quotas import distribution, kl_divergence
from wss.pseudo_labels.jobs import LabelJob, count_part, counts_of, found_by, write_part
from wss.pseudo_labels.labeled_records import PNGS
from wss.pseudo_labels.prediction_store import Predictions

MANIFEST, SPLIT = "manifest.json", "pseudo"


@dataclasses.dataclass(frozen=True)
class Policy:
    """The rule that says which predictions become labels; see `policies.select`.

    Attributes:
        name: One of `policies.POLICIES`.
        alpha: Share of the pixels, or None with a `threshold`.
        threshold: Confidence for "threshold".
        sample: What "dars" drops at random, one of `policies.SAMPLES`.
        rounding: Rounding of the quotas.
        seed: Seed of the random subsets.
    """

    name: str = "dars"
    alpha: float | None = None
    threshold: float | None = None
    sample: str = "candidates"
    rounding: str = "largest_remainder"
    seed: int = 0

    def select(self, histogram: np.ndarray, target: np.ndarray | None) -> policies.Selection:
        """Returns what is kept of predictions with this histogram, for a target distribution `[C]`."""
        return policies.select(
            self.name,
            histogram,
            alpha=self.alpha,
            distribution=target,
            threshold=self.threshold,
            rounding=self.rounding,
            sample=self.sample,
        )


def write_pseudo_split(
    folder: epath.Path,
    predictions: Predictions,
    info: DatasetInfo,
    *,
    policy: Policy,
    target_pixels: np.ndarray,
    manifest: dict,
    runner: Runner,
    write_pngs: bool = True,
    write_confidences: bool = False,
) -> dict:
    """Writes a data set whose split "pseudo" has the images of the predictions with pseudo labels for masks.

    Args:
        folder: The folder that `output_folder.replacing` gives. What an earlier, killed call with the same arguments
            finished there stays.
        predictions: The predictions of the whole split.
        info: The data set that they are of.
        policy: Which of them become labels.
        target_pixels: int64 `[C]`, labelled pixels of each class, whose distribution is aligned to and compared with.
        manifest: What to record besides.
        runner: Where the jobs run.
        write_pngs: Whether to write the labels also as PNGs in the data set's colours, for people.
        write_confidences: Whether to keep the confidence of every pixel in the records, as a 16-bit PNG of fp16's bits.

    Returns:
        The manifest, which also lies in the folder.
    """
    selection = policy.select(predictions.histogram(), distribution(target_pixels))
    options = {"write_pngs": write_pngs, "write_confidences": write_confidences}
    jobs = _planned(folder, predictions, info, policy=policy, selection=selection, options=options)
    total = sum(predictions.parts.values())
    jobs = _with_limits(jobs, runner, total)
    runner(write_part, jobs, "writing labels", total=total)
    found = [found_by(job) for job in jobs]
    _check_counts(found, selection, info)
    labels = _summary(policy, predictions, info, selection=selection, target_pixels=target_pixels, found=found)
    manifest = {**manifest, **labels}
    finish_dataset(folder, info, manifest, files=[job.file for job in jobs], has_pngs=write_pngs)
    return manifest


def _planned(
    folder: epath.Path,
    predictions: Predictions,
    info: DatasetInfo,
    *,
    policy: Policy,
    selection: policies.Selection,
    options: dict[str, bool],
) -> list[LabelJob]:
    """Returns a job for each record file, in a folder that has nothing of another plan."""
    files = dict(zip(predictions.parts, shard_names(SPLIT, len(predictions.parts)), strict=True))
    plan = [predictions.fingerprint, files, dataclasses.asdict(policy), selection.to_json(), *options.values()]
    fingerprint = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
    keep_same_plan(folder, fingerprint)
    limits = sampling.HashLimits.start(selection)
    return [
        # A job knows of no other file: together they would be large.
        LabelJob(
            predictions=predictions.only(part),
            info=only_file(info, predictions.split, part),
            folder=str(folder),
            file=file,
            fingerprint=fingerprint,
            seed=policy.seed,
            selection=selection,
            limits=limits,
            **options,
        )
        for part, file in files.items()
    ]


def _with_limits(jobs: Sequence[LabelJob], runner: Runner, total: int) -> list[LabelJob]:
    """Returns the jobs with the limits of the random subsets, after as many passes as that takes."""
    limits, number = jobs[0].limits, 0
    while not limits.finished:
        jobs = [dataclasses.replace(job, limits=limits, pass_number=number) for job in jobs]
        runner(count_part, jobs, f"counting, pass {number + 1}", total=total)
        limits, number = limits.refine(sampling.merge(map(counts_of, jobs))), number + 1
    return [dataclasses.replace(job, limits=limits, pass_number=number) for job in jobs]


def finish_dataset(
    folder: epath.Path,
    info: DatasetInfo,
    manifest: dict,
    *,
    files: list[str],
    has_pngs: bool,
    draw: Callable[[DatasetInfo], None] | None = None,
) -> None:
    """Writes manifest and data set over the record files, and removes everything else.

    Args:
        folder: Folder of the record files.
        info: The data set that was labelled.
        manifest: What to write of the labels.
        files: Names of the record files.
        has_pngs: Whether there is a folder of PNGs to keep.
        draw: Function that draws the finished data set; what was finished before is still known if it fails.
    """
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    labeled = dataclasses.replace(
        info,
        name=f"{info.name}_pseudo",
        splits={},
        directory=str(folder),
        provenance={"command": "wss-label", "manifest": MANIFEST},
    )
    labeled, _ = write_splits(labeled, {SPLIT: files}, {SPLIT: Split((SPLIT,))})
    if draw is not None:
        draw(labeled)
    records = {name for file in files for name in (file, file + SUFFIX)}
    keep_only(folder, {FILE_NAME, SPLITS_FOLDER, MANIFEST, *records, *([PNGS] if has_pngs else [])})


def _check_counts(found: Sequence[dict], selection: policies.Selection, info: DatasetInfo) -> None:
    counts = np.sum([part["counts"] for part in found], axis=0)
    if wrong := np.flatnonzero(counts != selection.kept).tolist():
        j = wrong[0]
        raise UserError(
            f"class {info.class_names[j]}: {counts[j]} pixels were labelled, expected {selection.kept[j]}; the "
            "predictions were changed meanwhile, run the command again with another --predictions_dir"
        )


def _summary(
    policy: Policy,
    predictions: Predictions,
    info: DatasetInfo,
    *,
    selection: policies.Selection,
    target_pixels: np.ndarray,
    found: Sequence[dict],
) -> dict:
    """Returns what the manifest says of the labels."""
    correct, known = (np.sum([part[name] for part in found], axis=0) for name in ("correct", "known"))
    truth = _true_pixels(info, predictions.split)
    digest = sum(int(part["digest"], 16) for part in found) % 2**128
    return {
        "predictions": predictions.content,
        "policy": dataclasses.asdict(policy),
        "classes": list(info.class_names),
        "target_distribution": distribution(target_pixels).tolist(),
        "num_images": sum(predictions.parts.values()),
        "num_pixels": int(selection.available.sum()),
        "selection": selection.to_json(),
        "kl_to_labeled": _finite(kl_divergence(target_pixels, selection.kept)) if selection.kept.any() else None,
        "kl_to_true": None
        if truth is None or not selection.kept.any()
        else _finite(kl_divergence(truth, selection.kept)),
        # Against masks that the split has all the same; None without.
        "accuracy": float(correct.sum() / known.sum()) if known.any() else None,
        "checksum": f"{digest:032x}",
    }


def _finite(value: float) -> float | None:
    """Returns None for infinity, which JSON has not: a class has no label at all."""
    return value if np.isfinite(value) else None


def _true_pixels(info: DatasetInfo, split: str) -> np.ndarray | None:
    """Returns int64 [C], pixels of each class in the masks of a split; None if not all of its images have one."""
    found = info.split(split)
    return labeled_pixels(info, split) if found.num_masks == found.num_examples else None


def labeled_pixels(info: DatasetInfo, split: str) -> np.ndarray:
    """Returns the number of pixels of each class in the masks of a split, int64 `[C]`, from its index.

    Raises:
        UserError: It has none.
    """
    if not info.split(split).num_masks:
        raise UserError(
            f"split {split!r} of {info.directory} has no masks to take the distribution of the classes from"
        )
    statistics = Statistics()
    for entry in entries_of(info, split):
        statistics.add(entry)
    return statistics.pixels[: info.num_classes]
