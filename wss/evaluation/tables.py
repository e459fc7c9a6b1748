"""Tables of the results of evaluations."""

from collections.abc import Mapping

from wss.errors import UserError
from wss.evaluation.result import Result
from wss.tables import Cell, format_table

ABSENT_CLASSES = """\
Values in percent. A class that is absent from the labels has no IoU (-): predicted somewhere,
it counts as 0 in the mIoU; predicted nowhere, it is left out. The mean accuracy is over the
classes in the labels."""
SUMMARY_HEADERS = ("mIoU", "pixel acc.", "mean acc.", "ECE", "images")


def evaluation_table(result: Result) -> str:
    """Returns the table of one evaluation: the step if it is known, each class, then the means. Values in percent."""
    rows = [
        (name, 100 * result.iou[name], 100 * result.accuracy[name], 100 * result.pixel_share[name])
        for name in result.class_names
    ]
    per_class = format_table(("class", "IoU", "accuracy", "pixels"), rows)
    return f"{_head(result)}{per_class}\n\n{format_table(SUMMARY_HEADERS, [_summary(result)], ABSENT_CLASSES)}"


def comparison_table(results: Mapping[str, Result]) -> str:
    """Returns two tables of results by name: a row of means for each, then the IoUs of each class.

    Raises:
        UserError: The results are not of the same split and classes, so that comparing them would mislead.
    """
    check_comparable(results)
    class_names = next(iter(results.values())).class_names
    means = format_table(("method", *SUMMARY_HEADERS), [(name, *_summary(r)) for name, r in results.items()])
    ious: list[tuple[Cell, ...]] = [
        (name, *[100 * result.iou[name] for result in results.values()]) for name in class_names
    ]
    return f"{means}\n\n{format_table(('IoU', *results), ious, ABSENT_CLASSES)}"


def check_comparable(results: Mapping[str, Result]) -> None:
    """Checks that results by name are of the same split and classes.

    Raises:
        UserError: They are not, so that comparing them would mislead.
    """
    measured_on = {name: _measured_on(result) for name, result in results.items()}
    for name, found in measured_on.items():
        first, expected = next(iter(measured_on.items()))
        if found != expected:
            raise UserError(
                f"result {name!r}: on {found}, but {first!r} is on {expected}; compare results of one split"
            )


def _head(result: Result) -> str:
    """Returns such as "voc2012, split val, step 800" and an empty line; nothing without a step."""
    return "" if result.step is None else f"{result.dataset}, split {result.split}, step {result.step}\n\n"


def _summary(result: Result) -> tuple[Cell, ...]:
    return (*[100 * value for value in result.scalars().values()], result.num_images)


def _measured_on(result: Result) -> str:
    return f"{result.dataset}/{result.split} ({', '.join(result.class_names)})"
