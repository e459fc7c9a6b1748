"""Presets that cannot be taken end in a line that names the parameter or the file; without keras-hub all else works."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of

from wss import experiment
from wss.errors import UserError
from wss.models.backbones.hub.architectures import ARCHITECTURES
from wss.models.backbones.hub.encoder import taps_of
from wss.models.backbones.hub.presets import Preset, build_backbone
from wss.models.deeplab import build_model
from wss.models.weights.initial_weights import load_initial_weights, load_pretrained
from wss.models.weights.weights_file import write_weights
from wss.project import PROJECT_ROOT

RESNET = dict(ARCHITECTURES["resnet_18_imagenet"]["config"], stackwise_num_filters=[64, 8, 8, 8])


@pytest.fixture
def folder(tmp_path):
    """A whole preset."""
    hub = pytest.importorskip("keras_hub")
    build_backbone("ResNetBackbone", RESNET).save_to_preset(str(tmp_path))
    hub.layers.ResNetImageConverter(scale=1 / 255.0, offset=0.0).save_to_preset(str(tmp_path))
    return tmp_path


def refused(name, match: str, **options) -> None:
    with pytest.raises(UserError, match=match) as error:
        Preset.of(str(name), **options).backbone()
    assert "\n" not in str(error.value)


def test_a_whole_folder_is_taken(folder):
    preset = Preset.of(str(folder))
    assert (preset.class_name, preset.scale, preset.offset) == ("ResNetBackbone", (1 / 255,) * 3, (0.0,) * 3)
    assert preset.backbone().count_params() == Preset.of(str(folder), weights=False).backbone().count_params()


def test_what_needs_a_pretrained_encoder_takes_that_of_a_preset(folder):
    network = {"backbone": "keras_hub", "encoder_preset": str(folder)}
    assert str(folder) in load_pretrained(build_model(dataset_of(3), **network), None)
    with pytest.raises(UserError, match="build_model.encoder_weights = False: random weights know no classes"):
        load_pretrained(build_model(dataset_of(3), **network, encoder_weights=False), None)
    with pytest.raises(UserError, match="train.initial_weights is not set: random weights know no classes"):
        load_pretrained(build_model(dataset_of(3), backbone="mobilenet_v2"), None)


def test_a_folder_with_the_name_of_a_preset_is_taken(folder, monkeypatch, capsys):
    """Keras-hub itself would download the preset."""
    (folder / "dinov2_small").symlink_to(folder)
    monkeypatch.chdir(folder)
    preset = Preset.of("dinov2_small")
    assert (
        capsys.readouterr().err == f"build_model.encoder_preset = 'dinov2_small': the folder {preset.folder} is taken\n"
    )
    assert preset.class_name == "ResNetBackbone"
    weights, others = (Preset.of(str(name)).backbone().get_weights() for name in (folder, "dinov2_small"))
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_folders_that_are_none(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    refused(f"{other}/none", "encoder_preset = .*: no such folder; expected a folder of save_to_preset")
    refused(other, "config.json: cannot be read .*; expected a folder of save_to_preset")
    (folder / "image_converter.json").unlink()
    refused(folder, "image_converter.json: not there, so nobody knows how images are normalised; save")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        pytest.param("[" * 10_000, id="deep"),
        "{}",
        '{"registered_name": 3, "config": {}}',
        '{"registered_name": "a>b", "config": [1]}',
        "\0\1",
    ],
)
def test_a_damaged_config(folder, text):
    (folder / "config.json").write_text(text)
    refused(folder, "config.json: ")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"scale": 1.0},
        {"scale": [1, 2], "offset": 0.0},
        {"scale": "a", "offset": "b"},
        {"scale": 0.0, "offset": 0.0},
        {"scale": [1, 1, float("nan")], "offset": 0},
        [],
    ],
)
def test_a_damaged_normalisation(folder, config):
    (folder / "image_converter.json").write_text(json.dumps({"config": config}))
    refused(folder, "image_converter.json: no scale above 0 and offset of three channels")


def test_weights_that_are_missing_cut_off_or_of_another_network(folder):
    weights = folder / "model.weights.h5"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused(folder, "cannot be loaded")
    config = json.loads((folder / "config.json").read_text())
    config["config"]["stackwise_num_filters"] = [64, 8, 8, 16]
    weights.write_bytes(whole)
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, "cannot be loaded")
    weights.unlink()
    refused(
        folder, r"cannot be loaded \(no model.weights.h5 in it\).*A run's weights are taken by train.initial_weights"
    )


def test_another_kind_of_network(folder):
    config = json.loads((folder / "config.json").read_text())
    config["registered_name"] = "keras_hub>BertBackbone"
    (folder / "config.json").write_text(json.dumps(config))
    refused(
        folder, "is a BertBackbone, expected one of DINOV2Backbone, DINOV3Backbone, ResNetBackbone, HGNetV2Backbone"
    )


def test_names_that_are_none():
    pytest.importorskip("keras_hub")
    refused("dinov2_smal", "neither a folder nor a preset of keras-hub. Did you mean 'dinov2_small'. Expected such as")
    refused("hgnetv2_b5", "its network is not known without its weights; expected one of dinov2_small", weights=False)


def test_without_a_network_a_name_says_what_helps(monkeypatch):
    pytest.importorskip("keras_hub")
    from keras_hub.src.utils import preset_utils

    def unreachable(*_):
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(preset_utils, "get_file", unreachable)
    refused("dinov2_small", r"cannot be downloaded \(.*no route to host.*\); copy its folder .*encoder_weights = False")


@pytest.mark.parametrize(
    ("depth", "taps"), [(12, (3, 6, 9, 12)), (24, (5, 12, 18, 24)), (40, (10, 20, 30, 40)), (4, (1, 2, 3, 4))]
)
def test_taps_of_the_reference(depth, taps):
    """UniMatch V2 counts from 0: 2, 5, 8, 11; 4, 11, 17, 23; 9, 19, 29, 39."""
    assert taps_of(depth) == taps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_preset": "dinov2_small"}, "expected an encoder_preset with backbone = 'keras_hub'"),
        ({"backbone": "keras_hub"}, "expected an encoder_preset with backbone = 'keras_hub'"),
        ({"encoder_weights": False}, "expected encoder_weights = True without an encoder_preset"),
        (
            {"backbone": "keras_hub", "encoder_preset": "a", "multi_grid": (1, 2, 4)},
            "expected multi_grid = None with an encoder_preset, whose network has none",
        ),
        (
            {"backbone": "keras_hub", "encoder_preset": "a", "depth_multiplier": 0.5},
            "expected depth_multiplier = 1.0 with an encoder_preset",
        ),
    ],
)
def test_parameters_that_do_not_go_together(options, message):
    with pytest.raises(UserError, match=message):
        build_model(dataset_of(3), **options)


@pytest.mark.parametrize("head", ["deeplab_v3_plus", "deeplab_v3_plus_u2pl"])
def test_a_decoder_needs_low_level_features(head, vit):
    with pytest.raises(UserError, match=f"build_model.head = '{head}' needs features at stride 4, .* 'dpt'"):
        build_model(dataset_of(3), head=head, **vit)


def test_dpt_needs_the_blocks_of_a_vit(folder):
    with pytest.raises(UserError, match="build_model.head = 'dpt' needs four blocks of a ViT, found 0"):
        build_model(dataset_of(3), head="dpt", backbone="mobilenet_v2")


def test_aspp_without_decoder_works_on_a_vit(vit):
    network = build_model(dataset_of(3), use_decoder=False, head_depth=8, **vit)
    assert network(tf.zeros([1, 42, 56, 3])).shape == (1, 3, 4, 3)
    assert network.decoded_features == ["features"]


@pytest.mark.parametrize("weights", ["imagenet", "some.npz"])
def test_other_initial_weights_are_refused(vit, weights, tmp_path):
    network = build_model(dataset_of(3), head="dpt", **vit)
    with pytest.raises(
        UserError, match=f"train.initial_weights = '{weights}': an encoder of keras-hub has the weights"
    ):
        load_initial_weights(network, weights)
    write_weights(network, tmp_path / "model.weights.h5")
    load_initial_weights(network, str(tmp_path / "model.weights.h5"))


def test_crops_are_multiples_of_the_patch(tiny_shapes, tmp_path, vit):
    parameters = [
        f"load_dataset.directory = '{tiny_shapes}'",
        *(f"build_model.{name} = {value!r}" for name, value in {**vit, "head": "dpt"}.items()),
        "train.method = @Supervised()",
        "train.num_steps = 1",
        "TrainingData.labeled_split = 'train'",
        "TrainingData.crop_size = (33, 42)",
    ]
    with pytest.raises(
        UserError, match=r"TrainingData.crop_size = \(33, 42\): .* patch of 14; expected such as \(28, 42\)"
    ):
        experiment.run([], parameters, tmp_path / "run", strategy="mirrored")


WITHOUT = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras_hub", "tokenizers", "tensorflow_text", "kagglehub"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
sys.argv = ["wss-train", *sys.argv[1:]]
from wss.train import console_main
console_main()
"""


def test_without_the_extra_a_recipe_says_what_to_install(tmp_path, tiny_shapes):
    recipe = PROJECT_ROOT / "gin_configs/recipes/unimatch_v2/voc2012.gin"
    flags = [f"--gin_file={recipe}", f"--run_dir={tmp_path}/run", f"--data_dir={tiny_shapes}", "--dry_run"]
    found = subprocess.run([sys.executable, "-c", WITHOUT, *flags], capture_output=True, text=True, cwd=PROJECT_ROOT)
    assert found.returncode == 2
    assert "needs keras-hub (No module named 'keras_hub'); install it by pip install 'wss[hub]'" in found.stderr
    assert "Traceback" not in found.stderr and not (tmp_path / "run").exists()
