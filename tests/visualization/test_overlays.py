"""Pictures: exact colours where they are known, and layout that can be measured."""

import dataclasses

import numpy as np
import pytest
from etils import epath
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.data.masks import IGNORE_COLOR
from wss.errors import UserError
from wss.visualization import layout, picture_files
from wss.visualization import overlays as pictures

RED, BLUE = (200, 0, 0), (0, 0, 200)
INFO = DatasetInfo("toy", ("background", "cat", "dog"), ((0, 0, 0), RED, BLUE), {})
GREY = np.full([4, 6, 3], 60, np.uint8)
BACKDROP = 85 + 40  # 85 + 60 * 2 / 3


def test_colorize_by_hand():
    colors = pictures.colorize(np.array([[0, 1], [2, 255]]), INFO)
    np.testing.assert_array_equal(colors[0], [(0, 0, 0), RED])
    np.testing.assert_array_equal(colors[1, 0], BLUE)
    np.testing.assert_array_equal(colors[1, 1], IGNORE_COLOR)
    assert colors.dtype == np.uint8


@pytest.mark.parametrize("ignore_label", [255, 3, 2])
def test_wss_label_and_wss_vis_show_a_mask_in_the_same_colours(tmp_path, ignore_label):
    """The ignore label may lie among the classes."""
    info = dataclasses.replace(INFO, ignore_label=ignore_label)
    mask = np.array([[0, 1, 2], [ignore_label, 1, ignore_label]], np.uint8)
    picture_files.save_index_png(epath.Path(tmp_path) / "mask.png", mask, info)
    with Image.open(tmp_path / "mask.png") as of_label:
        np.testing.assert_array_equal(np.asarray(of_label), mask)
        np.testing.assert_array_equal(np.asarray(of_label.convert("RGB")), pictures.colorize(mask, info))
    assert (pictures.colorize(mask, info)[1, 0] == IGNORE_COLOR).all()


@pytest.mark.parametrize("value", [3, -1])
def test_colorize_names_a_wrong_value(value):
    with pytest.raises(UserError, match=f"value {value} found, expected 0 .. 2 or 255"):
        pictures.colorize(np.array([[0, value]]), INFO)


def test_overlay_leaves_background_clear_and_tints_regions():
    label = np.zeros([4, 6], int)
    label[:, 2:] = 1
    picture = pictures.overlay(GREY, label, INFO, alpha=0.5)
    assert picture.dtype == np.uint8
    assert (picture[:, :2] == BACKDROP).all()
    assert (picture[:, 2] == RED).all()
    half = np.round((np.array(RED) + BACKDROP) / 2)
    np.testing.assert_array_equal(picture[:, 3:], np.broadcast_to(half, [4, 3, 3]))


def test_overlay_tints_class_0_where_it_is_no_background():
    info = DatasetInfo("street", ("road", "car"), (RED, BLUE), {}, has_background=False)
    picture = pictures.overlay(GREY, np.zeros([4, 6], int), info, alpha=1.0)
    assert (picture == RED).all()


def test_probabilities_mix_colors_and_fade_to_the_backdrop():
    probabilities = np.zeros([4, 6, 3])
    probabilities[:, :2] = [1, 0, 0]
    probabilities[:, 2:4] = [0, 0.5, 0.5]
    probabilities[:, 4:] = [0.5, 0.5, 0]
    picture = pictures.overlay_probabilities(GREY, probabilities, INFO, alpha=1.0)
    assert (picture[:, :2] == BACKDROP).all()
    assert (picture[:, 2:4] == (100, 0, 100)).all()
    half = np.round((np.array(RED) + BACKDROP) / 2)
    np.testing.assert_allclose(picture[:, 4:], np.broadcast_to(half, [4, 2, 3]), atol=1)


def test_heat_gets_lighter_evenly():
    ramp = pictures.heatmap(np.linspace(0, 1, 101)[None])[0] / 255
    linear = np.where(ramp <= 0.04045, ramp / 12.92, ((ramp + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    steps = np.diff(lightness[::10])
    assert steps.min() > 4 and steps.max() < 14


def test_heatmap_cuts_to_its_range():
    np.testing.assert_array_equal(pictures.heatmap(np.array([[-1.0, 2.0]])), pictures.heatmap(np.array([[0.0, 1.0]])))


def test_overlay_heatmap_blends_with_grey():
    cam = np.full([4, 6], 0.3)
    picture = pictures.overlay_heatmap(GREY, cam, alpha=0.5)
    expected = (pictures.heatmap(cam).astype(float) + 60) / 2
    np.testing.assert_allclose(picture, expected, atol=0.51)


def test_example_columns_read_the_kind_of_a_map():
    label = np.ones([4, 6], np.int32)
    cam = np.ones([4, 6], np.float32)
    soft = np.full([4, 6, 3], 1 / 3, np.float32)
    maps = {"prediction": label, "CAM": cam, "SGC": soft}
    columns = dict(pictures.example_columns(GREY.astype(np.float32), INFO, label, maps=maps.items()))
    assert list(columns) == ["image", "truth", "prediction", "CAM", "SGC"]
    np.testing.assert_array_equal(columns["image"], GREY)
    np.testing.assert_array_equal(columns["truth"], pictures.overlay(GREY, label, INFO))
    np.testing.assert_array_equal(columns["CAM"], pictures.overlay_heatmap(GREY, cam))
    np.testing.assert_array_equal(columns["SGC"], pictures.overlay_probabilities(GREY, soft, INFO))
    ((_, _), (_, heat)) = pictures.example_columns(GREY, INFO, maps=[("CAM", cam[..., None])])
    np.testing.assert_array_equal(heat, columns["CAM"])


def count(picture, color):
    return int((picture == color).all(-1).sum())


@pytest.mark.parametrize(
    ("size", "shown"),
    [((65, 33), (260, 132)), ((256, 100), (256, 100)), ((1000, 1280), (500, 640))],
)
def test_tiles_are_enlarged_by_whole_factors_or_reduced(size, shown):
    picture = layout.panel([("a title", np.full([*size, 3], RED))])
    assert count(picture, RED) == shown[0] * shown[1]


def test_enlarging_is_not_smoothed():
    checkers = np.indices([64, 64]).sum(0) % 2 * 200
    picture = layout.panel([("", np.stack([checkers] * 3, -1))])
    assert count(picture, (0, 0, 0)) + count(picture, (200, 200, 200)) == 256 * 256


def test_grid_holds_every_tile_and_drops_repeated_titles():
    def row(*names):
        return [(name, np.full([256, 256, 3], color)) for name, color in zip(names, (RED, BLUE), strict=True)]

    one = layout.panel_grid([row("image", "truth")])
    same = layout.panel_grid([row("image", "truth"), row("image", "truth")])
    other = layout.panel_grid([row("image", "truth"), row("image", "CAM")])
    assert count(same, RED) == count(same, BLUE) == 2 * 256 * 256
    assert same.shape[1] == one.shape[1]
    assert one.shape[0] < same.shape[0] < 2 * one.shape[0] == other.shape[0]


def test_rows_may_differ_and_names_take_room():
    rows = [[("a", GREY), ("b", GREY)], [("a", GREY)]]
    plain = layout.panel_grid(rows)
    named = layout.panel_grid(rows, ["first", "second"])
    assert named.shape[1] == plain.shape[1]
    assert named.shape[0] > plain.shape[0]


def test_a_long_title_does_not_run_into_the_next():
    title = "a very long title that is wider than its picture"
    picture = layout.panel([(title, GREY), ("b", GREY)])
    short = layout.panel([("a", GREY), ("b", GREY)])
    assert picture.shape[1] > short.shape[1]


def test_legend_has_a_square_of_each_color_and_wraps():
    wide = layout.legend(INFO, [1, 2, 255], width=600)
    narrow = layout.legend(INFO, [1, 2, 255], width=120)
    assert wide.shape[1] == 600 and narrow.shape[1] == 120
    assert narrow.shape[0] >= wide.shape[0] + 2 * 18
    for picture in (wide, narrow):
        assert count(picture, RED) == count(picture, BLUE) == 16 * 16
        assert count(picture, IGNORE_COLOR) == 16 * 16


def test_legend_below_a_picture():
    picture = layout.panel([("image", GREY)])
    both = layout.with_legend(picture, INFO, layout.classes_in([np.array([[1, 2]])]))
    np.testing.assert_array_equal(both[: len(picture)], picture)
    assert count(both, BLUE) == 16 * 16


def test_classes_in():
    assert layout.classes_in([np.array([[5, 0]]), np.array([[255, 5]])]) == [0, 5, 255]


def test_save_png_replaces_whole_files_only(tmp_path):
    path = tmp_path / "new" / "a.png"
    picture_files.save_png(path, GREY)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), GREY)
    with pytest.raises(TypeError):
        picture_files.save_png(path, np.zeros([2, 2, 7]))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), GREY)
    assert [child.name for child in path.parent.iterdir()] == ["a.png"]


def test_a_picture_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    folder = tmp_path / "a.png"
    folder.mkdir()
    with pytest.raises(UserError, match="a.png: cannot be written") as caught:
        picture_files.save_png(folder, GREY)
    assert "\n" not in str(caught.value)
    assert [child.name for child in tmp_path.iterdir()] == ["a.png"]
