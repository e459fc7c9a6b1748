"""Rounds of self-training in numbers: their labels, and what their students learnt."""

import json
import math
from pathlib import Path

from wss.evaluation.result import Result, read_json
from wss.pseudo_labels.dataset_writer import MANIFEST
from wss.tables import format_table
from wss.workflows.rounds import Plan

LABEL_FACTS = ("labelled", "right", "KL to labelled, 1e-3", "KL to true, 1e-3")


def table(plan: Plan, tail_share: float) -> str:
    """Returns a line for each finished round: what was labelled, how well, and mIoU of all classes and of the rare ones.

    Args:
        plan: whose phases are finished.
        tail_share: classes with a smaller share of the labelled pixels are rare.
    """
    manifests = {n: read_manifest(plan.labels(n)) for n in range(1, len(plan.rounds.alphas) + 1)}
    rows = []
    for number in range(len(manifests) + 1):
        result = read_json(plan.result(number))
        labels = label_facts(manifests[number]) if number else (math.nan,) * len(LABEL_FACTS)
        tail = tail_mean_iou(result, manifests[1], tail_share)
        rows.append((number, *labels, 100 * result.mean_iou, 100 * tail))
    return format_table(("round", *LABEL_FACTS, "mIoU", "mIoU of rare"), rows)


def label_facts(manifest: dict) -> tuple[float, ...]:
    """Returns the numbers of `LABEL_FACTS`: percent, and divergences in nats / 1000, infinite if a class has no label."""
    kept = sum(manifest["selection"]["kept"]) / manifest["num_pixels"]
    accuracy, to_labeled, to_true = (manifest[name] for name in ("accuracy", "kl_to_labeled", "kl_to_true"))
    divergences = (math.inf if value is None else 1000 * value for value in (to_labeled, to_true))
    return 100 * kept, math.nan if accuracy is None else 100 * accuracy, *divergences


def tail_mean_iou(result: Result, manifest: dict, tail_share: float) -> float:
    """Mean IoU of the classes with less than `tail_share` of the labelled pixels that have an IoU; NaN without any."""
    shares = zip(manifest["classes"], manifest["target_distribution"], strict=True)
    found = [result.iou[name] for name, share in shares if share < tail_share]
    known = [iou for iou in found if not math.isnan(iou)]
    return sum(known) / len(known) if known else math.nan


def read_manifest(labels: Path) -> dict:
    """Reads what wss-label wrote of the pseudo labels in a folder."""
    return json.loads((labels / MANIFEST).read_text())
