"""Charts of results: lines through the means of seeds, and reliability diagrams. The only file that imports matplotlib."""

import contextlib
import importlib.util
import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wss.errors import UserError
from wss.evaluation.label_sources import LabelSources
from wss.ops.metrics import expected_calibration_error
from wss.visualization.picture_files import save_png, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Colours that colour-blind people can tell apart: Okabe and Ito, "Color Universal Design", 2008.
BLUE, INK = "#0072b2", "#26262a"
COLORS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", INK)
MARKERS = ("o", "s", "^", "D", "v", "p")
ACCURACY, OVER, UNDER, SHARE = "#5692be", "#f0be96", "#bad6e9", "#b0b0b2"
DARK = "#1b1b1f"  # on a pale field, in dark pages too
GRID, PALE = "#e5e5e4", "#5a5a60"
NUMBERED_CLASSES = 25
LEGEND_LETTERS = 64  # beside each other below a chart
NARROWEST = 4.4  # inches, which the legend of a reliability diagram takes
DODGE = 1.06  # ratio between the places of two series on a logarithmic axis: their bars would hide each other
STYLE = {
    "axes.edgecolor": SHARE,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": GRID,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.hashsalt": "wss",  # otherwise the ids in an SVG are random
    "text.parse_math": False,  # the name of a class may have a "$"
    "xtick.color": PALE,
    "ytick.color": PALE,
}


def require_matplotlib() -> None:
    """Checks what would show only after hours of work.

    Raises:
        UserError: Matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("matplotlib is not installed, and charts need it: pip install 'wss[report]'")


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Draws in our style, whatever the user's own settings are."""
    require_matplotlib()
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


@_style()
def line_chart(
    series: Mapping[str, Mapping[float, Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    log_ticks: Mapping[float, str] | None = None,
    apart: bool = True,
) -> "Figure":
    """Draws a line through the means of each series, with bars of one standard deviation and pale single values.

    A value that is not finite is left out, and so is a series without any value. Colours repeat after six series.

    Args:
        series: Values of all seeds by place on the x axis by title.
        x_label: What the x axis shows, with its unit.
        y_label: What the values are, with their unit.
        log_ticks: Names of places on a logarithmic x axis; None for a linear axis with numbers.
        apart: Whether series stand a little apart on a logarithmic axis, so that values at one place are told from another.

    Returns:
        A figure for `save_figure`. Bars show the deviation of a sample (ddof 1) and need two values.

    Raises:
        UserError: Matplotlib is not installed.
        ValueError: There is no finite value at all.
    """
    from matplotlib.figure import Figure

    finite = _finite(series)
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(axis="y")
    lines = {}
    for rank, (title, by_place) in enumerate(finite.items()):
        aside = DODGE ** (rank - (len(finite) - 1) / 2) if log_ticks and apart else 1.0
        moved = {aside * place: values for place, values in by_place.items()}
        marker = MARKERS[(rank + rank // len(COLORS)) % len(MARKERS)]
        lines[title] = _draw_series(axes, moved, COLORS[rank % len(COLORS)], marker)
    if log_ticks:
        axes.set_xscale("log")
        axes.set_xticks(list(log_ticks), labels=list(log_ticks.values()))
        axes.minorticks_off()
    ends = {title: list(by_place.values())[-1].mean() for title, by_place in finite.items()}
    titles = sorted(lines, key=lambda title: -ends[title])  # from top to bottom, as the lines end
    figure.legend([lines[title] for title in titles], titles, loc="outside right upper")
    return figure


def _finite(series: Mapping[str, Mapping[float, Sequence[float]]]) -> dict[str, dict[float, np.ndarray]]:
    """Returns the finite values by place, in order, of each series that has some."""
    found = {}
    for title, by_place in series.items():
        values = {place: np.asarray(by_place[place], np.float64) for place in sorted(by_place)}
        kept = {place: all_[np.isfinite(all_)] for place, all_ in values.items() if np.isfinite(all_).any()}
        if kept:
            found[title] = kept
    if not found:
        raise ValueError("line_chart: no finite value found in any series, expected at least one")
    return found


def _draw_series(axes: "Axes", by_place: Mapping[float, np.ndarray], color: str, marker: str) -> "Line2D":
    """Draws means, bars and single values of one series; returns the line through the means."""
    means = [values.mean() for values in by_place.values()]
    (line,) = axes.plot(
        list(by_place), means, color=color, marker=marker, markersize=8, markeredgecolor="white", zorder=3
    )
    for place, values in by_place.items():
        if values.size > 1:
            axes.errorbar(place, values.mean(), values.std(ddof=1), fmt="none", ecolor=color, capsize=4)
            axes.plot([place] * values.size, values, ".", color=color, alpha=0.4)
    return line


@_style()
def curve_chart(series: Mapping[str, Mapping[int, float]], *, y_label: str, log: bool = False) -> "Figure":
    """Draws a plain line for each series over the steps, for curves of many points.

    Args:
        series: Value by step by title; a value that is not finite is left out.
        y_label: What the values are, with their unit.
        log: Whether the y axis is logarithmic; values of 0 and less are then left out.

    Returns:
        A figure for `save_figure` or `svg_of`.

    Raises:
        UserError: Matplotlib is not installed.
        ValueError: There is no finite value at all.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    finite = _finite({title: {step: [value] for step, value in by_step.items()} for title, by_step in series.items()})
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="step", ylabel=y_label)
    axes.grid(axis="y")
    for rank, (title, by_step) in enumerate(finite.items()):
        style = "-" if rank < len(COLORS) else "--"
        values = [all_[0] for all_ in by_step.values()]
        axes.plot(list(by_step), values, style, color=COLORS[rank % len(COLORS)], label=title, linewidth=1.6)
    if log:
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    longest = max(map(len, finite))
    figure.legend(loc="outside lower left", ncols=max(1, min(len(finite), LEGEND_LETTERS // (longest + 6))))
    return figure


@_style()
def confusion_chart(confusion: np.ndarray, class_names: Sequence[str]) -> "Figure":
    """Draws a confusion matrix, each row in percent of the pixels of its class.

    Args:
        confusion: Numbers of pixels, [C, C], rows are true classes.
        class_names: Names of the C classes.

    Returns:
        A figure for `save_figure` or `svg_of`. Numbers stand in the fields of up to 25 classes.

    Raises:
        UserError: Matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    shares = 100 * confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    number, side = len(class_names), min(2.2 + 0.42 * len(class_names), 11.0)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=100, edgecolors="white", linewidth=0.4)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    letters = 8 if number <= NUMBERED_CLASSES else 5
    places = np.arange(number) + 0.5
    axes.set_xticks(places, labels=class_names, rotation=90, fontsize=letters)
    axes.set_yticks(places, labels=class_names, fontsize=letters)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="true")
    if number <= NUMBERED_CLASSES:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.5:
                color = "white" if share > 55 else DARK
                axes.text(column + 0.5, row + 0.5, f"{share:.0f}", ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(drawn, ax=axes, label="% of the true class", shrink=0.7)
    return figure


@_style()
def reliability_diagram(histograms: Mapping[str, np.ndarray], columns: int = 3) -> "Figure":
    """Draws accuracy by confidence, and the share of the pixels by confidence in a strip below.

    Args:
        histograms: Sums of `metrics.calibration_histogram`, each [num_bins, 3], by title.
        columns: Number of diagrams side by side.

    Returns:
        A figure for `save_figure`.

    Raises:
        UserError: Matplotlib is not installed.
        ValueError: There is no histogram.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not histograms:
        raise ValueError("reliability_diagram: no histogram found, expected at least one")
    columns = min(columns, len(histograms))
    rows = math.ceil(len(histograms) / columns)
    figure = Figure(figsize=(max(2.5 * columns, NARROWEST), 3.4 * rows + 0.3), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[5, 1] * rows)
    places = [(grid[2 * row, column], grid[2 * row + 1, column]) for row in range(rows) for column in range(columns)]
    for unused in places[len(histograms) :]:
        for axes in unused:
            axes.remove()
    for (above, below), (title, histogram) in zip(places, histograms.items(), strict=False):
        above.set_title(f"{title}\n{ece_text(histogram)}", loc="left", fontsize="medium")
        _draw_reliability(above, below, np.asarray(histogram, np.float64))
    for above, below in grid[:, 0].reshape(rows, 2):
        above.set_ylabel("accuracy")
        below.set_ylabel("pixels")
    names = {"accuracy": ACCURACY, "overconfident": OVER, "underconfident": UNDER, "share of pixels": SHARE}
    keys = [Patch(color=color, label=name) for name, color in names.items()]
    figure.legend(handles=keys, loc="outside lower left", ncols=min(len(keys), 2 * columns))
    return figure


def _draw_reliability(above: "Axes", below: "Axes", histogram: np.ndarray) -> None:
    """Draws a histogram with bars of accuracy and its gap to the confidence, and the shares of its bins below."""
    filled = histogram[:, 0] > 0
    counts, confidences, correct = histogram[filled].T
    accuracy, confidence = correct / counts, confidences / counts
    starts, width = np.flatnonzero(filled) / len(histogram), 0.94 / len(histogram)
    above.bar(starts, accuracy, width, align="edge", color=ACCURACY)
    gap_color = np.where(confidence > accuracy, OVER, UNDER).tolist()
    bottom, gap = np.minimum(accuracy, confidence), np.abs(accuracy - confidence)
    above.bar(starts, gap, width, bottom, align="edge", color=gap_color)
    above.hlines(accuracy, starts, starts + width, color=BLUE)
    above.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    below.bar(starts, counts / counts.sum(), width, align="edge", color=SHARE)
    below.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 1), xlabel="confidence")
    above.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.25, 0.5, 0.75, 1), yticks=(0, 0.25, 0.5, 0.75, 1), axisbelow=True)
    above.tick_params(labelbottom=False)
    above.grid()


def ece_text(histogram: np.ndarray) -> str:
    """Returns the calibration error of a histogram as text, such as "ECE 3.1 %"."""
    error = expected_calibration_error(histogram)
    return "no pixels" if math.isnan(error) else f"ECE {100 * error:.1f} %"


def label_sources_diagram(sources: LabelSources, number: int = 6) -> "Figure":
    """Draws reliability diagrams of the first sources of pseudo labels, see `reliability_diagram`."""
    first = list(sources.results.items())[:number]
    return reliability_diagram({title: result.calibration for title, result in first})


@_style()
def svg_of(figure: "Figure", name: str) -> str:
    """Returns a chart as an SVG element to stand in an HTML page: texts are texts, ink has the colour of the page.

    Args:
        figure: The chart.
        name: Prefix of the ids in it, which must differ between the charts of a page: letters, digits and "-".
    """
    import matplotlib

    encoded = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "savefig.transparent": True}):
        figure.savefig(encoded, format="svg", metadata={"Date": None, "Creator": None})
    element = encoded.getvalue()
    element = element[element.index("<svg") :]
    element = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", element)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) width="([^"]*)"', r'\1 style="width: \2; max-width: 100%"', element, count=1)
    # Ink follows the page, which may be dark.
    element = re.sub(rf"(fill|stroke): ({INK}|{PALE}|#000000)", r"\1: currentColor", element)
    return element.replace(f"stroke: {GRID}", "stroke: var(--rule)")


@_style()
def save_figure(figure: "Figure", path: str | os.PathLike) -> None:
    """Writes a chart as PNG or SVG, by the suffix of `path`. The same chart is the same file again.

    Raises:
        ValueError: The suffix is another.
        WriteError: The file cannot be written.
    """
    suffix, encoded = Path(path).suffix, io.BytesIO()
    if suffix == ".png":
        figure.savefig(encoded, format="png")
        with Image.open(encoded) as picture:
            save_png(path, np.asarray(picture.convert("RGB")))
    elif suffix == ".svg":
        # Without date and version it is the same file again.
        figure.savefig(encoded, format="svg", metadata={"Date": None, "Creator": None})
        write_picture(path, encoded.getvalue())
    else:
        raise ValueError(f"{path}: suffix {suffix!r} found, expected .png or .svg")
