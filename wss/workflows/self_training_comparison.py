"""The rounds of self-training in numbers: what their labels are worth, and what their students learnt."""

import math
from pathlib import Path

from wss.evaluation.result import Result, read_json
from wss.files import load_json
from wss.pseudo_labels.dataset_writer import MANIFEST
from wss.tables import format_table
from wss.workflows.self_training_rounds import Plan

LABEL_FACTS = ("labelled", "right", "KL to labelled, 1e-3", "KL to true, 1e-3")


def rounds_table(plan: Plan, tail_share: float) -> str:
    """Returns a row for each finished round: its labels, and the mIoU of all classes and of the rare ones.

    Args:
        plan: Rounds whose stages are finished.
        tail_share: Share of the labelled pixels below which a class is rare.
    """
    manifests = {n: read_manifest(plan.labels(n)) for n in plan.numbers}
    rows = []
    for number in range(len(manifests) + 1):
        result = read_json(plan.result(number))
        labels = label_facts(manifests[number]) if number else (math.nan,) * len(LABEL_FACTS)
        tail = tail_mean_iou(result, manifests[1], tail_share)
        rows.append((number, *labels, 100 * result.mean_iou, 100 * tail))
    return format_table(("round", *LABEL_FACTS, "mIoU", "mIoU of rare"), rows)


def label_facts(manifest: dict) -> tuple[float, ...]:
    """Returns the numbers of `LABEL_FACTS` of some pseudo labels.

    Shares are in percent, and divergences in nats / 1000. A divergence is infinite if a class has no label.
    """
    kept = sum(manifest["selection"]["kept"]) / manifest["num_pixels"]
    accuracy, to_labeled, to_true = (manifest[name] for name in ("accuracy", "kl_to_labeled", "kl_to_true"))
    divergences = (math.inf if value is None else 1000 * value for value in (to_labeled, to_true))
    return 100 * kept, math.nan if accuracy is None else 100 * accuracy, *divergences


def tail_mean_iou(result: Result, manifest: dict, tail_share: float) -> float:
    """Returns the mean IoU of the rare classes that have an IoU; NaN without any.

    Args:
        result: Evaluation of a student.
        manifest: Manifest of pseudo labels, for the share of each class of the labelled pixels.
        tail_share: Share below which a class is rare.
    """
    shares = zip(manifest["classes"], manifest["target_distribution"], strict=True)
    found = [result.iou[name] for name, share in shares if share < tail_share]
    known = [iou for iou in found if not math.isnan(iou)]
    return sum(known) / len(known) if known else math.nan


def read_manifest(labels: Path) -> dict:
    """Returns what wss-label wrote of the pseudo labels in a folder."""
    return load_json(labels / MANIFEST, "label again with wss-label --overwrite")
