"""Names that become paths or reach a terminal: one rule in Python and in tf.data."""

import pytest
import tensorflow as tf

from wss.data.names import (
    ID_PATTERN_RE2,
    MAX_ID_BYTES,
    decoded_id,
    is_file_name,
    is_id,
    is_name,
    is_printable,
    is_relative_path,
    is_split_name,
)

GOOD = ["a", "a/b.c", "2007_000032", "..a", ".a", "a..b", "a b", "ü", "\u5c71", "a\u200cb", "-", "~"]
BAD = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "./a",
    "a\nb",
    "a\0",
    "\x1b[0m",
    "\x7f",
    "\u2028",
    "\u2066",
]


@pytest.mark.parametrize("name", GOOD)
def test_ids_that_are_paths_below_a_folder_are_taken(name):
    assert is_id(name) and decoded_id(name.encode()) == name


@pytest.mark.parametrize("name", BAD)
def test_other_ids_are_refused_and_shown_safely(name):
    assert not is_id(name)
    with pytest.raises(ValueError, match="its id is '") as error:
        decoded_id(name.encode())
    assert str(error.value).isprintable()


def test_an_id_has_room_for_a_suffix():
    assert is_id("ü" * (MAX_ID_BYTES // 2)) and not is_id("ü" * (MAX_ID_BYTES // 2) + "a")


def test_both_engines_take_the_same_characters():
    characters = [chr(point) for point in range(0x3000) if not 0xD800 <= point <= 0xDFFF]
    names = [
        prefix + character + suffix for character in characters for prefix, suffix in (("", ""), ("a", "b"), (".", ""))
    ]
    taken = tf.strings.regex_full_match(names, ID_PATTERN_RE2).numpy()
    assert [name for name, other in zip(names, taken, strict=True) if is_id(name) != other] == []
    assert not tf.strings.regex_full_match(b"\xed\xa0\x80", ID_PATTERN_RE2)  # a surrogate


def test_other_names():
    assert is_file_name("train-00000-of-00004.tfrecord") and is_relative_path("splits/few.json")
    for wrong in ("a/b", "a\\b", "c:b", "..", "", None, 5):
        assert not is_file_name(wrong)
    for wrong in ("../a", "/a", "a\\b", "", None):
        assert not is_relative_path(wrong)
    assert (
        is_name("traffic light") and is_name("人") and not is_name("  ") and not is_name("a" * 201) and not is_name(3)
    )
    assert is_printable("") and not is_printable("a\tb") and not is_printable(b"a")
    assert (
        is_split_name("train_1.16")
        and not is_split_name(".a")
        and not is_split_name("a/b")
        and not is_split_name("a\n")
    )
