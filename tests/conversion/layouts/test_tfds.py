"""Data sets of TFDS: real builders write tiny data sets to disk, and the command reads them as it would the whole ones."""

import io
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from scripts import load_module, separate_flags

from wss.conversion.encode import LabelMap, load_image, load_mask
from wss.conversion.layouts.cityscapes import CLASSES, COLORS
from wss.conversion.layouts.tfds import DecodedMask, Layout, TfdsPool, TfdsShard
from wss.data.class_colors import default_colors
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_boxes, parse_example
from wss.data.record_files import split_records
from wss.errors import UserError

HEIGHT, WIDTH = 6, 8
SCRIPTS = Path(__file__).resolve().parents[3] / "datasets"
NO_BOX = tfds.features.BBox(0.0, 0.0, 0.0, 0.0)


class NestedMasks(tfds.core.GeneratorBasedBuilder):
    """A data set that nothing is known of."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        masks = {
            "flat": tfds.features.Tensor(shape=(None, None), dtype=np.uint8, encoding="bytes"),
            "rgb": tfds.features.Image(encoding_format="png"),
            "wide": tfds.features.Image(shape=(None, None, 1), dtype=np.uint16, encoding_format="png"),
        }
        features = {"photo": {"left": tfds.features.Image()}, "masks": masks, "number": np.int64, "area": np.float32}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        raise NotImplementedError

    def _generate_examples(self):
        raise NotImplementedError


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def photo(seed: int, kind: str = "JPEG") -> bytes:
    return encoded(np.random.default_rng(seed).integers(0, 256, [HEIGHT, WIDTH, 3], dtype=np.uint8), kind)


def stripes(*values: int, size=(HEIGHT, WIDTH)) -> np.ndarray:
    """Each of the values in columns of its own."""
    row = np.repeat(np.array(values, np.uint8), -(-size[1] // len(values)))[: size[1]]
    return np.broadcast_to(row, size).copy()


def generated_by(name: str, splits: dict[str, dict[str, dict]], label_names: list[str] | None = None):
    """A context in which the builder of a data set gets these examples instead of downloading some."""

    def split_generators(self, dl_manager):
        return {split: self._generate_examples(examples) for split, examples in splits.items()}

    def generate_examples(self, examples):
        if label_names:  # as the builder of COCO does it
            self.info.features["panoptic_objects"]["label"].names = label_names
        for key, example in examples.items():
            yield (
                key,
                {name: io.BytesIO(value) if isinstance(value, bytes) else value for name, value in example.items()},
            )

    return mock.patch.multiple(
        tfds.builder_cls(name),
        _split_generators=split_generators,
        _generate_examples=generate_examples,
        _make_download_manager=lambda self, **unused: mock.MagicMock(downloaded_size=0),
    )


def write_tfds(data_dir: Path, name: str, splits: dict, label_names: list[str] | None = None) -> None:
    with generated_by(name.split("/")[0], splits, label_names):
        tfds.builder(name, data_dir=data_dir).download_and_prepare()


def pet(seed: int, mask: np.ndarray) -> dict:
    return {
        "image": photo(seed),
        "label": 0,
        "species": 1,
        "file_name": f"beagle_{seed}.jpg",
        "segmentation_mask": encoded(mask),
        "head_bbox": NO_BOX,
    }


PETS = {
    "train": {
        str(i): pet(i, mask) for i, mask in enumerate([stripes(1, 2, 3, 1), *[stripes(1 + i % 3) for i in range(6)]])
    },
    "test": {"9": pet(9, stripes(2, 3))},
}


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> Path:
    data_dir = tmp_path_factory.mktemp("pets")
    write_tfds(data_dir, "oxford_iiit_pet", PETS)
    return data_dir


@pytest.fixture(scope="module")
def nested(tmp_path_factory) -> Path:
    data_dir = tmp_path_factory.mktemp("nested")
    gray = np.repeat(stripes(0, 1, 255, 2)[..., None], 3, axis=2)
    colored = gray.copy()
    colored[0, 0] = [0, 1, 0]
    wide = Image.fromarray(stripes(0, 1).astype(np.uint16) * 300)

    def example(seed: int, rgb: np.ndarray) -> dict:
        masks = {"flat": stripes(2, seed), "rgb": io.BytesIO(encoded(rgb)), "wide": np.asarray(wide)[..., None]}
        return {"photo": {"left": io.BytesIO(photo(seed, "PNG"))}, "masks": masks, "number": 100 + seed, "area": 0.5}

    # The builder shuffles by the key, so that "a" need not be the first.
    splits = {"good": {"a": example(0, gray), "b": example(1, gray)}, "colored": {"c": example(7, colored)}}
    write_tfds(data_dir, "nested_masks", splits)
    return data_dir


@pytest.fixture
def convert(run_script, tmp_path):
    """Returns convert(dataset, data_dir, *flags) -> the data set."""

    def convert(dataset: str, data_dir: Path, *flags: str, output: str = "out") -> DatasetInfo:
        arguments = [f"--dataset={dataset}", f"--tfds_data_dir={data_dir}", f"--output_dir={tmp_path / output}"]
        run_script("build_tfds", *arguments, *flags)
        return DatasetInfo.load(tmp_path / output)

    return convert


def examples_of(info: DatasetInfo, split: str) -> dict[str, dict]:
    """Returns id -> what a record holds, and the bytes of its image; in the order of the records."""
    examples = {}
    for record in split_records(info, split):
        example = {k: v.numpy() for k, v in parse_example(record, info.num_classes, info.has_background).items()}
        stored = tf.train.Example.FromString(record.numpy()).features.feature["image/encoded"].bytes_list.value[0]
        examples[example["name"].decode()] = {**example, "mask": example["label"][..., 0], "bytes": stored}
    return examples


def test_pets_and_background(pets, convert):
    info = convert("oxford_iiit_pet", pets)
    assert info.name == "out" and info.class_names == ("background", "pet") and info.has_background
    assert info.colors == tuple(default_colors(2))
    assert {name: (split.num_examples, split.num_masks) for name, split in info.splits.items()} == {
        "train": (7, 7), "test": (1, 1)
    }  # fmt: skip
    assert info.provenance["source"] == "oxford_iiit_pet/4.0.0"
    examples = examples_of(info, "train") | examples_of(info, "test")
    assert sorted(examples) == [*(f"beagle_{i}" for i in range(7)), "beagle_9"]
    for id, mask in {
        "beagle_0": stripes(1, 0, 255, 1),
        "beagle_1": stripes(1),
        "beagle_2": stripes(0),
        "beagle_3": stripes(255),
        "beagle_9": stripes(0, 255),
    }.items():
        np.testing.assert_array_equal(examples[id]["mask"], mask, err_msg=id)


def test_image_files_are_stored_as_they_are(pets, convert):
    examples = examples_of(convert("oxford_iiit_pet", pets), "train")
    assert {id: example["bytes"] for id, example in examples.items()} == {f"beagle_{i}": photo(i) for i in range(7)}


def test_files_are_slices_of_the_split_in_its_order(pets, convert):
    one = convert("oxford_iiit_pet", pets, "--splits=train", "--num_shards=1")
    three = convert("oxford_iiit_pet", pets, "--splits=train", "--num_shards=3", output="three")
    assert list(three.split("train").shards.values()) == [3, 2, 2]
    first, second = examples_of(one, "train"), examples_of(three, "train")
    assert list(first) == list(second) and len(first) == 7
    for id, example in first.items():
        np.testing.assert_array_equal(example["mask"], second[id]["mask"])
    builder = tfds.builder("oxford_iiit_pet", data_dir=pets)
    names = [example["file_name"].decode() for example in builder.as_dataset(split="train").as_numpy_iterator()]
    assert [f"{id}.jpg" for id in first] == names


def test_cityscapes_label_ids_become_classes(tmp_path, convert):
    size = (1024, 2048)
    image, mask = np.full([*size, 3], 90, np.uint8), stripes(*range(34), 255, size=size)
    example = {"image_left": encoded(image), "segmentation_label": encoded(mask)}
    splits = {
        "train": {"a": {**example, "image_id": "aachen_000000_000019"}},
        "test": {"b": {**example, "image_id": "berlin_000000_000019"}},
    }
    write_tfds(tmp_path / "tfds", "cityscapes/semantic_segmentation", splits)
    info = convert("cityscapes", tmp_path / "tfds")
    assert info.class_names == CLASSES and info.colors == COLORS and not info.has_background
    assert (info.split("train").num_masks, info.split("test").num_masks, info.split("test").num_examples) == (1, 0, 1)
    found = examples_of(info, "train")["aachen_000000_000019"]["mask"]
    width = -(-size[1] // 35)
    classes = {
        7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
        28: 15, 31: 16, 32: 17, 33: 18,
    }  # fmt: skip
    assert [int(found[500, width * id]) for id in range(35)] == [classes.get(id, 255) for id in range(35)]
    assert list(examples_of(info, "test")) == ["berlin_000000_000019"]


def test_scene_parse_takes_the_class_from_the_red_channel(tmp_path, convert):
    instances = np.stack([stripes(0, 1, 100, 4), stripes(0, 1, 2, 3), stripes(0)], axis=-1)
    splits = {"train": {"a": {"image": photo(0), "annotation": encoded(instances)}}}
    write_tfds(tmp_path / "tfds", "scene_parse150", splits)
    info = convert("scene_parse150", tmp_path / "tfds")
    assert info.num_classes == 101 and info.has_background
    assert [info.class_names[label] for label in (0, 1, 4, 100)] == ["background", "bed", "person", "flag"]
    np.testing.assert_array_equal(examples_of(info, "train")["train_00000000"]["mask"], stripes(0, 1, 100, 4))


def rgb_of(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def test_coco_panoptic_segments(tmp_path, convert):
    """Ids of one, two and three bytes; a crowd, pixels of no segment, and of an id that no segment has."""
    columns = [0, 7, 7, 258, 65536 + 2, 3 * 65536 + 2 * 256 + 1, 3 * 65536 + 2 * 256 + 1, 99]
    segments = [
        {"id": 7, "area": 12, "bbox": tfds.features.BBox(0.0, 1 / 8, 1.0, 3 / 8), "label": 0, "is_crowd": False},
        {"id": 258, "area": 6, "bbox": tfds.features.BBox(0.0, 3 / 8, 1.0, 4 / 8), "label": 79, "is_crowd": True},
        {"id": 65538, "area": 6, "bbox": tfds.features.BBox(0.0, 4 / 8, 1.0, 5 / 8), "label": 80, "is_crowd": False},
        {"id": 197121, "area": 12, "bbox": tfds.features.BBox(1 / 6, 5 / 8, 5 / 6, 7 / 8), "label": 132, "is_crowd": False},
        {"id": 5, "area": 1, "bbox": tfds.features.BBox(1 / 6, 0.5, 2 / 6, 0.5), "label": 1, "is_crowd": False},
    ]  # fmt: skip
    splits = {
        split: {
            id: {
                "image": photo(int(id)),
                "image/filename": f"{id}.jpg",
                "image/id": int(id),
                "panoptic_image": encoded(rgb_of(np.broadcast_to(np.array(columns), [HEIGHT, WIDTH]))),
                "panoptic_image/filename": f"{id}.png",
                "panoptic_objects": of_image,
            }
        }
        for split, id, of_image in (("train", "000000000007", segments), ("validation", "000000000009", []))
    }
    write_tfds(tmp_path / "tfds", "coco/2017_panoptic", splits, [f"name {label}" for label in range(133)])
    info = convert("coco/2017_panoptic", tmp_path / "tfds")
    assert info.class_names == tuple(f"name {label}" for label in range(133)) and not info.has_background
    assert info.split("train").num_with_boxes == 1
    example = examples_of(info, "train")["000000000007"]
    expected = np.broadcast_to(np.array([255, 0, 0, 255, 80, 132, 132, 255]), [HEIGHT, WIDTH])
    np.testing.assert_array_equal(example["mask"], expected)
    boxes = parse_boxes(next(iter(split_records(info, "train"))), info.num_classes, info.has_background)
    # Stuff has no boxes, nor has a segment without width.
    np.testing.assert_array_equal(boxes["boxes"], np.float32([[0, 1 / 8, 1, 3 / 8], [0, 3 / 8, 1, 4 / 8]]))
    assert boxes["label"].numpy().tolist() == [0, 79] and boxes["is_crowd"].numpy().tolist() == [False, True]
    assert (examples_of(info, "validation")["000000000009"]["mask"] == 255).all()


def test_flags_go_before_what_is_known(pets, convert):
    info = convert(
        "oxford_iiit_pet:4.0.0",
        pets,
        "--id_map=1:0,2:255,3:1",
        "--class_names=animal,border",
        "--nohas_background",
        "--name_feature=label",
        "--splits=test",
        "--name=borders",
    )
    assert (info.name, info.class_names, info.has_background) == ("borders", ("animal", "border"), False)
    assert list(info.splits) == ["test"]
    np.testing.assert_array_equal(examples_of(info, "test")["0"]["mask"], stripes(255, 1))


def test_unlabeled_splits_have_no_masks(pets, convert):
    info = convert("oxford_iiit_pet", pets, "--unlabeled_splits=train")
    assert (info.split("train").num_masks, info.split("test").num_masks) == (0, 1)


NESTED = ("--image_feature=photo/left", "--class_names=wall,road,tree")


def test_other_data_sets_need_only_flags(nested, convert):
    flags = ("--mask_feature=masks/flat", "--name_feature=number", "--splits=good")
    info = convert("nested_masks", nested, *NESTED, *flags)
    assert info.class_names == ("wall", "road", "tree") and info.has_background
    examples = examples_of(info, "good")
    assert sorted(examples) == ["100", "101"]
    np.testing.assert_array_equal(examples["101"]["mask"], stripes(2, 1))
    assert examples["101"]["bytes"] == photo(1, "PNG")


def test_images_without_a_name_are_numbered(nested, convert):
    info = convert("nested_masks", nested, *NESTED, "--mask_feature=masks/rgb", "--splits=good", "--num_shards=2")
    examples = examples_of(info, "good")
    assert list(examples) == ["good_00000000", "good_00000001"]
    for example in examples.values():
        np.testing.assert_array_equal(example["mask"], stripes(0, 1, 255, 2))


def test_a_channel_may_be_chosen(nested, convert):
    flags = ("--mask_feature=masks/rgb", "--splits=colored", "--mask_channel=1", "--id_map=all")
    mask = examples_of(convert("nested_masks", nested, *NESTED, *flags), "colored")["colored_00000000"]["mask"]
    expected = stripes(0, 1, 255, 2)
    expected[0, 0] = 1
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("flags", "problems"),
    [
        (
            ["--mask_feature=masks/flat", "--splits=good,colored", "--name_feature=number", "--id_map=0:0,2:1"],
            [
                "101: label value 1 (24 pixels), expected one of 0, 2 or 255 (ignore)",
                "107: label value 7 (24 pixels), expected one of 0, 2 or 255 (ignore)",
            ],
        ),
        (
            ["--mask_feature=masks/flat", "--splits=colored"],
            ["colored_00000000: label value 7 (24 pixels), expected classes 0 .. 2 or 255 (ignore)"],
        ),
        (
            ["--mask_feature=masks/wide", "--splits=colored"],
            ["colored_00000000: label value 300 (24 pixels), expected classes 0 .. 2 or 255 (ignore)"],
        ),
        (
            ["--mask_feature=masks/rgb", "--splits=good,colored"],
            [
                "colored_00000000: the 3 channels of the mask differ; give --mask_channel if one of them has the classes",
            ],
        ),
    ],
)
def test_wrong_masks_are_named(flags, problems, nested, convert, tmp_path):
    with pytest.raises(UserError) as error:
        convert("nested_masks", nested, *NESTED, *flags)
    lines = str(error.value).split("\n")[1:]
    assert [line.removesuffix("; --id_map gives values a meaning") for line in lines] == problems
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", [np.uint16, np.int64])
def test_masks_of_wide_integers_are_read(dtype):
    pixels = np.array([[0, 1], [2, 255]], dtype)
    mask = DecodedMask("x", pixels, Layout(class_names=("a", "b", "c"))).read()
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, pixels)


@pytest.mark.parametrize(("value", "dtype"), [(256, np.uint16), (2**40, np.int64), (-1, np.int8), (-256, np.int64)])
def test_values_that_no_class_can_have_are_told(value, dtype):
    mask = DecodedMask("x", np.array([[0, value], [value, 1]], dtype), Layout(class_names=("a", "b")))
    with pytest.raises(UserError, match=rf"^x: label value {value} \(2 pixels\), expected classes 0 .. 1 or 255"):
        mask.read()


@pytest.mark.parametrize(
    ("dataset", "flags", "expected"),
    [
        ("oxford_iit_pet", [], r"TFDS has no such data set. Did you mean 'oxford_iiit_pet'\?"),
        ("coco/2017_panoptc", [], r"coco has no such config, but 2014, .*Did you mean '2017_panoptic'\?"),
        ("oxford_iiit_pet/small", [], "oxford_iiit_pet has no such config, but none.$"),
        ("coco:9.9.9", [], r"--dataset=coco:9.9.9: Dataset coco cannot be loaded at version 9.9.9, only: 1.1.0"),
        ("coco", [], r"--mask_feature=panoptic_image: coco/2014/1.1.0 has no such feature, but .*coco/2017_panoptic"),
        ("pets and dogs", [], "--dataset=pets and dogs: "),
        ("oxford_iiit_pet", ["--splits=tets"], r"--splits=tets: .* but train, test. Did you mean 'test'\?"),
        (
            "oxford_iiit_pet",
            ["--unlabeled_splits=val"],
            "--unlabeled_splits=val: oxford_iiit_pet/4.0.0 has no such split",
        ),
        (
            "oxford_iiit_pet",
            ["--mask_feature=segmentation_masks", "--class_names=a,b"],
            r"--mask_feature=segmentation_masks: .* Did you mean 'segmentation_mask'\?",
        ),
        (
            "oxford_iiit_pet",
            ["--mask_feature=label", "--class_names=a,b"],
            r"--mask_feature=label: ClassLabel\(.* expected",
        ),
        ("oxford_iiit_pet", ["--mask_feature=image"], "--class_names: needed for .* with --mask_feature=image"),
        (
            "oxford_iiit_pet",
            ["--image_feature=file_name"],
            r"--image_feature=file_name: Text\(.* expected uint8 images",
        ),
        ("oxford_iiit_pet", ["--name_feature=head_bbox"], r"--name_feature=head_bbox: BBoxFeature\(.* expected a text"),
        ("oxford_iiit_pet", ["--mask_channel=1"], r"--mask_channel=1: Image\(.* has no such channel"),
        ("oxford_iiit_pet", ["--id_map=1-1,2-0"], "--id_map=1-1,2-0: expected all, or value:class pairs"),
        ("oxford_iiit_pet", ["--id_map=256:0"], "--id_map=256:0: expected all, or"),
        ("oxford_iiit_pet", ["--id_map=1:0,1:1"], "--id_map=1:0,1:1: a value is given twice"),
        ("oxford_iiit_pet", ["--id_map=1:2,2:0"], r"--id_map: class 2, expected 0 .. 1 or 255 \(ignore\)"),
        ("nested_masks", [], "--mask_feature: needed for nested_masks/1.0.0, as .* masks/flat, masks/rgb"),
        ("nested_masks", ["--mask_feature=masks/flt", *NESTED], r"masks/rgb, .* Did you mean 'masks/flat'\?"),
        (
            "nested_masks",
            ["--mask_feature=masks/flat", *NESTED],
            "not prepared in .*; run `tfds build nested_masks --data_dir",
        ),
        ("cityscapes", [], "or add --download. It needs files that you get yourself: .*'gtFine_trainvaltest.zip'"),
    ],
)
def test_bad_input_is_one_line(dataset, flags, expected, pets, convert, tmp_path):
    with pytest.raises(UserError, match=expected) as error:
        convert(dataset, pets, *flags)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [("{", "Failed to load JSON"), ('{"size": 5}', 'no field named "size"'), ("\xff", "'utf-8' codec can't decode")],
)
def test_damaged_metadata_is_one_line(content, expected, tmp_path, convert):
    write_tfds(tmp_path / "tfds", "oxford_iiit_pet", PETS)
    path = tmp_path / "tfds/oxford_iiit_pet/4.0.0/dataset_info.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=f"^--dataset=oxford_iiit_pet: .*{expected}.* \\(data in .*tfds\\)$"):
        convert("oxford_iiit_pet", tmp_path / "tfds")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModuleNotFoundError("No module named 'huggingface_hub'\nInstall it."), "No module named 'huggingface_hub'"),
        (NotImplementedError(), "NotImplementedError"),
    ],
)
def test_whatever_tfds_raises_is_one_line(error, expected, tmp_path, convert):
    with mock.patch.object(tfds, "builder", side_effect=error), pytest.raises(UserError) as raised:
        convert("huggingface:mnist", tmp_path)
    assert str(raised.value) == f"--dataset=huggingface:mnist: {expected} (data in {tmp_path})"


def test_download_prepares_the_data_set(tmp_path, convert):
    with generated_by("oxford_iiit_pet", PETS):
        info = convert("oxford_iiit_pet", tmp_path / "tfds", "--download")
    assert info.split("train").num_examples == 7 and (tmp_path / "tfds/oxford_iiit_pet/4.0.0/features.json").exists()


def test_a_failed_download_is_one_line(tmp_path, convert):
    failing = mock.Mock(side_effect=ConnectionError("no route to host\nat all"))
    with (
        mock.patch.object(tfds.builder_cls("oxford_iiit_pet"), "download_and_prepare", failing),
        pytest.raises(UserError, match=r"prepared \(ConnectionError: no route to host\)") as error,
    ):
        convert("oxford_iiit_pet", tmp_path / "tfds", "--download")
    assert "\n" not in str(error.value)


def test_damaged_files_of_tfds_are_told(tmp_path, convert):
    write_tfds(tmp_path / "tfds", "oxford_iiit_pet", PETS)
    (path,) = (tmp_path / "tfds/oxford_iiit_pet/4.0.0").glob("*-test.tfrecord*")
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match="oxford_iiit_pet: examples 0 .. 0 of 'test' cannot be read .*prepare"):
        convert("oxford_iiit_pet", tmp_path / "tfds")


def test_fingerprints_change_with_slice_and_layout(pets):
    pool = TfdsPool.of(
        "oxford_iiit_pet", str(pets), "train", layout=Layout(mask="segmentation_mask", class_names=("a", "b"))
    )
    other = TfdsPool.of(
        "oxford_iiit_pet", str(pets), "train", layout=Layout(mask="segmentation_mask", class_names=("a", "c"))
    )
    shards = [TfdsShard(pool, 0, 3), TfdsShard(pool, 0, 4), TfdsShard(pool, 1, 3), TfdsShard(other, 0, 3)]
    assert len({shard.fingerprint() for shard in shards}) == 4
    assert TfdsShard(pool, 0, 3).fingerprint() == shards[0].fingerprint()


@pytest.fixture(scope="module")
def presets() -> dict[str, Layout]:
    with separate_flags():
        return load_module(SCRIPTS / "build_tfds.py").PRESETS


@pytest.mark.parametrize("name", ["oxford_iiit_pet", "cityscapes", "scene_parse150"])
def test_random_examples_of_known_data_sets_are_read(name, presets):
    """What `mock_data` makes up has the features, shapes and types of the real data; its values are any."""
    layout = presets[name]
    with tfds.testing.mock_data(num_examples=6):
        (shard,) = TfdsPool(name, None, "train", layout, 6, "").shards([np.arange(6)], None)
        sources = list(shard)
    assert len({source.id for source in sources}) == 6
    for source in sources:
        assert min(load_image(source.image, source.id).size) > 0
        try:
            labels = load_mask(source.mask, source.id, LabelMap(layout.lookup()))
        except UserError as error:
            assert str(error).startswith(f"{source.id}: label value") and " pixels), expected " in str(error)
        else:
            assert labels.ndim == 2 and set(np.unique(labels)) <= {*range(len(layout.class_names)), 255}


def test_mocked_segments_become_classes_and_boxes(presets):
    ids = np.array([7, 300, 70_000])
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)[[[0, 0, 1], [2, 2, 1]]]
    segments = {
        "id": ids,
        "label": np.array([5, 90, 6]),
        "is_crowd": np.array([False, False, True]),
        "bbox": np.array([[0, 0, 0.5, 2 / 3], [0, 2 / 3, 1, 1], [0.5, 0, 1, 2 / 3]], np.float32),
    }
    example = {
        "image": photo(0),
        "image/filename": "000000000139.jpg",
        "panoptic_image": rgb,
        "panoptic_objects": segments,
    }

    def as_dataset(self, *arguments, **settings):
        return tf.data.Dataset.from_tensors(example)

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        (shard,) = TfdsPool("coco/2017_panoptic", None, "train", presets["coco"], 1, "").shards([np.arange(1)], None)
        (source,) = shard
    np.testing.assert_array_equal(source.mask.pixels, [[5, 5, 90], [255, 255, 90]])
    assert source.id == "000000000139"
    assert [(box.label, box.ymin, box.xmin, box.ymax, box.xmax, box.is_crowd) for box in source.boxes] == [
        (5, 0, 0, 1, 2, False),
        (6, 1, 0, 2, 2, True),
    ]
