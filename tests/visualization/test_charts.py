"""Charts: values worked out by hand are found again in the pixels."""

import numpy as np
import pytest

from wss.visualization import charts
from wss.visualization.canvas import Canvas, wrap
from wss.visualization.overlays import PAPER, text_width

SERIES = {"ours": {"1/16": [30.0, 32.0, 34.0], "1/8": [40.0]}, "theirs": {"1/16": [25.0], "1/8": [31.0]}}
SIZE = (760, 460)


def _pixel(picture, x, y):
    return tuple(int(value) for value in picture[int(y), int(x)])


def _has(picture, color):
    return (picture == color).all(-1).any()


def _histogram(confidence, accuracy, count=100.0):
    """A histogram of one bin per confidence; a confidence of None leaves its bin empty."""
    rows = [
        (0, 0, 0) if c is None else (count, count * c, count * a) for c, a in zip(confidence, accuracy, strict=True)
    ]
    return np.array(rows, np.float64)


def _diagram(histogram):
    """One diagram with its corner at (50, 30)."""
    canvas = Canvas(300, 330)
    charts._draw_reliability(canvas, histogram, 50, 30)
    return canvas.finish()


@pytest.mark.parametrize(
    "low, high, ticks, decimals",
    [
        (23.1, 48.7, [25, 30, 35, 40, 45], 0),
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0], 1),
        (-0.021, 0.043, [-0.02, -0.01, 0, 0.01, 0.02, 0.03, 0.04], 2),
        (0.7, 1.4, [0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4], 1),
        (1200, 9800, [2000, 4000, 6000, 8000], 0),
        (47.02, 47.05, [47.02, 47.025, 47.03, 47.035, 47.04, 47.045, 47.05], 3),
    ],
)
def test_ticks_are_round(low, high, ticks, decimals):
    assert charts.round_ticks(low, high) == (pytest.approx(ticks), decimals)


def test_axis_by_hand():
    axis = charts._Axis(20, 40, 400, 100)  # values rise as pixels fall
    assert [axis.to_pixel(value) for value in (20, 25, 40)] == [400, 325, 100]


def test_means_and_bars_are_where_the_axes_say():
    plan = charts._LinePlan(SERIES, "", SIZE)
    picture = charts.line_chart(SERIES, "mIoU (%)")
    assert picture.shape == (460, 760, 3) and picture.dtype == np.uint8
    (x, y), (_, y8) = plan.means(0)
    assert (y, y8) == (pytest.approx(plan.y.to_pixel(32)), pytest.approx(plan.y.to_pixel(40)))
    for rank in (0, 1):
        for place in plan.means(rank):
            assert _pixel(picture, *place) == charts.COLORS[rank]
    for cap in (30, 34):  # the deviation of 30, 32, 34 is 2
        near = picture[int(plan.y.to_pixel(cap)) - 1 : int(plan.y.to_pixel(cap)) + 2, int(x) + 4].min(axis=0)
        assert near[0] < 100  # a cap in blue has little red, paper and grid have much


def test_y_range_holds_all_values_and_bars_but_not_zero():
    low, high = charts._value_range([np.array([40.0, 50.0])])
    assert 0 < low < 45 - 50**0.5 and 45 + 50**0.5 < high < 60  # deviation of 40, 50: sqrt(50)


@pytest.mark.parametrize("value", [0.0, 40.0, 1e-9])
def test_equal_values_have_a_range(value):
    low, high = charts._value_range([np.array([value, value])])
    assert low < value < high


def test_values_equal_but_for_rounding_are_drawn():
    assert _has(charts.line_chart({"a": {"x": [0.1 + 0.2, 0.3]}}, "y"), charts.BLUE)


def test_categories_stand_at_equal_distance_in_order_of_first_appearance():
    series = {"a": {"1/8": [2.0]}, "b": {"1/16": [1.0], "1/8": [2.0], "1/4": [3.0]}}
    plan = charts._LinePlan(series, "", SIZE)
    assert plan.names == ["1/8", "1/16", "1/4"]
    steps = np.diff([x for x, _ in plan.means(1)])
    assert steps[0] == pytest.approx(steps[1]) and steps[0] > 50


def test_line_goes_over_a_missing_category():
    series = {"all": {"a": [1.0], "b": [9.0], "c": [3.0]}, "some": {"a": [1.5], "b": [], "c": [2.5]}}
    plan = charts._LinePlan(series, "", SIZE)
    (x0, y0), (x2, y2) = plan.means(1)
    picture = charts.line_chart(series, "y")
    assert _pixel(picture, (x0 + x2) / 2, (y0 + y2) / 2) == charts.COLORS[1]


def test_nan_and_infinity_are_left_out():
    series = {"a": {"x": [30.0, np.nan, np.inf], "y": [np.nan]}, "b": {"x": [20.0], "y": [25.0]}}
    clean = {"a": {"x": [30.0], "y": []}, "b": {"x": [20.0], "y": [25.0]}}
    np.testing.assert_array_equal(charts.line_chart(series, "y"), charts.line_chart(clean, "y"))


def test_series_with_nothing_is_left_out():
    plan = charts._LinePlan({"none": {"x": [np.nan]}, "empty": {}, "a": {"x": [1.0]}}, "", SIZE)
    assert list(plan.points) == ["a"]


@pytest.mark.parametrize("series", [{}, {"a": {}}, {"a": {"x": []}}, {"a": {"x": [np.nan]}}])
def test_nothing_to_draw_is_an_error(series):
    with pytest.raises(ValueError, match="no finite value"):
        charts.line_chart(series, "y")


def test_spread_by_hand():
    np.testing.assert_allclose(charts.spread([100, 50], 20, 0, 400), [100, 50])  # far enough: they stay
    np.testing.assert_allclose(charts.spread([104, 100], 20, 0, 400), [112, 92])  # both move by the same
    np.testing.assert_allclose(charts.spread([5, 5, 300], 20, 2, 301), [2, 22, 300])
    np.testing.assert_allclose(charts.spread([298, 300], 20, 2, 301), [281, 301])


@pytest.mark.parametrize("seed", range(5))
def test_spread_labels_keep_order_gap_and_bounds(seed):
    wanted = np.random.default_rng(seed).uniform(100, 200, 6)
    placed = charts.spread(wanted, 18, 20, 440)
    assert np.diff(np.sort(placed)).min() > 18 - 1e-9
    assert (np.argsort(placed) == np.argsort(wanted)).all()
    assert placed.min() >= 20 and placed.max() <= 440
    assert np.mean(placed) == pytest.approx(np.mean(wanted))  # nobody is pushed aside for nothing


def test_nothing_is_cut_at_the_borders():
    names = ["1/128 (12)", "1/64 (23)", "full (1464)", "a_long_word_without_any_space"]
    series = {f"a rather long title of method {i}": {name: [30.0 + i / 10] for name in names} for i in range(6)}
    picture = charts.line_chart(series, "mIoU (%)", "labelled images")
    border = np.ones(picture.shape[:2], bool)
    border[4:-4, 4:-4] = False
    assert (picture[border] == PAPER).all()


@pytest.mark.parametrize("width", [40, 70, 300])
def test_wrapped_text_fits_and_loses_nothing(width):
    text = "full (1464) semi_supervised_long"
    wrapped = wrap(text, width)
    assert text_width(wrapped) <= width
    assert "".join(wrapped.split()) == "".join(text.split())


def test_bars_of_a_perfect_calibration_end_on_the_diagonal():
    centers = (np.arange(10) + 0.5) / 10
    picture = _diagram(_histogram(centers, centers))
    for center in centers:
        x, y = 50 + 200 * center, 230 - 200 * center
        assert _pixel(picture, x, y + 5) == charts.ACCURACY
        assert _pixel(picture, x, y - 5) in (PAPER, charts.GRID)
    assert not _has(picture, charts.OVER) and not _has(picture, charts.UNDER)


def test_gaps_lie_between_accuracy_and_confidence():
    picture = _diagram(_histogram([None, 0.4, None, 0.9], [0, 0.7, 0, 0.5], count=100))
    under, over = 50 + 200 * 0.3, 50 + 200 * 0.95  # off the diagonal
    at = lambda x, value: _pixel(picture, x, 230 - 200 * value)
    assert [at(under, value) for value in (0.1, 0.45, 0.65)] == [charts.ACCURACY, charts.UNDER, charts.UNDER]
    assert [at(over, value) for value in (0.1, 0.45, 0.55, 0.85)] == [charts.ACCURACY] * 2 + [charts.OVER] * 2
    assert at(under, 0.697) == at(over, 0.497) == charts.BLUE  # the bars end at the accuracy
    assert at(over, 0.92) == PAPER


def test_empty_bins_draw_nothing():
    picture = _diagram(_histogram([None, None], [0, 0]))
    assert not any(_has(picture, color) for color in (charts.ACCURACY, charts.BLUE, charts.OVER, charts.UNDER))
    assert picture[130, 150].max() < 160  # the diagonal is there, smoothed


def test_strip_shows_the_share_of_the_pixels():
    histogram = _histogram([0.25, 0.75], [0.25, 0.75]) * [[1], [3]]
    bottom = 30 + charts.SIDE + charts.LINE_HEIGHT + charts.MARGIN + charts.STRIP
    column = _diagram(histogram)[:bottom, 50 + 180]
    filled = (column[bottom - charts.STRIP :] == charts.FRAME).all(-1).sum()
    assert filled == round(0.75 * charts.STRIP)


def test_ece_text_by_hand():
    # |0.9 - 0.8| of 100 pixels and |0.5 - 0.5| of as many: 5 %
    assert charts.ece_text(_histogram([0.5, 0.9], [0.5, 0.8])) == "ECE 5.0 %"
    assert charts.ece_text(np.zeros([15, 3])) == "no pixels"


def test_diagrams_stand_in_columns():
    histogram = _histogram([0.5, 0.9], [0.5, 0.8])
    pictures = [charts.reliability_diagram({str(i): histogram for i in range(n)}) for n in (2, 3, 4)]
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in pictures)
    (h2, w2), (h3, w3), (h4, w4) = (picture.shape[:2] for picture in pictures)
    assert h2 == h3 < h4 and w2 < w3 == w4


def test_long_titles_make_room_above():
    histogram = _histogram([0.5, 0.9], [0.5, 0.8])
    short, long = (charts.reliability_diagram({title: histogram}) for title in ("a", "a title " * 8))
    assert long.shape[0] > short.shape[0] and (long[:4] == PAPER).all()


def test_no_histogram_is_an_error():
    with pytest.raises(ValueError, match="no histogram"):
        charts.reliability_diagram({})
