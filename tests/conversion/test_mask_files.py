"""Masks as label tools, editors and cameras leave them: the classes are right, or one line says what is unclear."""

import numpy as np
import pytest
from mask_files import CLASSES, COLORS, MASK, RAMP, TRUTH, OwnFolders, grey_png, palette_mask, photo
from PIL import Image

from wss.data.mask_colors import COLORS as BY_COLORS
from wss.data.mask_colors import FIXED
from wss.data.masks import VOC_CLASSES, color_map_of, read_mask, voc_colors
from wss.data.photos import read_photo
from wss.errors import UserError

WHITE_AND_BLACK = "background 255 255 255\nobject 0 0 0\n"
BLACK_AND_WHITE = "background 0 0 0\nobject 255 255 255\n"
OBJECT = {0: 1800, 1: 600}
ONE = (MASK == 1).astype(np.uint8)


@pytest.fixture
def own(tmp_path, run_script) -> OwnFolders:
    return OwnFolders(tmp_path, run_script)


def one_line(error: pytest.ExceptionInfo) -> str:
    head, *lines = str(error.value).split("\n")
    assert len(lines) == 1 and head == "nothing was written, 1 problem:", error.value
    return lines[0]


@pytest.mark.parametrize(
    ("classes", "mask", "expected"),
    [
        (WHITE_AND_BLACK, Image.fromarray(255 - 255 * ONE).convert("RGB"), OBJECT),
        (WHITE_AND_BLACK, Image.fromarray(255 - 255 * ONE), OBJECT),
        (WHITE_AND_BLACK, Image.fromarray(255 - 255 * ONE).convert("P"), OBJECT),
        (BLACK_AND_WHITE, Image.fromarray(255 * ONE), OBJECT),
        (BLACK_AND_WHITE, Image.fromarray(255 * ONE).convert("1"), OBJECT),
        ("a 0 0 0\nb 128 128 128\nc 200 200 200\n", Image.fromarray(np.array([0, 128, 200], np.uint8)[MASK]), TRUTH),
        (CLASSES, Image.fromarray(COLORS[MASK]), TRUTH),
        (CLASSES, palette_mask(MASK, COLORS), TRUTH),
        (CLASSES, palette_mask(MASK + 100, np.resize(COLORS, [256, 3])[np.arange(256) - 100]), TRUTH),
        (CLASSES, Image.fromarray(MASK), TRUTH),
        (CLASSES, Image.fromarray(MASK).convert("P"), TRUTH),
        (CLASSES, palette_mask(MASK, np.array([(0, 0, 0), (9, 9, 0), (0, 9, 9)], np.uint8)), TRUTH),
    ],
    ids=["RGB", "grey", "grey palette", "object 255", "1 bit", "greys", "colours", "palette", "other indices", "index",
         "index palette", "index of other colours"],
)  # fmt: skip
def test_colours_decide_and_indices_where_there_are_none(classes, mask, expected, own):
    own.add(mask=mask)
    own.build(classes)
    assert own.pixels() == expected


@pytest.mark.parametrize(
    ("classes", "mask", "expected"),
    [
        (CLASSES, palette_mask(np.array([2, 1, 0], np.uint8)[MASK], COLORS[::-1]), TRUTH),
        (CLASSES, Image.fromarray(COLORS[MASK]).quantize(3), TRUTH),
        (WHITE_AND_BLACK, Image.fromarray(255 - 255 * ONE).convert("1"), OBJECT),
    ],
    ids=["another order", "quantize", "1 bit"],
)
def test_two_readings_are_an_error_that_says_both(classes, mask, expected, own):
    own.add(mask=mask)
    with pytest.raises(UserError, match="values and colours of this mask are different classes") as error:
        own.build(classes)
    assert "--mask_values=colors or --mask_values=index" in one_line(error)
    own.build(classes, "--mask_values=colors")
    assert own.pixels() == expected
    own.build(classes, "--mask_values=index")
    assert own.pixels() != expected


def test_white_that_has_no_index_is_not_taken_for_ignored(own):
    own.add(mask=Image.fromarray(np.array([0, 1, 255], np.uint8)[MASK]))
    with pytest.raises(UserError, match="255 has the colour .255, 255, 255. of class 1"):
        own.build(BLACK_AND_WHITE)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_has_the_ids(bits, own):
    own.add(mask=grey_png(MASK, bits))
    own.build()
    assert own.pixels() == TRUTH


def test_grey_of_one_bit_has_the_ids(own):
    own.add(mask=grey_png(ONE, 1))
    own.build("a,b")
    assert own.pixels() == OBJECT


def test_16_bits_have_the_ids_or_the_value_is_named(own):
    own.add(mask=Image.fromarray(MASK.astype(np.uint16)))
    own.build()
    assert own.pixels() == TRUTH
    own.add(mask=Image.fromarray(MASK.astype(np.uint16) * 150))
    with pytest.raises(UserError, match=r"a.png: label value 300 \(200 pixels\) in a mask of 16 bits, expected"):
        own.build()


@pytest.mark.parametrize(
    ("mask", "options", "expected"),
    [
        (
            Image.fromarray(COLORS[MASK]).convert("RGBA"),
            {},
            "a mask with mode RGBA, expected .*; save it without transp",
        ),
        (Image.fromarray(MASK).convert("LA"), {}, "a mask with mode LA, expected .*; save it without transparency"),
        (
            Image.fromarray(COLORS[MASK]),
            {},
            "mode RGB, expected .*; its colours can be read if the file of --class_names",
        ),
        (Image.fromarray(MASK).convert("RGB"), {}, "mode RGB, expected .*; its three channels are equal, so save one"),
        (
            Image.fromarray(MASK),
            {"format": "TIFF", "save_all": True, "append_images": [photo()]},
            "has 2 pages or frames",
        ),
        (Image.fromarray(RAMP.astype(np.float32)), {"format": "TIFF"}, "a mask with mode F, expected"),
        (Image.fromarray(MASK), {"format": "TIFF", "tiffinfo": {262: 0}}, "stores white as 0"),
    ],
)
def test_masks_that_have_no_ids_are_one_line(mask, options, expected, own):
    own.add(mask=mask, **options)
    with pytest.raises(UserError, match=f"a.png: .*{expected}|a.png: {expected}") as error:
        own.build()
    one_line(error)


def test_palettes_that_contradict_each_other_are_told(own):
    own.add("a", palette_mask(MASK, COLORS))
    own.add("b", palette_mask(np.array([1, 0, 2], np.uint8)[MASK], COLORS[[1, 0, 2]]))
    with pytest.raises(UserError, match=r"the colour \(.*\) is . here and . in .*; an editor may have sorted") as error:
        own.build()
    one_line(error)
    own.build("a,b,c", "--mask_values=index")
    own.add_mask("b", palette_mask(MASK, COLORS))
    own.build()
    assert own.pixels() == {value: 2 * count for value, count in TRUTH.items()}


def test_palettes_of_repeated_colours_are_no_contradiction(own):
    black = np.zeros([3, 3], np.uint8)
    own.add("a", palette_mask(MASK, black))
    own.add("b", palette_mask(MASK[:, ::-1].copy(), COLORS))
    own.build()
    assert own.pixels() == {value: 2 * count for value, count in TRUTH.items()}


def test_255_as_the_object_is_said(own, capsys):
    own.add("a", Image.fromarray(255 * ONE))
    own.add("b", Image.fromarray(ONE))
    own.build("a,b")
    out = capsys.readouterr().out
    assert "1 of 2 masks hold 0 and 255 only, and 255 is ignored" in out and "never occur" not in out
    own.add_mask("b", Image.fromarray(255 * ONE))
    own.build("a,b")
    out = capsys.readouterr().out
    assert "classes that never occur in the masks (1 of 2): b" in out and "2 of 2 masks hold 0 and 255 only" in out


def test_a_clean_data_set_says_nothing_more(own, capsys):
    own.add()
    own.build()
    assert capsys.readouterr().out.splitlines()[-1].endswith("3 classes, 1 splits")


def test_the_palette_of_voc_is_fixed(tmp_path):
    path, colors = tmp_path / "a.png", voc_colors(21)
    color_map = color_map_of([*colors, voc_colors()[255]], [*range(len(VOC_CLASSES)), 255])
    palette_mask(MASK, voc_colors()).save(path)
    np.testing.assert_array_equal(read_mask(path, color_map, reading=FIXED), MASK)
    Image.fromarray(MASK).convert("P").save(path)
    np.testing.assert_array_equal(read_mask(path, color_map, reading=FIXED), MASK)
    permuted = voc_colors().copy()
    permuted[[0, 2]] = permuted[[2, 0]]
    palette_mask(np.array([2, 1, 0], np.uint8)[MASK], permuted).save(path)
    with pytest.raises(UserError, match=r"has the colour \(0, 128, 0\) as 0, expected \(0, 0, 0\); an editor may"):
        read_mask(path, color_map, reading=FIXED)


def test_colours_may_be_asked_for(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(MASK).save(path)
    with pytest.raises(UserError, match="its value 1 has the colour .1, 1, 1., which is none of the colour map"):
        read_mask(path, color_map_of(COLORS.tolist()), reading=BY_COLORS)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_mask_is_turned_by_its_own_flag(orientation, own):
    Image.fromarray(np.repeat(MASK[..., None] * 100, 3, axis=2)).save(own.images / "a.png", exif=exif(orientation))
    own.add_mask("a", Image.fromarray(MASK), exif=exif(orientation))
    own.build()
    assert own.pixels() == TRUTH
    turned = read_mask(own.masks / "a.png")
    np.testing.assert_array_equal(np.asarray(read_photo(own.images / "a.png"))[..., 0], turned * 100)


def test_photos_that_are_turned_without_their_masks_are_said(own, capsys):
    photo().save(own.images / "a.png", exif=exif(3))
    own.add_mask("a", Image.fromarray(MASK))
    own.build()
    assert "1 photos were turned by EXIF; their masks are taken as upright" in capsys.readouterr().out


def test_sizes_that_differ_by_the_turn_are_said_so(own):
    photo().save(own.images / "a.png", exif=exif(6))
    own.add_mask("a", Image.fromarray(MASK))
    with pytest.raises(UserError) as error:
        own.build()
    line = one_line(error)
    assert "mask of 60x40 pixels for an image of 40x60" in line and "the photo is turned by EXIF 6" in line
