"""Charts: values worked out by hand are found again in the artists of the figures."""

import importlib.util

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from wss.errors import UserError
from wss.evaluation.label_sources import Gate, LabelSources
from wss.evaluation.result import Result
from wss.visualization import charts

SERIES = {"ours": {27: [30.0, 32.0, 34.0], 55: [40.0]}, "theirs": {27: [25.0], 55: [31.0]}}
TICKS = {27: "1/16 (27)", 55: "1/8 (55)"}


def drawn(series, **settings):
    """A line chart, and its axes."""
    figure = charts.line_chart(series, x_label="steps", y_label="mIoU, %", **settings)
    (axes,) = figure.axes
    return figure, axes


def lines(axes) -> list:
    """The lines through the means, in the order of the series."""
    return [line for line in axes.lines if line.get_linestyle() == "-"]


def points(line) -> list[tuple[float, float]]:
    return list(zip(*line.get_data(), strict=True))


def bars(axes) -> list[list[float]]:
    """The ends (low, high) of the bars of one deviation."""
    segments = [
        segment for container in axes.containers for lines in container.lines[2] for segment in lines.get_segments()
    ]
    return [segment[:, 1].tolist() for segment in segments]


def legend_texts(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def histogram(confidence, accuracy, count=100.0) -> np.ndarray:
    """A histogram of one bin per confidence; a confidence of None leaves its bin empty."""
    rows = [
        (0, 0, 0) if c is None else (count, count * c, count * a) for c, a in zip(confidence, accuracy, strict=True)
    ]
    return np.array(rows, np.float64)


def rectangles(axes) -> list[tuple]:
    """(left, bottom, top, colour) of the bars of each call, in turn."""
    return [
        [
            (bar.get_x(), bar.get_y(), bar.get_y() + bar.get_height(), to_hex(bar.get_facecolor()))
            for bar in container.patches
        ]
        for container in axes.containers
    ]


def test_lines_go_through_the_means_with_bars_of_one_deviation():
    """The deviation of 30, 32, 34 is 2, and a single value has none."""
    _, axes = drawn(SERIES)
    ours, theirs = lines(axes)
    assert points(ours) == [(27, 32), (55, 40)] and points(theirs) == [(27, 25), (55, 31)]
    assert bars(axes) == [[pytest.approx(30), pytest.approx(34)]]
    (single,) = [line for line in axes.lines if line.get_marker() == "." and line.get_linestyle() == "None"]
    assert points(single) == [(27, 30), (27, 32), (27, 34)]
    assert ours.get_color() == single.get_color() != theirs.get_color()
    assert ours.get_marker() != theirs.get_marker()


def test_axes_are_named_and_the_legend_lists_the_lines_as_they_end():
    figure, axes = drawn({"low": {1: [9.0], 2: [1.0]}, "high": {1: [5.0], 2: [6.0]}, "middle": {1: [2.0], 2: [3.0]}})
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "mIoU, %")
    assert axes.get_xscale() == "linear"
    assert legend_texts(figure) == ["high", "middle", "low"]
    found = [handle.get_color() for handle in figure.legends[0].legend_handles]
    assert found == [charts.COLORS[rank] for rank in (1, 2, 0)]


def test_places_on_a_logarithmic_axis_have_names_and_series_stand_apart_there():
    _, axes = drawn(SERIES, log_ticks=TICKS)
    assert axes.get_xscale() == "log"
    assert list(axes.get_xticks()) == list(TICKS)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(TICKS.values())
    assert len(axes.get_xticks(minor=True)) == 0
    ours, theirs = (line.get_xdata() for line in lines(axes))
    np.testing.assert_allclose(np.divide(theirs, ours), charts.DODGE)
    np.testing.assert_allclose(np.sqrt(np.multiply(theirs, ours)), list(TICKS))
    _, axes = drawn(SERIES, log_ticks=TICKS, apart=False)
    for line in lines(axes):
        assert line.get_xdata().tolist() == list(TICKS)


def test_axis_shows_all_values_and_bars():
    _, axes = drawn({"a": {1: [40.0, 50.0]}})
    low, high = axes.get_ylim()
    assert 0 < low < 45 - 50**0.5 and 45 + 50**0.5 < high < 60  # deviation of 40, 50: sqrt(50)


@pytest.mark.parametrize("values", [[0.0, 0.0], [40.0, 40.0], [1e-9, 1e-9], [0.1 + 0.2, 0.3]])
def test_equal_values_have_a_range(values):
    _, axes = drawn({"a": {1: values}})
    low, high = axes.get_ylim()
    assert low < min(values) <= max(values) < high


def test_places_are_in_order_whatever_the_order_of_the_values():
    _, axes = drawn({"a": {300: [3.0], 100: [1.0], 200: [2.0]}})
    assert points(lines(axes)[0]) == [(100, 1), (200, 2), (300, 3)]


def test_line_goes_over_a_missing_place():
    _, axes = drawn({"all": {1: [1.0], 2: [9.0], 3: [3.0]}, "some": {1: [1.5], 2: [], 3: [2.5]}})
    assert points(lines(axes)[1]) == [(1, 1.5), (3, 2.5)]


def test_nan_and_infinity_are_left_out():
    _, axes = drawn({"a": {1: [30.0, np.nan, np.inf], 2: [np.nan]}, "b": {1: [20.0], 2: [25.0]}})
    assert [points(line) for line in lines(axes)] == [[(1, 30)], [(1, 20), (2, 25)]]
    assert bars(axes) == []


def test_series_with_nothing_is_left_out():
    figure, axes = drawn({"none": {1: [np.nan]}, "empty": {}, "a": {1: [1.0]}})
    assert legend_texts(figure) == ["a"] and len(lines(axes)) == 1


@pytest.mark.parametrize("series", [{}, {"a": {}}, {"a": {1: []}}, {"a": {1: [np.nan]}}])
def test_nothing_to_draw_is_an_error(series):
    with pytest.raises(ValueError, match="no finite value"):
        drawn(series)


def test_a_seventh_series_has_the_first_colour_and_another_marker():
    _, axes = drawn({str(i): {1: [float(i)]} for i in range(7)})
    first, *others, seventh = lines(axes)
    assert seventh.get_color() == first.get_color() and seventh.get_marker() != first.get_marker()
    assert len({line.get_color() for line in others}) == 5


def test_no_text_lies_over_another_and_none_is_cut():
    series = {f"a rather long title of method {i}": {place: [30.0 + i / 10] for place in TICKS} for i in range(6)}
    figure, axes = drawn(series, log_ticks=TICKS)
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    y_ticks = [tick.label1 for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    texts = [*axes.get_xticklabels(), *y_ticks, *figure.legends[0].get_texts(), axes.xaxis.label, axes.yaxis.label]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) > 12
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(text.get_window_extent().x0 > axes.bbox.x1 for text in figure.legends[0].get_texts())


def test_bars_of_a_perfect_calibration_end_at_the_diagonal():
    centers = (np.arange(10) + 0.5) / 10
    above, _ = charts.reliability_diagram({"a": histogram(centers, centers)}).axes
    accuracy, gap = rectangles(above)
    np.testing.assert_allclose([top for _, _, top, _ in accuracy], centers)
    np.testing.assert_allclose([left for left, _, _, _ in accuracy], centers - 0.05)
    np.testing.assert_allclose([top - bottom for _, bottom, top, _ in gap], 0)
    assert [line.get_xydata().tolist() for line in above.lines] == [[[0, 0], [1, 1]]]


def test_gaps_lie_between_accuracy_and_confidence():
    above, _ = charts.reliability_diagram({"a": histogram([None, 0.4, None, 0.9], [0, 0.7, 0, 0.5])}).axes
    accuracy, gap = rectangles(above)
    assert accuracy == [
        (0.25, 0, pytest.approx(0.7), charts.ACCURACY),
        (0.75, 0, pytest.approx(0.5), charts.ACCURACY),
    ]
    assert gap == [
        (0.25, pytest.approx(0.4), pytest.approx(0.7), charts.UNDER),
        (0.75, pytest.approx(0.5), pytest.approx(0.9), charts.OVER),
    ]
    (ends,) = above.collections
    assert [segment[0][1] for segment in ends.get_segments()] == [pytest.approx(0.7), pytest.approx(0.5)]


def test_empty_bins_draw_nothing():
    above, below = charts.reliability_diagram({"a": histogram([None, None], [0, 0])}).axes
    assert rectangles(above) == [[], []] and rectangles(below) == [[]]
    assert above.get_title(loc="left") == "a\nno pixels"


def test_strip_shows_the_share_of_the_pixels():
    _, below = charts.reliability_diagram({"a": histogram([0.25, 0.75], [0.25, 0.75]) * [[1], [3]]}).axes
    ((first, second),) = rectangles(below)
    assert (first[:3], second[:3]) == ((0, 0, 0.25), (0.5, 0, 0.75))
    assert below.get_xlabel() == "confidence" and below.get_ylim() == (0, 1)


def test_ece_text_by_hand():
    # |0.9 - 0.8| of 100 pixels and |0.5 - 0.5| of as many: 5 %
    assert charts.ece_text(histogram([0.5, 0.9], [0.5, 0.8])) == "ECE 5.0 %"
    assert charts.ece_text(np.zeros([15, 3])) == "no pixels"


@pytest.mark.parametrize(("number", "rows", "columns"), [(2, 1, 2), (3, 1, 3), (4, 2, 3)])
def test_diagrams_stand_in_columns(number, rows, columns):
    diagram = histogram([0.5, 0.9], [0.5, 0.8])
    figure = charts.reliability_diagram({f"title {i}": diagram for i in range(number)})
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [f"title {i}\nECE 5.0 %" for i in range(number)]
    assert len(figure.axes) == 2 * number  # places without a diagram are empty
    figure.draw_without_rendering()
    assert len({round(axes.bbox.x0) for axes in figure.axes}) == columns
    assert len({round(axes.bbox.y0) for axes in figure.axes}) == 2 * rows
    assert legend_texts(figure) == ["accuracy", "overconfident", "underconfident", "share of pixels"]


def test_titles_of_diagrams_do_not_touch():
    diagram = histogram([0.5, 0.9], [0.5, 0.8])
    titles = ["norm of the batch, T=0.5", "sum over the image, T=0.5", "norm of the pixel, T=0.5"]
    figure = charts.reliability_diagram(dict.fromkeys(titles, diagram))
    figure.draw_without_rendering()
    boxes = [axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title(loc="left")]
    assert all(one.x1 < other.x0 for one, other in zip(boxes, boxes[1:], strict=False))
    assert boxes[-1].x1 <= figure.bbox.x1


def test_no_histogram_is_an_error():
    with pytest.raises(ValueError, match="no histogram"):
        charts.reliability_diagram({})


def test_diagram_of_label_sources_shows_the_first():
    def result(accuracy: float) -> Result:
        calibration = histogram([0.5, 0.9], [0.5, accuracy])
        return Result("toy", "val", ("a", "b"), np.eye(2, dtype=int), calibration, 1, 1.0)

    sources = LabelSources(
        {"decoder": result(0.8), "SGC": result(0.7), "other": result(0.6)}, Gate((), np.zeros([0, 3]))
    )
    figure = charts.label_sources_diagram(sources, number=2)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == ["decoder\nECE 5.0 %", "SGC\nECE 10.0 %"]


@pytest.mark.parametrize("name", ["chart.png", "chart.svg"])
def test_a_chart_is_the_same_file_again(tmp_path, name):
    paths = [tmp_path / folder / name for folder in ("one", "two")]
    for path in paths:
        charts.save_figure(drawn(SERIES, log_ticks=TICKS)[0], path)
    one, two = (path.read_bytes() for path in paths)
    assert one == two
    assert [path.name for path in tmp_path.glob("*/*")] == [name, name]


def test_a_png_has_its_size_and_an_svg_its_texts(tmp_path):
    figure, _ = drawn(SERIES, log_ticks=TICKS)
    charts.save_figure(figure, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.size == (1216, 736) and picture.mode == "RGB" and len(picture.getcolors(1 << 20)) > 10
    charts.save_figure(figure, tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text()
    assert text.startswith("<?xml") and "1/16 (27)" in text and "<dc:date>" not in text


def test_another_suffix_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"suffix '.jpg' found, expected .png or .svg"):
        charts.save_figure(drawn(SERIES)[0], tmp_path / "chart.jpg")


def test_a_chart_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "chart.png").mkdir()
    with pytest.raises(UserError, match="chart.png: cannot be written"):
        charts.save_figure(drawn(SERIES)[0], tmp_path / "chart.png")


def test_settings_of_the_user_change_nothing(tmp_path):
    import matplotlib

    charts.save_figure(drawn(SERIES)[0], tmp_path / "one.svg")
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "savefig.dpi": 30, "svg.hashsalt": None}):
        charts.save_figure(drawn(SERIES)[0], tmp_path / "two.svg")
        assert matplotlib.rcParams["font.size"] == 20
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.parametrize("draw", [charts.require_matplotlib, lambda: drawn(SERIES)])
def test_without_matplotlib_it_is_one_line(monkeypatch, draw):
    real = importlib.util.find_spec
    absent = lambda name, *rest: None if name == "matplotlib" else real(name, *rest)
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(UserError, match=r"^matplotlib is not installed, .*: pip install 'wss\[report\]'$"):
        draw()
