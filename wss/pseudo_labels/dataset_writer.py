"""From predictions to a data set of pseudo labels: thresholds, the draw, and records with the new masks."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from wss.conversion.writer import shard_names
from wss.data.dataset_info import FILE_NAME, SPLITS_FOLDER, DatasetInfo
from wss.data.record_index import SUFFIX
from wss.data.splits import Split, Statistics, write_splits
from wss.errors import UserError
from wss.files import write_text
from wss.jobs.beam import make_pipeline, run_beam
from wss.jobs.output_folder import DONE, LOCK, keep_only
from wss.jobs.processes import run_jobs
from wss.methods.dars import exact_sampling as sampling
from wss.methods.dars import policies
from wss.methods.dars.class_quotas import distribution, kl_divergence
from wss.pseudo_labels.jobs import PNGS, SelectJob, count_part, partial_of, write_part
from wss.pseudo_labels.prediction_store import Predictions, entries_of, only_file

MANIFEST, SPLIT = "manifest.json", "pseudo"
PLAN = ".plan"


@dataclasses.dataclass(frozen=True)
class Runner:
    """Where jobs run: in `workers` processes (0: see `run_jobs`), or on Apache Beam."""

    workers: int = 0
    beam_pipeline_options: str | None = None

    def __call__(self, function: Callable, jobs: Sequence, what: str, total: int, accelerators: bool = False) -> None:
        """Calls `function(job, tick)` for all jobs; `total` counts the images."""
        if self.beam_pipeline_options is None:
            run_jobs(function, jobs, self.workers, what, total)
        else:
            run_beam(function, jobs, make_pipeline(self.beam_pipeline_options), accelerators)


@dataclasses.dataclass(frozen=True)
class Policy:
    """Which predictions become labels; see `policies.select`.

    Attributes:
        name: one of `policies.POLICIES`.
        alpha: share of the pixels, or None with a `threshold`.
        threshold: for "threshold".
        sample: for "dars".
        rounding: of the quotas.
        seed: of the draw.
    """

    name: str = "dars"
    alpha: float | None = None
    threshold: float | None = None
    sample: str = "candidates"
    rounding: str = "largest_remainder"
    seed: int = 0

    def select(self, histogram: np.ndarray, target: np.ndarray | None) -> policies.Selection:
        """Returns what is kept of predictions with this histogram, for a target distribution [C]."""
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
    policy: Policy,
    target_pixels: np.ndarray,
    manifest: dict,
    runner: Runner,
    *,
    write_pngs: bool = True,
    write_confidences: bool = False,
) -> dict:
    """Writes a data set whose split "pseudo" has the images of the predictions with pseudo labels for masks.

    Args:
        folder: The folder that `output_folder.replacing` gives; what an earlier, killed call with the same arguments
            finished there stays.
        predictions: of the whole split.
        info: the data set that they are of.
        policy: which of them become labels.
        target_pixels: int64 [C], labelled pixels of each class, whose distribution is aligned to and compared with.
        manifest: what to record besides.
        runner: where to work.
        write_pngs: also write the labels as PNGs in the data set's colours, for people.
        write_confidences: also keep the confidence of every pixel in the records: a 16-bit PNG of the bits of fp16.

    Returns:
        The manifest, which also lies in the folder.
    """
    selection = policy.select(predictions.histogram(), distribution(target_pixels))
    files = dict(zip(predictions.parts, shard_names(SPLIT, len(predictions.parts)), strict=True))
    total = sum(predictions.parts.values())
    plan = [predictions.fingerprint, files, dataclasses.asdict(policy), selection.to_json()]
    _begin(folder, json.dumps([*plan, write_pngs, write_confidences]))

    def jobs_at(cut: sampling.Cut, number: int) -> list[SelectJob]:
        """One job for each part, which knows of no other: together they would be large."""
        options = {"write_pngs": write_pngs, "write_confidences": write_confidences}
        return [
            SelectJob(
                predictions.only(part),
                only_file(info, predictions.split, part),
                str(folder),
                file,
                policy.seed,
                selection,
                cut,
                number,
                **options,
            )
            for part, file in files.items()
        ]

    cut, number = sampling.Cut.start(selection), 0
    while not cut.finished:
        jobs = jobs_at(cut, number)
        runner(count_part, jobs, f"drawing, pass {number + 1}", total)
        cut, number = cut.refine(sampling.merge(map(partial_of, jobs))), number + 1
    jobs = jobs_at(cut, number)
    runner(write_part, jobs, "writing labels", total)
    found = [json.loads(job.path(DONE).read_text()) for job in jobs]
    _check_counts(found, selection, info)
    manifest = {**manifest, **_summary(policy, selection, info, predictions, target_pixels, found)}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    labeled = dataclasses.replace(
        info,
        name=f"{info.name}_pseudo",
        splits={},
        directory=str(folder),
        provenance={"command": "wss-label", "manifest": MANIFEST},
    )
    write_splits(labeled, {SPLIT: list(files.values())}, {SPLIT: Split((SPLIT,))})
    records = {name for file in files.values() for name in (file, file + SUFFIX)}
    keep_only(folder, {FILE_NAME, SPLITS_FOLDER, MANIFEST, *records, *([PNGS] if write_pngs else [])})
    return manifest


def _begin(folder: epath.Path, plan: str) -> None:
    """Leaves what was finished under the same plan, and nothing else."""
    fingerprint = hashlib.sha256(plan.encode()).hexdigest()
    file = folder / PLAN
    if not file.exists() or file.read_text() != fingerprint:
        keep_only(folder, {LOCK})
        write_text(file, fingerprint)


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
    selection: policies.Selection,
    info: DatasetInfo,
    predictions: Predictions,
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
    """JSON has no infinity: None says that a class has no label at all."""
    return value if np.isfinite(value) else None


def _true_pixels(info: DatasetInfo, split: str) -> np.ndarray | None:
    """int64 [C], pixels of each class in the masks of a split; None if not all of its images have one."""
    found = info.split(split)
    return labeled_pixels(info, split) if found.num_masks == found.num_examples else None


def labeled_pixels(info: DatasetInfo, split: str) -> np.ndarray:
    """Returns the number of pixels of each class in the masks of a split, int64 [C], from its index.

    Raises:
        UserError: it has none.
    """
    if not info.split(split).num_masks:
        raise UserError(
            f"split {split!r} of {info.directory} has no masks to take the distribution of the classes from"
        )
    statistics = Statistics()
    for entry in entries_of(info, split):
        statistics.add(entry)
    return statistics.pixels[: info.num_classes]
