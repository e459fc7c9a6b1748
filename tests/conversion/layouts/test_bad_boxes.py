"""Boxes that cannot be meant, from tables, XML files and COCO's JSON: each ends in one line that says where and what."""

import json

import pytest
from boxed_photos import HEADER, BoxedPhotos
from mask_files import photo

from wss.errors import UserError

COLUMNS = "file, class, xmin, ymin, xmax, ymax"
GOOD = "a.jpg,cat,1,2,30,40\n"
SIZED = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
VIA = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    'a.jpg,1,"{}",1,0,"{""name"":""rect"",""x"":1,""y"":2,""width"":9,""height"":9}","{}"\n'
)
OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\na,xclick,cat,1,0.1,0.5,0.2,0.9\n"

# Content of the table, and the line that is expected.
TABLES = {
    "empty file": (b"", "boxes.csv: empty file"),
    "only blank lines": ("\n\n , ,\n", f"boxes.csv: no rows; expected {COLUMNS}"),
    "only a header": (HEADER, f"boxes.csv: no rows; expected {COLUMNS}"),
    "binary": (bytes(range(1, 256)), "boxes.csv: cannot be read as text"),
    "zero bytes": (b"a\0.jpg,cat,1,2,30,40\n", "boxes.csv: cannot be read as text"),
    "UTF-16": (GOOD.encode("utf-16"), "boxes.csv: cannot be read as text (it is UTF-16); save it as UTF-8"),
    "a cell too few": (HEADER + "a.jpg,cat,1,2,30\n", "boxes.csv:2: 5 columns, expected 6 as in the header"),
    "a cell too many": (GOOD + "a.jpg,cat,1,2,30,40,1\n", f"boxes.csv:2: 7 columns, expected 6: {COLUMNS}"),
    "eight columns without a header": ("a.jpg,60,40,cat,1,2,30,40\n", f"boxes.csv:1: 8 columns, expected 6: {COLUMNS}"),
    "a header without a class": (
        "file,xmin,ymin,xmax,ymax\na.jpg,1,2,30,40\n",
        f"boxes.csv:1: no column class; found file, xmin, ymin, xmax, ymax; expected {COLUMNS}",
    ),
    "a column twice": ("file,class,class,xmin,ymin,xmax,ymax\n", "boxes.csv:1: 2 columns 'class'; expected one"),
    "boxes in one cell": (
        'image_id,width,height,bbox,source\na,60,40,"[1, 2, 3, 4]",x\n',
        "boxes.csv:1: no column class, xmin, ymin, xmax, ymax; found image_id, width, height, bbox, source",
    ),
    "a table of VIA": (VIA, "boxes.csv:1: a table of VIA, whose cells hold JSON; expected"),
    "the header again": (HEADER + GOOD + HEADER, "boxes.csv:3: the header again; expected one table, with one header"),
    "unknown class": (
        GOOD + "a.jpg,doge,1,2,3,4\n",
        "boxes.csv:2: 'doge' is no foreground class; expected one of cat, dog. Did you mean 'dog'?",
    ),
    "class by its number": (HEADER + "a.jpg,1,1,2,30,40\n", "boxes.csv:2: '1' is no foreground class; expected one of"),
    "background": (
        "a.jpg,background,1,2,30,40\n",
        "boxes.csv:1: 'background' is no foreground class; expected one of cat",
    ),
    "no class": (
        "a.jpg,,1,2,30,40\n",
        "boxes.csv:1: an empty cell among ['', '1', '2', '30', '40']; expected a class and",
    ),
    "no edge": (
        HEADER + "a.jpg,cat,1,2,30,\n",
        "boxes.csv:2: an empty cell among ['cat', '1', '2', '30', '']; expected",
    ),
    "no file": (HEADER + ",cat,1,2,30,40\n", f"boxes.csv:2: no file name; expected {COLUMNS}"),
    "a word for a number": (
        GOOD + "a.jpg,cat,1,two,30,40\n",
        "boxes.csv:2: 'two' is no number; expected edges in pixels",
    ),
    "decimal commas": (
        "file;class;xmin;ymin;xmax;ymax\na.jpg;cat;1,5;2;30;40\n",
        "boxes.csv:2: '1,5' is no number; expected edges in pixels",
    ),
    "nan": (
        "a.jpg,cat,nan,2,30,40\n",
        "boxes.csv:1: box (nan, 2) to (30, 40) lies in no image; expected edges of 0 to",
    ),
    "inf": ("a.jpg,cat,1,2,inf,40\n", "boxes.csv:1: box (1, 2) to (inf, 40) lies in no image; expected edges of 0 to"),
    "more than a float": ("a.jpg,cat,1,2,1e999,40\n", "boxes.csv:1: box (1, 2) to (inf, 40) lies in no image"),
    "huge": (
        "a.jpg,cat,1,2,1e9,40\n",
        "boxes.csv:1: box (1, 2) to (1e+09, 40) lies in no image; expected edges of 0 to",
    ),
    "negative": (
        "a.jpg,cat,-1,2,30,40\n",
        "boxes.csv:1: box (-1, 2) to (30, 40) lies in no image; expected edges of 0",
    ),
    "no area": ("a.jpg,cat,1,2,1,40\n", "boxes.csv:1: box (1, 2) to (1, 40) has no area; expected xmin < xmax"),
    "swapped": (
        "a.jpg,cat,30,2,1,40\n",
        "boxes.csv:1: box (30, 2) to (1, 40) has its edges swapped; expected xmin < xmax",
    ),
    "outside": (
        "a.jpg,cat,1,2,61,40\n",
        "a.jpg: box (1, 2) to (61, 40) in an image of 60x40 pixels; expected a box with an area, inside of the image",
    ),
    "normalised": ("a.jpg,cat,0.1,0.2,0.5,1\n", "boxes.csv: all edges are <= 1: normalised? expected pixels"),
    "normalised, of Open Images": (OPEN_IMAGES, "boxes.csv: all edges are <= 1: normalised? expected pixels"),
    "no such image": (
        GOOD + "z.jpg,cat,1,2,30,40\n",
        "boxes.csv:2: 'z.jpg' is no image of --images or --unlabeled; expected its path in that folder, such as sub/a.jpg",
    ),
    "absolute path": (
        "/data/a.jpg,cat,1,2,30,40\n",
        "boxes.csv:1: '/data/a.jpg' is no path in the folder of the images",
    ),
    "path of Windows": (
        "C:\\x\\a.jpg,cat,1,2,30,40\n",
        "boxes.csv:1: 'C:\\\\x\\\\a.jpg' is no path in the folder of the",
    ),
    "path that leads out": (
        "../a.jpg,cat,1,2,30,40\n",
        "boxes.csv:1: '../a.jpg' is no path in the folder of the images",
    ),
    "one name of two images": (
        "twice.jpg,cat,1,2,30,40\n",
        "boxes.csv:1: 'twice.jpg' may be 2 images, 'one/twice', 'two/twice'; expected the path in --images",
    ),
    "two names of one image": (
        GOOD + "a.png,cat,1,2,30,40\n",
        "boxes.csv:2: 'a.png' is the image of",
    ),
    "another size": (
        SIZED + "a.jpg,600,400,cat,1,2,30,40\n",
        "a.jpg: an image of 60x40 pixels, whose boxes are of one of 600x400; expected equal sizes",
    ),
    "two sizes": (
        SIZED + "a.jpg,60,40,cat,1,2,30,40\na.jpg,40,60,cat,1,2,3,4\n",
        "boxes.csv:3: an image of 40x60, which is another size than in",
    ),
    "a size that is none": (
        SIZED + "a.jpg,w,40,cat,1,2,30,40\n",
        "boxes.csv:2: width and height are 'w' and '40'; expected",
    ),
    "an endless size": (
        SIZED + "a.jpg,inf,40,cat,1,2,30,40\n",
        "boxes.csv:2: width and height are 'inf' and '40'; expected",
    ),
    "a quote without end": (HEADER + GOOD + '"a.jpg,cat,1,2,30,40\n' + GOOD * 9, "boxes.csv:3: unexpected end of data"),
    "a cell without end": (
        HEADER + '"' + "x" * 200_000,
        "boxes.csv:2: field larger than field limit (131072); expected",
    ),
    "no object and one": ("a.jpg\n" + GOOD, "boxes.csv:2: a box of 'a.jpg', though"),
    "one and no object": (GOOD + "a.jpg\n", "boxes.csv:2: says that 'a.jpg' has no object, though"),
}


@pytest.fixture
def photos(tmp_path, run_script) -> BoxedPhotos:
    folder = BoxedPhotos(tmp_path, run_script)
    folder.add("a.jpg", "one/twice.jpg", "two/twice.jpg")
    return folder


def only_line(photos: BoxedPhotos, content: str | bytes | None, **settings) -> str:
    """The one line that a conversion ends in; nothing is left of it."""
    with pytest.raises(UserError) as error:
        photos.build(content, **settings)
    head, *lines = str(error.value).split("\n")
    assert len(lines) <= 1 and not (photos.root / "out").exists(), lines
    return (lines or [head])[0]


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_cannot_be_meant_are_one_line(name, photos):
    content, expected = TABLES[name]
    assert expected in only_line(photos, content)


def test_a_table_that_is_not_there_is_told(photos):
    assert "nothing.csv: missing" in only_line(photos, None, boxes=photos.root / "nothing.csv")


def test_a_folder_without_xml_files_is_told(photos):
    line = only_line(photos, None, boxes=photos.images)
    assert (
        f"--boxes={photos.images}: no *.xml in it; expected PASCAL VOC's annotations, or give a CSV or JSON file"
        in line
    )


def test_all_bad_rows_are_told_at_once(photos):
    with pytest.raises(UserError) as error:
        photos.build(GOOD + "a.jpg,cow,1,2,3,4\na.jpg,cat,4,2,3,4\nz.jpg,cat,1,2,3,4\n")
    assert [line.split(": ")[0][-1] for line in str(error.value).split("\n")[1:]] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            "a.jpg,cat,50,10,59,30\n",
            "a.jpg: box (50, 10) to (59, 30) in an image of 40x60 pixels; expected a box with an area, inside of the image; "
            "the photo is turned by EXIF 6, its boxes are not: turn them too",
        ),
        (
            SIZED + "a.jpg,60,40,cat,1,2,30,40\n",
            "a.jpg: an image of 40x60 pixels, whose boxes are of one of 60x40; expected equal sizes; the photo is turned by "
            "EXIF 6",
        ),
    ],
)
def test_boxes_of_a_photo_before_it_is_turned_are_told(row, expected, photos):
    image = photo()
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(photos.images / "a.jpg", exif=exif)
    assert only_line(photos, row).endswith(expected)


def test_boxes_that_fit_a_turned_photo_are_counted(photos, capsys):
    image = photo()
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(photos.images / "a.jpg", exif=exif)
    photos.build("a.jpg,cat,1,2,30,40\n")
    assert "1 photos with boxes were turned by EXIF; their boxes are taken as upright" in capsys.readouterr().out


OBJECT = (
    "<object><name>cat</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
XML = {
    "cut off": ("<annotation><object>", "a.xml: no annotation of PASCAL VOC"),
    "entities": (BOMB, "a.xml: no annotation of PASCAL VOC (a document type with entities)"),
    "background": (OBJECT.replace("cat", "background").format(1, 1, 9, 9), "a.xml: no annotation of PASCAL VOC (class"),
    "no number": (OBJECT.format(1, 1, "x", 9), "a.xml: no annotation of PASCAL VOC (could not convert string to float"),
    "no box": ("<object><name>cat</name></object>", "a.xml: no annotation of PASCAL VOC (bndbox of cat"),
    "outside": (OBJECT.format(1, 1, 61, 9), "a.jpg: box (0, 0) to (61, 9) in an image of 60x40 pixels; expected a box"),
    "swapped": (OBJECT.format(30, 1, 9, 9), "a.jpg: box (29, 0) to (9, 9) in an image of 60x40 pixels; expected a box"),
    "another size": (
        f"<size><width>6</width><height>4</height></size>{OBJECT.format(1, 1, 3, 3)}",
        "a.jpg: an image of 60x40 pixels, whose boxes are of one of 6x4; expected equal sizes",
    ),
    "normalised": (OBJECT.format(0.1, 0.1, 0.5, 0.9), "xml: all edges are <= 1: normalised? expected pixels"),
}


@pytest.mark.parametrize("name", XML)
def test_xml_files_that_cannot_be_meant_are_one_line(name, photos):
    content, expected = XML[name]
    folder = photos.root / "xml"
    folder.mkdir()
    (folder / "a.xml").write_text(content if name in ("cut off", "entities") else f"<annotation>{content}</annotation>")
    assert expected in only_line(photos, None, boxes=folder)


def test_an_xml_file_without_an_image_is_told(photos):
    (photos.root / "xml").mkdir()
    (photos.root / "xml/z.xml").write_text(f"<annotation>{OBJECT.format(1, 1, 9, 9)}</annotation>")
    assert "z.xml: 'z' is no image of --images" in only_line(photos, None, boxes=photos.root / "xml")


COCO = {
    "no JSON": (lambda content: content[:40], "boxes.json: no JSON ("),
    "a list": (lambda content: "[1, 2]", 'boxes.json: no list "categories" in it; expected COCO'),
    "no images": (lambda content: content.replace('"images"', '"photos"'), 'boxes.json: no list "images" in it'),
    "no size": (
        lambda content: content.replace('"height"', '"h"'),
        "boxes.json: \"images\" 0: 'height' is missing or wrong",
    ),
    "no box": (lambda content: content.replace('"bbox"', '"box"'), "boxes.json: \"annotations\" 0: 'bbox' is missing"),
    "no such image": (
        lambda content: content.replace('"image_id": 1', '"image_id": 7'),
        'boxes.json: annotation 0: no image 7 among its "images"',
    ),
    "no such category": (
        lambda content: content.replace('"category_id": 5', '"category_id": 6'),
        "boxes.json: annotation 0: category 6 is no foreground class; expected one of cat, dog.",
    ),
    "another class": (
        lambda content: content.replace('"cat"', '"cats"'),
        "boxes.json: annotation 0: 'cats' is no foreground class; expected one of cat, dog. Did you mean 'cat'?",
    ),
    "three numbers": (
        lambda content: content.replace("[1, 2, 29, 38]", "[1, 2, 3]"),
        "'bbox' is [1, 2, 3]; expected [x, y,",
    ),
    "nan": (lambda content: content.replace("[1, 2", "[NaN, 2"), "boxes.json: no JSON (NaN is no number)"),
    "outside": (
        lambda content: content.replace("[1, 2", "[61, 2"),
        "'bbox' [61, 2, 29, 38] leaves an image of 60x40; expected [x, y, width, height], not two corners",
    ),
    "two corners": (
        lambda content: content.replace("[1, 2, 29, 38]", "[20, 12, 45, 39]"),
        "'bbox' [20, 12, 45, 39] leaves an image of 60x40; expected [x, y, width, height], not two corners",
    ),
    "no area": (
        lambda content: content.replace("[1, 2, 29, 38]", "[1, 2, 0, 38]"),
        "has no area in an image of 60x40; expected pixels",
    ),
    "another size": (
        lambda content: content.replace('"width": 60', '"width": 600'),
        "a.jpg: an image of 60x40 pixels, whose boxes are of one of 600x40; expected equal sizes",
    ),
    "normalised": (
        lambda content: content.replace("[1, 2, 29, 38]", "[0.1, 0, 0.5, 1]"),
        "all edges are <= 1: normalised?",
    ),
}


@pytest.mark.parametrize("name", COCO)
def test_json_that_cannot_be_meant_is_one_line(name, photos):
    change, expected = COCO[name]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}],
        "categories": [{"id": 5, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 2, 29, 38]}],
    }
    changed = change(json.dumps(content))
    assert expected in only_line(photos, changed, boxes=photos.root / "boxes.json")
