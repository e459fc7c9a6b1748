"""Small exports of label tools: photos of 8 x 6 pixels, and annotations in the form of each tool."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 6, 8
EMPTY = ["........"] * HEIGHT
# What `polygon` draws by pycocotools' rule and by labelme's: the latter includes its edge.
COCO_BOX = [EMPTY[0], ".11.....", ".11.....", *EMPTY[3:]]
LABELME_BOX = [EMPTY[0], ".111....", ".111....", ".111....", *EMPTY[4:]]


def drawn(rows: list[str], **values: int) -> np.ndarray:
    """A mask from rows such as ".12#": "." is the background, "#" is ignored."""
    values = {".": 0, "#": 255, **{str(i): i for i in range(10)}, **values}
    return np.array([[values[character] for character in row] for row in rows], np.uint8)


def photo(path: Path, seed: int = 0, **options: Any) -> None:
    """Writes a photo of noise; `options` are those of `Image.save`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *str(path).encode()]).integers(0, 256, [HEIGHT, WIDTH, 3], dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def mask_file(path: Path, rows: list[str], colors: dict[int, tuple[int, int, int]] | None = None) -> None:
    """Writes a mask: grey, or RGB in these colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = drawn(rows)
    if colors:
        mask = np.array([[colors[int(value)] for value in row] for row in mask], np.uint8)
    Image.fromarray(mask).save(path)


def rectangle(xmin: float, ymin: float, xmax: float, ymax: float) -> list[float]:
    """A polygon of COCO."""
    return [xmin, ymin, xmax, ymin, xmax, ymax, xmin, ymax]


def annotation(id: int, image: int, category: int, segmentation: Any, **more: Any) -> dict:
    """An entry of COCO's annotations."""
    return {
        "id": id, "image_id": image, "category_id": category, "segmentation": segmentation, "area": 4.0,
        "bbox": [1, 1, 2, 2], "iscrowd": 0, **more,
    }  # fmt: skip


def coco(images: dict[int, str], annotations: list[dict], categories: list[dict]) -> dict:
    """The content of an annotation file."""
    size = {"height": HEIGHT, "width": WIDTH}
    listed = [{"id": id, "file_name": name, **size} for id, name in images.items()]
    return {"licenses": [], "info": {}, "images": listed, "annotations": annotations, "categories": categories}


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def png(array: np.ndarray) -> str:
    """An image in base 64, as labelme has them."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shape(label: str, points: list, kind: str = "polygon", **more: Any) -> dict:
    """A shape of labelme."""
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def labelme(path: Path, shapes: list[dict], image: str, **more: Any) -> None:
    """Writes a file of labelme."""
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    content = {"version": "5.2.1", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None, **size, **more}
    write_json(path, content)


def cvat_masks(root: Path) -> None:
    """Three photos, two of them with a mask, one in a folder with a blank in its name."""
    colors = {0: (0, 0, 0), 1: (250, 50, 83), 2: (51, 221, 255)}
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/default.txt").write_text('a\n"my photos/b"\nc\n')
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\nBär:51,221,255::\n", encoding="utf-8"
    )
    for name in ("a", "my photos/b", "c"):
        photo(root / f"JPEGImages/{name}.jpg")
    for folder in ("SegmentationClass", "SegmentationObject"):
        mask_file(root / folder / "a.png", [*EMPTY[:5], "..1122.."], colors)
        mask_file(root / folder / "my photos/b.png", ["22......", *EMPTY[1:]], colors)


def cvat_coco(root: Path) -> None:
    """Three photos: a polygon, a mask in run lengths, nothing."""
    for name in ("a", "sub/b", "c"):
        photo(root / f"images/default/{name}.jpg")
    runs = {"size": [HEIGHT, WIDTH], "counts": [0, 2, HEIGHT * WIDTH - 2]}
    categories = [{"id": 1, "name": "dog", "supercategory": ""}, {"id": 2, "name": "cat", "supercategory": ""}]
    found = [annotation(1, 1, 1, [rectangle(1, 1, 3, 3)]), annotation(2, 2, 2, runs, bbox=[0, 0, 1, 2])]
    content = coco({1: "a.jpg", 2: "sub/b.jpg", 3: "c.jpg"}, found, categories)
    write_json(root / "annotations/instances_default.json", content)


def roboflow_coco(root: Path) -> None:
    """Splits whose categories have other numbers; a photo of valid shows only background."""
    tree = {
        "train": ({0: "a_jpg.rf.1f.jpg"}, [annotation(0, 0, 1, [rectangle(1, 1, 3, 3)])], ["cat", "dog"]),
        "valid": (
            {0: "b_jpg.rf.2e.jpg", 1: "n_jpg.rf.3d.jpg"},
            [annotation(0, 0, 1, [rectangle(1, 1, 3, 3)])],
            ["dog", "cat"],
        ),
        "test": ({0: "c_jpg.rf.4c.jpg"}, [], ["cat", "dog"]),
    }
    for split, (images, annotations, names) in tree.items():
        for name in images.values():
            photo(root / split / name)
        root_category = {"id": 0, "name": "pets", "supercategory": "none"}
        categories = [root_category, *({"id": i, "name": n, "supercategory": "pets"} for i, n in enumerate(names, 1))]
        write_json(root / split / "_annotations.coco.json", coco(images, annotations, categories))
    (root / "README.roboflow.txt").write_text("pets")


def roboflow_masks(root: Path) -> None:
    """Two splits whose classes have another order."""
    for split, names in {"train": ["background", "cat", "dog"], "valid": ["background", "dog", "cat"]}.items():
        photo(root / split / f"{split}_jpg.rf.9.jpg")
        mask_file(root / split / f"{split}_jpg.rf.9_mask.png", ["12......", *EMPTY[1:]])
        lines = [f"{i}, {name}" for i, name in enumerate(names)]
        (root / split / "_classes.csv").write_text("\n".join(["Pixel Value, Class", *lines]))


def studio_coco(root: Path) -> None:
    """A polygon of the first of two photos, whose names Label Studio changed."""
    for name in ("0a1b2c3d-my_photo.jpg", "0a1b2c3e-b.jpg"):
        photo(root / "images" / name)
    images = {0: "images/0a1b2c3d-my_photo.jpg", 1: "images\\0a1b2c3e-b.jpg"}
    found = [annotation(0, 0, 0, [rectangle(1, 1, 3, 3)], ignore=0)]
    write_json(root / "result.json", coco(images, found, [{"id": 0, "name": "Car"}, {"id": 1, "name": "Road sign"}]))


def studio_brush(root: Path) -> tuple[Path, Path]:
    """Two tasks, the first of which has regions; returns the folder of the photos and the tasks."""
    whole, part = [*EMPTY[:3], *["11111111"] * 3], [*EMPTY[:5], "1......."]
    for label, rows in (("Road-sign-0", part), ("Car-0", whole), ("Car-1", ["1.......", *EMPTY[1:]])):
        mask_file(root / f"brush/task-12-annotation-7-by-1-tag-{label}.png", rows)
        path = root / f"brush/task-12-annotation-7-by-1-tag-{label}.png"
        Image.fromarray(np.asarray(Image.open(path)) * 255).save(path)
    for name in ("my photo", "b"):
        photo(root / f"photos/{name}.jpg")
    region = lambda label: {"from_name": "tag", "type": "brushlabels", "value": {"brushlabels": [label], "rle": []}}
    regions = [region("Car"), region("Road-sign"), region("Car")]
    tasks = [
        {
            "id": 12,
            "data": {"image": "/data/upload/1/0a1b2c3d-my_photo.jpg"},
            "annotations": [{"id": 7, "result": regions}],
        },
        {"id": 13, "data": {"image": "/data/local-files/?d=photos%5Cb.jpg"}, "annotations": []},
    ]
    write_json(root / "project-1.json", tasks)
    return root / "photos", root / "project-1.json"


def labelme_tree(root: Path) -> None:
    """Every kind of shape; a photo inside of its file, one without a file, one without shapes."""
    photo(root / "a.jpg")
    polygon = [[1, 1], [3, 1], [3, 3], [1, 3]]
    labelme(root / "a.json", [shape("cat", polygon), shape("__ignore__", [[7, 5], [6, 5]], "rectangle")], "a.jpg")
    pixels = np.zeros([HEIGHT, WIDTH, 3], np.uint8)
    part = shape("dog", [[1, 1], [2, 3]], "mask", mask=png(np.array([[255, 0], [255, 255], [0, 255]], np.uint8)))
    labelme(root / "sub/b.json", [part], "..\\pictures\\b.png", imageData=png(pixels))
    photo(root / "c.jpg")
    photo(root / "d.jpg")
    labelme(root / "d.json", [], "d.jpg")


def labelme2voc(root: Path) -> None:
    """What labelme's converter writes."""
    photo(root / "JPEGImages/a.jpg")
    mask_file(root / "SegmentationClass/a.png", ["12#.....", *EMPTY[1:]])
    (root / "SegmentationClassNpy").mkdir()
    np.save(root / "SegmentationClassNpy/a.npy", np.zeros([HEIGHT, WIDTH], np.int32))
    photo(root / "SegmentationClassVisualization/a.jpg")
    (root / "class_names.txt").write_text("_background_\ncat\ndog")


TREES = {
    "CVAT, Segmentation mask": cvat_masks,
    "CVAT, COCO 1.0": cvat_coco,
    "labelme, JSON files": labelme_tree,
    "labelme2voc": labelme2voc,
    "Label Studio, COCO": studio_coco,
    "Roboflow, COCO": roboflow_coco,
    "Roboflow, Semantic Segmentation Masks": roboflow_masks,
}
