"""Class files of label tools: names, ids and colours as the tool means them, or one line on what the text looks like."""

import json

import pytest
from mask_files import COLORS, MASK, TRUTH, OwnFolders
from PIL import Image

from wss.conversion.class_files import read_class_list, read_classes
from wss.data.class_colors import default_colors
from wss.data.mask_colors import COLORS as BY_COLORS
from wss.errors import UserError

NAMES = ["background", "road", "tree"]
TRIPLES = [tuple(color) for color in COLORS.tolist()]
HEX = ["#{:02x}{:02x}{:02x}".format(*color) for color in TRIPLES]
CVAT = "background:0,0,0::\nroad:128,64,128::\ntree:107,142,35::\n"
TABLE = "background,0,0,0\nroad,128,64,128\ntree,107,142,35\n"


def read(tmp_path, content, file="classes.txt"):
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_class_list(str(path))


def objects(*keys: str) -> list[dict]:
    rows = zip(NAMES, TRIPLES, HEX, range(3), strict=True)
    return [{key: dict(name=n, title=n, color=list(c), hex=h, id=i)[key] for key in keys} for n, c, h, i in rows]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\n" + CVAT),
        ("labelmap.txt", CVAT.replace("\n", "\r\n")),
        ("class_dict.csv", "name,r,g,b\n" + TABLE),
        ("class_dict.csv", "name, r, g, b\r\n" + TABLE.replace(",", ", ").replace("\n", "\r\n")),
        ("classes.csv", "class;red;green;blue\n" + TABLE.replace(",", ";")),
        ("classes.tsv", "name\tr\tg\tb\n" + TABLE.replace(",", "\t")),
        ("classes.csv", TABLE),
        ("classes.csv", "id,name,r,g,b\n2,tree,107,142,35\n0,background,0,0,0\n1,road,128,64,128\n"),
        ("classes.csv", "name,color\n" + "".join(f"{n},{h}\n" for n, h in zip(NAMES, HEX, strict=True))),
        ("classes.csv", 'name,color\nbackground,"0,0,0"\nroad,"(128, 64, 128)"\ntree,107 142 35\n'),
        ("label_colors.txt", "0 0 0\tbackground\n128 64 128\troad\n107 142 35\t\ttree\n"),
        ("classes.txt", "0 background 0 0 0\n1 road 128 64 128\n2 tree 107 142 35\n"),
        ("classes.json", json.dumps(objects("name", "color"))),
        ("classes.json", json.dumps(objects("name", "color", "id")[::-1])),
        ("meta.json", json.dumps({"classes": [{**o, "id": 7000, "color": o["hex"]} for o in objects("title", "hex")]})),
        ("classes.json", json.dumps(dict(zip(NAMES, TRIPLES, strict=True)))),
        ("classes.txt", b"\xef\xbb\xbf" + TABLE.replace(",", " ").encode()),
    ],
)  # fmt: skip
def test_tables_with_colours_are_read(file, content, tmp_path):
    found = read(tmp_path, content, file)
    assert (found.names, found.colors) == (NAMES, TRIPLES)
    assert found.color_map == {color: value for value, color in enumerate(TRIPLES)}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("_classes.csv", "Pixel Value, Class\n 0, background\n 1, road\n 2, tree\n"),
        ("_classes.csv", "Pixel Value, Class\n2, tree\n0, background\n1, road\n"),
        ("classes.txt", "0 background\n1 road\n2 tree\n"),
        ("classes.txt", "0: background\n1: road\n2: tree\n"),
        ("classes.csv", "0,background\n1,road\n2,tree\n"),
        ("classes.txt", "background,\nroad,\ntree,\n"),
        ("classes.txt", "background,road,tree\n"),
        ("classes.txt", "\ufeffbackground\r\nroad\r\n\r\ntree"),
        ("classes.json", json.dumps(NAMES)),
        ("classes.json", json.dumps({"names": NAMES})),
        ("classes.json", json.dumps({name: id for id, name in enumerate(NAMES)})),
        ("classes.json", json.dumps({id: name for id, name in enumerate(NAMES)})),
    ],
)  # fmt: skip
def test_tables_without_colours_are_read(file, content, tmp_path):
    found = read(tmp_path, content, file)
    assert found.names == NAMES and found.color_map is None


def test_labelme_counts_from_minus_one(tmp_path, run_script):
    own = OwnFolders(tmp_path, run_script)
    own.add()
    info = own.build("__ignore__\n_background_\nroad\ntree\n")
    assert info.class_names == ("_background_", "road", "tree") and own.pixels() == TRUTH


def test_colours_of_cvat_read_rgb_masks(tmp_path, run_script):
    own = OwnFolders(tmp_path, run_script)
    own.add(mask=Image.fromarray(COLORS[MASK]))
    own.build("# label:color_rgb:parts:actions\n" + CVAT, file="labelmap.txt")
    assert own.pixels() == TRUTH


def test_an_ignored_colour_before_the_classes_shifts_no_id(tmp_path, run_script):
    own = OwnFolders(tmp_path, run_script)
    lines = "ignore 9 9 9\nbackground 0 0 0\nroad 128 64 128\ntree 107 142 35\n"
    own.add(mask=Image.fromarray(COLORS[MASK]))
    own.build(lines)
    assert own.pixels() == TRUTH and read(tmp_path, lines).reading == BY_COLORS
    own.add_mask("a", Image.fromarray(MASK + 1))  # as a tool counts that has the ignored entry as 0
    with pytest.raises(UserError, match="its value 1 has the colour .1, 1, 1., which is none"):
        own.build(lines)


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        ("# my classes\nbackground\nroad\n", "a comment"),
        ("#\nbackground\nroad\n", "a comment"),
        ("name\nbackground\nroad\n", "the header of a table"),
        ("3\nbackground\nroad\n", "a number"),
        ("0\n1\n2\n", "a number"),
        ("label:color_rgb\nbackground\nroad\n", "a line of CVAT's labelmap.txt"),
        ("background: 0 0 0\nroad: 1 1 1\n", "YAML or a setting"),
        ("nc: 2\nnames: [a, b]\n", "YAML or a setting"),
        ("classes= 3\nnames=foo\n", "YAML or a setting"),
        ("background 0.0 0.0 0.0\nroad 0.5 0.5 0.5\n", "a name with a colour that is not"),
        ("background\nro\x1b[31mad\n", "a text with control or invisible characters"),
        ("background\nro\u200bad\n", "a text with control or invisible characters"),
        ("background\n\u202edaor\n", "a text with control or invisible characters"),
        ("background\n" + "x" * 300 + "\n", "a text of 300 characters"),
        ("a.png\nb.png\n", "the name of a file"),
    ],
)
def test_what_can_be_no_name_is_told(content, looks, tmp_path):
    with pytest.raises(
        UserError, match=f"classes.txt:[12]: .* can be no name of a class, it looks like {looks}"
    ) as error:
        read(tmp_path, content)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("a.txt", "background\nroad\n".encode("utf-16"), "cannot be read as text .it is UTF-16.; save it as UTF-8"),
        ("a.txt", "background\nroad\n".encode("utf-16-be"), "it is UTF-16"),
        ("a.txt", b"", "empty file"),
        ("a.txt", bytes(range(1, 256)), "cannot be read as text"),
        ("a.yaml", "names: [a, b]\n", "YAML, XML or no list at all; expected a text file with a class per line"),
        ("a.txt", "<html></html>", "YAML, XML or no list at all"),
        ("a.json", "[" * 100_000, "no JSON .nested too deeply."),
        ("a.json", '{"a": 0, "a": 1}', "no JSON .'a' is there twice."),
        ("a.json", "[1, 2]", "item 0: '1' has no name"),
        ("a.json", "{}", "no classes in it"),
        (
            "a.json",
            '[{"name": "a", "color": [1, 2]}, "b"]',
            "item 0: the colour '.1, 2.'; expected red, green and blue",
        ),
        ("a.json", '[{"name": "a", "id": 1e3}, "b"]', "item 0: the id '1000.0'; expected a number"),
        ("a.csv", "Pixel Value, Class\n1, a\n2, b\n", "the ids 1, 2; expected 0 .. 1, each once: the background too"),
        ("a.csv", "Pixel Value, Class\n0, a\n0, b\n", "the ids 0, 0; expected 0 .. 1"),
        ("a.csv", "name,r,g,b\nbackground,0,0\n", "a.csv:2: 3 columns, expected 4 as in the first line"),
        ("a.csv", "name,r,g,b\na,0,0,0\nb,0,0,256\n", "a.csv:3: the colour '0,0,256'"),
        (
            "a.txt",
            "# label:color_rgb:parts:actions\na:0,0,0::\nb\n",
            "a.txt:3: 'b'; expected 'label:red,green,blue:parts",
        ),
        (
            "a.txt",
            "a\n__ignore__\nb\n",
            "a.txt:2: '__ignore__' is no class, and the ids of those beside it are unclear",
        ),
    ],
)
def test_damaged_class_files_are_one_line(file, content, expected, tmp_path):
    with pytest.raises(UserError, match=expected) as error:
        read(tmp_path, content, file)
    assert "\n" not in str(error.value) and file in str(error.value)


@pytest.mark.parametrize("text", ["ignore,road,tree", "road,ignore,tree", "road,tree,Ignore"])
def test_an_ignored_name_never_shifts_the_ids(text):
    with pytest.raises(UserError, match="is no class, and the ids of those beside it are unclear"):
        read_class_list(text)


def test_texts_are_no_paths():
    names = [f"class number {number:03d}" for number in range(30)]
    assert read_classes(",".join(names))[0] == names
    assert read_classes("a,b,")[0] == ["a", "b"]
    for text, expected in [
        ("x" * 5000, "no such file"),
        ("a,,b", "an empty name"),
        (",".join("x" * 9), "is given twice"),
    ]:
        with pytest.raises(UserError, match=expected):
            read_class_list(text)


def test_names_have_one_form_of_unicode(tmp_path):
    assert read(tmp_path, "background\nroe\u0301\n").names == ["background", "ro\u00e9"]


def test_void_is_a_class_like_others(tmp_path):
    assert read(tmp_path, "name,r,g,b\nVoid,0,0,0\nroad,1,1,1\n").names == ["Void", "road"]


def test_only_classes_without_colours_get_those_of_this_project(tmp_path):
    assert read_class_list("bg,one,two").colors == default_colors(3)
    assert read_class_list("road,tree", has_background=False).colors == default_colors(2, has_background=False)
    given = tmp_path / "classes.txt"
    given.write_text("bg 0 0 0\none 128 128 128\n")
    assert read_class_list(str(given)).colors == [(0, 0, 0), (128, 128, 128)]
