"""Boxes from masks: components by hand and against a search in plain Python, and the flag of the converters."""

import json

import numpy as np
import pytest
from mask_files import MASK, OwnFolders, photo

from wss.conversion import writer
from wss.conversion.encode import LabelMap, Settings, check_source
from wss.conversion.mask_boxes import MaskBoxes
from wss.conversion.sources import Source
from wss.data.boxes import Box
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_boxes, parse_example
from wss.data.masks import encode_mask, lookup_table
from wss.data.record_files import split_records
from wss.jobs.processes import ConversionStoppedError


def edges(boxes: list[Box]) -> list[tuple]:
    return [(box.label, box.ymin, box.xmin, box.ymax, box.xmax) for box in boxes]


def components(mask: np.ndarray, first: int) -> list[tuple]:
    """(label, ymin, xmin, ymax, xmax, pixels) of each component, found by walking from pixel to pixel."""
    found, seen = [], np.zeros(mask.shape, bool)
    for start in np.ndindex(*mask.shape):
        if seen[start] or mask[start] == 255 or mask[start] < first:
            continue
        seen[start], stack, pixels = True, [start], []
        while stack:
            y, x = stack.pop()
            pixels.append((y, x))
            for other in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                inside = 0 <= other[0] < mask.shape[0] and 0 <= other[1] < mask.shape[1]
                if inside and not seen[other] and mask[other] == mask[start]:
                    seen[other] = True
                    stack.append(other)
        rows, columns = zip(*pixels, strict=True)
        found.append((mask[start], min(rows), min(columns), max(rows) + 1, max(columns) + 1, len(pixels)))
    return found


def test_boxes_by_hand():
    """Two corners that touch are one component, the ignored pixel is none, and 1 in the frame of 2 is its own."""
    mask = np.array([[1, 0, 0, 2, 2, 2], [0, 1, 0, 2, 1, 2], [255, 0, 0, 2, 2, 2], [2, 0, 0, 0, 0, 1]], np.uint8)
    assert edges(MaskBoxes(1)(mask)) == [
        (1, 0, 0, 2, 2),
        (1, 1, 4, 2, 5),
        (1, 3, 5, 4, 6),
        (2, 0, 3, 3, 6),
        (2, 3, 0, 4, 1),
    ]
    assert edges(MaskBoxes(2)(mask)) == [(1, 0, 0, 2, 2), (2, 0, 3, 3, 6)]
    assert edges(MaskBoxes(9, has_background=False)(mask)) == [(0, 0, 0, 4, 5)]
    assert MaskBoxes(1)(np.full([3, 3], 255, np.uint8)) == []


@pytest.mark.parametrize("has_background", [True, False])
def test_boxes_against_a_walk(has_background):
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.choice([0, 0, 0, 1, 2, 7, 255], [rng.integers(1, 14), rng.integers(1, 14)]).astype(np.uint8)
        minimum = int(rng.integers(1, 5))
        expected = [tuple(c[:5]) for c in components(mask, int(has_background)) if c[5] >= minimum]
        assert sorted(edges(MaskBoxes(minimum, has_background)(mask))) == sorted(expected)


def test_the_classes_are_those_after_the_map_and_replace_the_source_s():
    source = Source("a", encode_mask(MASK), MASK, boxes=(Box(1, 0, 0, 1, 1),), image_labels=(1,))
    settings = Settings(LabelMap(lookup_table(3, keep=[0, 2])), mask_boxes=MaskBoxes(1))
    (serialized, entry), problems = check_source(source, settings)
    boxes = parse_boxes(serialized)
    assert not problems and entry.num_boxes == 1 and boxes["label"].numpy().tolist() == [1]
    np.testing.assert_allclose(boxes["boxes"], [[0, 0.25, 1, 1 / 3]])
    # Image labels are what they were: those of the source, without the class that is not kept.
    assert entry.image_labels == ()
    (serialized, entry), _ = check_source(Source("a", source.image, None, boxes=source.boxes), settings)
    assert entry.num_boxes == 0 and parse_boxes(serialized)["known"]  # the source's own, whose class is not kept


def test_the_flag_makes_boxes_and_is_recorded(tmp_path, run_script):
    own = OwnFolders(tmp_path, run_script)
    own.add()
    photo(1).save(own.images / "b.jpg")
    info = own.build("a,b,c", "--boxes_from_masks=300")
    (record,) = split_records(info, "train")
    np.testing.assert_allclose(parse_boxes(record)["boxes"], [[0, 0, 1, 0.25]])
    assert (info.split("train").num_with_boxes, info.split("unlabeled").num_with_boxes) == (1, 0)
    assert info.provenance["boxes_from_masks"] == 300
    assert not parse_example(record, 3)["has_image_label"]
    assert "boxes_from_masks" not in own.build("a,b,c").provenance


def test_the_embedded_data_set_has_boxes_too(tmp_path, run_script):
    flags = ["--num_train=16", "--num_val=2", "--size=32", "--workers=1", "--boxes_from_masks=1"]
    run_script("build_shapes", f"--output_dir={tmp_path / 'out'}", *flags)
    info = DatasetInfo.load(tmp_path / "out")
    assert info.split("train").num_with_boxes == 16
    for record in split_records(info, "train"):
        mask = parse_example(record, info.num_classes)["label"].numpy()[..., 0]
        boxes = parse_boxes(record)
        expected = sorted(tuple(c[:5]) for c in components(mask, 1))
        found = [(label, *box) for label, box in zip(boxes["label"].numpy(), boxes["boxes"].numpy() * 32, strict=True)]
        assert sorted(found) == expected


def test_a_killed_conversion_with_another_number_is_not_continued(tmp_path, monkeypatch):
    """The files that the first one finished have boxes of other components."""
    sources = [Source(f"{i}", encode_mask(MASK), MASK) for i in range(4)]
    settings = {
        "class_names": ("a", "b", "c"), "colors": ((0, 0, 0),) * 3, "labels": LabelMap(lookup_table(3)), "num_shards": 2
    }  # fmt: skip
    calls, check = [], writer.check_source

    def stopped(*arguments):
        calls.append(0)
        if len(calls) > 2:
            raise ConversionStoppedError("killed")
        return check(*arguments)

    monkeypatch.setattr(writer, "check_source", stopped)
    with pytest.raises(ConversionStoppedError):
        writer.write_dataset(tmp_path / "out", "x", {"train": sources}, boxes_from_masks=1, workers=1, **settings)
    monkeypatch.undo()
    assert len(list((tmp_path / ".out.partial").glob("*.done"))) == 1
    writer.write_dataset(tmp_path / "out", "x", {"train": sources}, boxes_from_masks=300, workers=1, **settings)
    lines = [json.loads(line) for path in (tmp_path / "out").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert [line["num_boxes"] for line in lines] == [1] * 4
