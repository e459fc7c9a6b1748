"""What a person should notice in a run, in words."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from wss.evaluation.remarks import remarks
from wss.evaluation.result import Result

FEW_MASKS = 5  # of a class, to learn from or to measure on
FEWER_SHOWN = 6  # classes that one line names
WRONG_LABELS = 0.3  # share of wrong pixels, or of wrong classes
LARGE_ECE = 0.1


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        text: The line.
        warns: Whether it asks for something.
    """

    text: str
    warns: bool = True


def result_findings(
    result: Result, *, masks: Sequence[int] | None, measured: Sequence[int], first_class: int
) -> list[Finding]:
    """Returns what an evaluation and the numbers of masks behind it say.

    Args:
        result: The evaluation.
        masks: Number of masks to learn from that show each of the C classes; None where no masks are learnt from.
        measured: Number of masks of the evaluation that show each.
        first_class: First class that is no background.
    """
    found = [Finding(line) for line in remarks(result)]
    names = result.class_names
    foreground = range(first_class, len(names))
    if few := [f"{names[c]} ({masks[c]})" for c in foreground if masks and 0 < masks[c] < FEW_MASKS]:
        found.append(
            Finding(f"Learnt from fewer than {FEW_MASKS} masks: {_listed(few)}. More masks of these help most.")
        )
    if absent := [names[c] for c in foreground if masks and not masks[c]]:
        found.append(Finding(f"In no mask to learn from: {_listed(absent)}."))
    if few := [f"{names[c]} ({measured[c]})" for c in foreground if 0 < measured[c] < FEW_MASKS]:
        found.append(
            Finding(f"In fewer than {FEW_MASKS} masks of {result.split!r}: {_listed(few)}. Their IoU says little.")
        )
    if absent := [names[c] for c in foreground if not measured[c]]:
        found.append(Finding(f"In no mask of {result.split!r}, so nothing is known of: {_listed(absent)}."))
    if result.expected_calibration_error > LARGE_ECE:
        pixels, confidences, correct = result.calibration.sum(axis=0)
        side = "higher" if confidences > correct else "lower"
        found.append(
            Finding(
                f"Confidences are off by {100 * result.expected_calibration_error:.0f} % in the mean, {side} than the "
                "accuracy; do not take them for probabilities."
            )
        )
    return found


def pseudo_label_findings(scalars: Mapping[str, Mapping[int, float]]) -> list[Finding]:
    """Returns what the last scalars of a training say of its pseudo labels.

    Args:
        scalars: Value by step by TensorBoard's name.
    """
    last = {name: list(by_step.values())[-1] for name, by_step in scalars.items() if by_step}
    found = []
    for name in ("fusion/accuracy", "pseudo/accuracy"):
        if (accuracy := last.get(name, math.nan)) < 1 - WRONG_LABELS:
            found.append(
                Finding(f"The pseudo labels are wrong on {100 * (1 - accuracy):.0f} % of the pixels that are known.")
            )
    if (precision := last.get("gate/precision", math.nan)) < 1 - WRONG_LABELS:
        found.append(
            Finding(
                f"Of the classes that the image classifier finds in photos without masks, {100 * (1 - precision):.0f} % "
                "are not in them; tags would help."
            )
        )
    return found


def _listed(names: Sequence[str]) -> str:
    more = len(names) - FEWER_SHOWN
    return ", ".join(names[:FEWER_SHOWN]) + (f" and {more} more" if more > 0 else "")
