"""Charts of results: lines through the means of seeds, and reliability diagrams."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wss.ops.metrics import expected_calibration_error
from wss.visualization.canvas import Canvas, wrap
from wss.visualization.overlays import INK, MARGIN, PALE_INK, PAPER, SMALL_SIZE, TITLE_SIZE, text_width

# Colours that colour-blind people can tell apart: Okabe and Ito, "Color Universal Design", 2008.
BLUE = (0, 114, 178)
COLORS = (BLUE, (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), INK)
# Corners, turn in parts of the angle between two corners, and radius.
MARKERS = ((40, 0, 5), (4, 0.5, 6), (3, 0, 7), (4, 0, 6.5), (3, 0.5, 7), (5, 0, 6))
GRID, FRAME = (229, 229, 228), (176, 176, 178)
ACCURACY, OVER, UNDER = (86, 146, 190), (240, 190, 150), (186, 214, 233)
KEY = ((ACCURACY, "accuracy"), (OVER, "overconfident"), (UNDER, "underconfident"))
LINE_HEIGHT = SMALL_SIZE + 4
DODGE = 7  # pixels between the series of a category: their bars would hide each other
LABEL_INDENT = 26
SIDE, STRIP, INDENT = 200, 36, 16  # of a reliability diagram


@dataclass(frozen=True)
class _Axis:
    """Values `low .. high` lie at the pixels `start .. end`; pixel i covers i .. i + 1."""

    low: float
    high: float
    start: float
    end: float

    def to_pixel(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


class _LinePlan:
    """Where a line chart draws; `points` has the finite values of each series by place of the category."""

    def __init__(self, series: Mapping[str, Mapping[str, Sequence[float]]], x_label: str, size: tuple[int, int]):
        names = list(dict.fromkeys(name for by_name in series.values() for name in by_name))
        self.points: dict[str, dict[int, np.ndarray]] = {}
        for title, by_name in series.items():
            values = {i: np.asarray(by_name.get(name, ()), np.float64) for i, name in enumerate(names)}
            finite = {i: v[np.isfinite(v)] for i, v in values.items() if np.isfinite(v).any()}
            if finite:
                self.points[title] = finite
        if not self.points:
            raise ValueError("line_chart: no finite value found in any series, expected at least one")
        low, high = _value_range([v for values in self.points.values() for v in values.values()])
        self.ticks, self.decimals = round_ticks(low, high)
        self.left = MARGIN + 8 + max(text_width(f"{tick:.{self.decimals}f}") for tick in self.ticks)
        self.labels = [wrap(title, 0.35 * size[0]) for title in self.points]
        self.right = size[0] - MARGIN - LABEL_INDENT - max(map(text_width, self.labels))
        # Room of a third of a step at both ends; a single category stands in the middle.
        step = (self.right - self.left) / max(1, len(names) - 1 / 3)
        room = step / 3 if len(names) > 1 else step / 2
        self.x = _Axis(0, max(1, len(names) - 1), self.left + room, self.right - room)
        self.dodge = min(DODGE, step / 2 / len(self.points))
        self.names = [wrap(name, step - 8) for name in names]
        bottom = size[1] - MARGIN - 8 - LINE_HEIGHT * (_num_lines(self.names) + bool(x_label))
        self.y = _Axis(low, high, bottom, MARGIN + LINE_HEIGHT + 10)

    def means(self, rank: int) -> list[tuple[float, float]]:
        """The pixels (x, y) of the means of one series, by category."""
        aside = self.dodge * (rank - (len(self.points) - 1) / 2)
        by_place = list(self.points.values())[rank]
        return [(self.x.to_pixel(i) + aside, self.y.to_pixel(values.mean())) for i, values in by_place.items()]


def line_chart(
    series: Mapping[str, Mapping[str, Sequence[float]]],
    y_label: str,
    x_label: str = "",
    size: tuple[int, int] = (760, 460),
) -> np.ndarray:
    """Draws a line through the means of each series, with bars of one standard deviation.

    Args:
        series: the values of all seeds by title and category. Categories stand at equal distance in
            the order in which they first occur. A value that is not finite is left out, and so is a
            series without any value. Colours repeat after six series.
        y_label: what the values are, with their unit.
        x_label: what the categories are.
        size: width and height in pixels.

    Returns:
        uint8 `[H, W, 3]`. Bars show the deviation of a sample (ddof 1) and need two values.

    Raises:
        ValueError: there is no finite value at all.
    """
    plan = _LinePlan(series, x_label, size)
    canvas = Canvas(*size)
    canvas.text(MARGIN, MARGIN, y_label, INK)
    canvas.text((plan.left + plan.right) / 2, size[1] - MARGIN, x_label, INK, anchor="md")
    for tick in plan.ticks:
        y = math.floor(plan.y.to_pixel(tick))
        canvas.box(plan.left, y, plan.right, y + 1, GRID)
        canvas.text(plan.left - 8, y, f"{tick:.{plan.decimals}f}", PALE_INK, anchor="rm")
    canvas.box(plan.left, plan.y.start, plan.right, plan.y.start + 1, FRAME)
    for place, name in enumerate(plan.names):
        x = math.floor(plan.x.to_pixel(place))
        canvas.box(x, plan.y.start, x + 1, plan.y.start + 5, FRAME)
        canvas.text(x, plan.y.start + 7, name, PALE_INK, anchor="ma")
    _draw_labels(canvas, plan)
    for rank, by_place in enumerate(plan.points.values()):
        _draw_series(canvas, plan, rank, list(by_place.values()))
    return canvas.finish()


def reliability_diagram(histograms: Mapping[str, np.ndarray], columns: int = 3) -> np.ndarray:
    """Draws accuracy by confidence, and the share of the pixels by confidence in a strip below.

    Args:
        histograms: sums of `metrics.calibration_histogram` by title, each `[num_bins, 3]`.
        columns: number of diagrams side by side.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        ValueError: there is no histogram.
    """
    if not histograms:
        raise ValueError("reliability_diagram: no histogram found, expected at least one")
    titles = [wrap(title, SIDE, TITLE_SIZE) for title in histograms]
    top = MARGIN + (TITLE_SIZE + 4) * _num_lines(titles) + LINE_HEIGHT + 6
    width, height = INDENT + SIDE + 2 * MARGIN, top + SIDE + LINE_HEIGHT + STRIP + 2 * MARGIN
    columns = min(columns, len(titles))
    bottom = height * math.ceil(len(titles) / columns)
    key_widths = [text_width(name) + 40 for _, name in KEY]
    canvas = Canvas(max(width * columns, MARGIN + INDENT + sum(key_widths)), bottom + LINE_HEIGHT + MARGIN)
    for i, (title, histogram) in enumerate(zip(titles, histograms.values(), strict=True)):
        x, y = i % columns * width + MARGIN + INDENT, i // columns * height
        canvas.text(x, y + top - LINE_HEIGHT - 12, title, INK, TITLE_SIZE, "ld")
        canvas.text(x, y + top - 8, ece_text(histogram), PALE_INK, anchor="ld")
        _draw_reliability(canvas, np.asarray(histogram, np.float64), x, y + top)
    for i, (color, name) in enumerate(KEY):
        x = MARGIN + INDENT + sum(key_widths[:i])
        canvas.box(x, bottom + 4, x + 14, bottom + 18, color)
        canvas.text(x + 20, bottom + 11, name, INK, anchor="lm")
    return canvas.finish()


def ece_text(histogram: np.ndarray) -> str:
    """Returns the calibration error of a histogram as text, such as "ECE 3.1 %"."""
    error = expected_calibration_error(histogram)
    return "no pixels" if math.isnan(error) else f"ECE {100 * error:.1f} %"


def round_ticks(low: float, high: float, most: int = 7) -> tuple[list[float], int]:
    """Returns multiples of 1, 2 or 5 times a power of ten in `low .. high`, and their decimals."""
    power = math.floor(math.log10((high - low) / most))
    steps = [(factor * 10.0**k, max(0, -k)) for k in (power, power + 1) for factor in (1, 2, 5)]
    step, decimals = next(pair for pair in steps if pair[0] * most >= high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, decimals) for i in range(first, last + 1)], decimals


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Moves positions apart to at least `gap`, in their order and within `low .. high`.

    The nearest such positions in the least squares are an isotonic regression: less rank times gap,
    they only have to rise, and neighbours that would fall are pooled to their mean.
    """
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(order))
    pools: list[list[float]] = []
    for value in np.asarray(wanted, np.float64)[order] - steps:
        pools.append([value])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    starts = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    placed = np.empty(len(order))
    placed[order] = np.clip(starts, low, max(low, high - steps[-1])) + steps
    return placed


def _draw_labels(canvas: Canvas, plan: _LinePlan):
    """Titles at the right, each joined to the end of its line by a pale one."""
    ends = [plan.means(rank)[-1] for rank in range(len(plan.points))]
    gap = LINE_HEIGHT * _num_lines(plan.labels)
    places = spread([y for _, y in ends], gap, MARGIN + LINE_HEIGHT + gap / 2, canvas.height - gap / 2 - 2)
    for rank, (label, (x, y), place) in enumerate(zip(plan.labels, ends, places, strict=True)):
        color, left = COLORS[rank % len(COLORS)], plan.right + LABEL_INDENT
        canvas.line([(x, y), (plan.right, y), (left - 4, place)], _mix(color, PAPER, 0.6), 1)
        canvas.text(left, place, label, _mix(color, INK, 0.3), anchor="lm")


def _draw_series(canvas: Canvas, plan: _LinePlan, rank: int, seeds: list[np.ndarray]):
    color, means = COLORS[rank % len(COLORS)], plan.means(rank)
    canvas.line(means, color, 2)
    for (x, y), values in zip(means, seeds, strict=True):
        if values.size > 1:
            caps = [plan.y.to_pixel(value) for value in _bar(values)]
            canvas.box(x - 0.75, caps[1], x + 0.75, caps[0], color)
            for cap in caps:
                canvas.box(x - 5, cap - 0.75, x + 5, cap + 0.75, color)
            for value in values:
                canvas.polygon(x, plan.y.to_pixel(value), 40, 0, 2.8, _mix(color, PAPER, 0.4))
        corners, turn, radius = MARKERS[(rank + rank // len(COLORS)) % len(MARKERS)]
        canvas.polygon(x, y, corners, turn, radius + 1.5, PAPER)
        canvas.polygon(x, y, corners, turn, radius, color)


def _draw_reliability(canvas: Canvas, histogram: np.ndarray, left: int, top: int):
    strip = top + SIDE + LINE_HEIGHT + MARGIN
    x, y = _Axis(0, 1, left, left + SIDE), _Axis(0, 1, top + SIDE, top)
    share = _Axis(0, 1, strip + STRIP, strip)
    for value in (0.25, 0.5, 0.75):
        canvas.box(left, y.to_pixel(value), left + SIDE, y.to_pixel(value) + 1, GRID)
        canvas.box(x.to_pixel(value), top, x.to_pixel(value) + 1, y.start, GRID)
    for i, (count, confidence, correct) in enumerate(histogram):
        if count > 0:
            start, end = (x.to_pixel((i + k) / len(histogram)) for k in (0, 1))
            accuracy, sure = y.to_pixel(correct / count), y.to_pixel(confidence / count)
            canvas.box(start + 0.5, accuracy, end - 0.5, y.start, ACCURACY)
            gap = OVER if sure < accuracy else UNDER
            canvas.box(start + 0.5, min(accuracy, sure), end - 0.5, max(accuracy, sure), gap)
            canvas.box(start + 0.5, accuracy, end - 0.5, min(accuracy + 2, y.start), BLUE)
            height = max(1, share.start - share.to_pixel(count / histogram[:, 0].sum()))
            canvas.box(start + 0.5, share.start - height, end - 0.5, share.start, FRAME)
    canvas.line([(left, y.start), (left + SIDE, top)], INK, 1)
    for axis in (y, share):
        canvas.box(left, axis.start, left + SIDE, axis.start + 1, FRAME)
        canvas.box(left - 1, axis.end, left, axis.start + 1, FRAME)
        for value, anchor in ((0, "rs"), (1, "rt")):
            canvas.text(left - 6, axis.to_pixel(value), str(value), PALE_INK, anchor=anchor)
    for value, anchor in ((0, "la"), (1, "ra")):
        canvas.text(x.to_pixel(value), y.start + 4, str(value), PALE_INK, anchor=anchor)
    canvas.text(left + SIDE / 2, y.start + 4, "confidence", PALE_INK, anchor="ma")
    canvas.text(left + 6, top, "accuracy", PALE_INK)
    canvas.text(left + 6, share.end, "share of pixels", PALE_INK)


def _value_range(seeds: list[np.ndarray]) -> tuple[float, float]:
    """The range of all values and bars, with a margin."""
    shown = np.concatenate([*seeds, *(_bar(values) for values in seeds if values.size > 1)])
    margin = max(0.06 * np.ptp(shown), 0.001 * np.abs(shown).max()) or 1.0
    return float(shown.min() - margin), float(shown.max() + margin)


def _bar(values):
    return values.mean() + values.std(ddof=1) * np.array([-1, 1])


def _mix(color, other, share):
    return tuple(round((1 - share) * a + share * b) for a, b in zip(color, other, strict=True))


def _num_lines(texts):
    return 1 + max(text.count("\n") for text in texts)
