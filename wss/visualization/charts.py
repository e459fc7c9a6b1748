"""Charts of results: lines through the means of seeds, and reliability diagrams. The only file that imports matplotlib."""

import contextlib
import importlib.util
import io
import math
import os
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
DODGE = 1.06  # ratio between the places of two series on a logarithmic axis: their bars would hide each other
STYLE = {
    "axes.edgecolor": SHARE,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#e5e5e4",
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.hashsalt": "wss",  # otherwise the ids in an SVG are random
    "xtick.color": "#5a5a60",
    "ytick.color": "#5a5a60",
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
) -> "Figure":
    """Draws a line through the means of each series, with bars of one standard deviation and pale single values.

    A value that is not finite is left out, and so is a series without any value. Colours repeat after six series.

    Args:
        series: Values of all seeds by place on the x axis by title.
        x_label: What the x axis shows, with its unit.
        y_label: What the values are, with their unit.
        log_ticks: Names of places on a logarithmic x axis, where series stand a little apart; None for a linear axis with
            numbers.

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
        aside = DODGE ** (rank - (len(finite) - 1) / 2) if log_ticks else 1.0
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
    figure = Figure(figsize=(2.5 * columns, 3.4 * rows + 0.3), layout="constrained")
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
    figure.legend(handles=keys, loc="outside lower left", ncols=len(keys))
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
