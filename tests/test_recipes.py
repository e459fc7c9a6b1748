"""Every gin file parses, and the recipes carry the papers' numbers and say how they are run."""

import json
import math
import re
from pathlib import Path

import gin
import numpy as np
import pytest

from wss.config import parse_config
from wss.data.published_splits import load_manifest
from wss.errors import UserError
from wss.inference.sliding_window import window_starts
from wss.methods.bap_nal.stages import BoxStages
from wss.methods.dars.rounds import Rounds
from wss.models.backbones.hub.encoder import KERAS_HUB
from wss.models.backbones.registry import BACKBONES
from wss.project import PROJECT_ROOT, recipes
from wss.training.optimizers import build_optimizer
from wss.workflows.box_stages import BoxPlan
from wss.workflows.self_training_rounds import Plan

FILES = recipes()
# A base.gin is what the recipes beside it share.
RECIPES = [path for path in FILES if "/recipes/" in path and Path(path).name != "base.gin"]
PSEUDOSEG = "gin_configs/recipes/pseudoseg/"
DARS = "gin_configs/recipes/dars/"
COMMANDS = ("wss-train", "python tools/self_train.py", "python tools/train_from_boxes.py")
BINDING = re.compile(r"\b[A-Za-z_]+\.[a-z_]+ = (?:'[^']*'|\((?:[^()]|\([^()]*\))*\)|[\w.]+)")


def query(*names: str) -> list:
    return [gin.query_parameter(name) for name in names]


def header(path: str) -> str:
    """The comment lines before the first binding, with continued lines joined."""
    lines = []
    for line in (PROJECT_ROOT / path).read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#"))
    return re.sub(r"\\\n\s*", "", "\n".join(lines))


@pytest.mark.parametrize("path", RECIPES)
def test_recipe_is_a_complete_experiment(path):
    parse_config([path], [])
    method, steps, backbone, labeled, directory = query(
        "train.method",
        "train.num_steps",
        "build_model.backbone",
        "TrainingData.labeled_split",
        "load_dataset.directory",
    )
    methods = (
        "Supervised",
        "PseudoSeg",
        "Classification",
        "SelfTraining",
        "ESL",
        "NoiseAware",
        "FixMatch",
        "UniMatch",
        "UniMatchV2",
    )
    assert str(method) in [f"@{name}()" for name in methods]
    assert steps > 0 and backbone in (*BACKBONES, KERAS_HUB) and labeled and directory


@pytest.mark.parametrize("path", RECIPES)
def test_header_has_the_command_and_what_was_measured(path):
    text = header(path)
    commands = [line.split() for line in text.splitlines() if line.strip().startswith(COMMANDS)]
    assert commands, f"{path}: its header has no command that trains"
    assert f"--gin_file={path}" in commands[0]
    assert any(word.startswith("--run_dir=") for word in commands[0])
    assert "measured" in text.lower()


@pytest.mark.parametrize("path", FILES)
def test_file_parses_with_each_binding_that_its_comments_offer(path):
    parse_config([path], [])
    for line in (PROJECT_ROOT / path).read_text().splitlines():
        if line.startswith("#"):
            for binding in BINDING.findall(line):
                gin.clear_config()
                parse_config([path], [binding])


# PseudoSeg, App. B and D (Cityscapes: the schedule of VOC is assumed); crop and lists of the original README.
@pytest.mark.parametrize(
    ("name", "steps", "backbone", "labeled", "unlabeled"),
    [
        ("voc2012_supervised", 30000, "xception_65", "voc_pseudoseg_1_16_s1_92", "train_aug"),
        ("voc2012_unlabeled", 30000, "xception_65", "voc_pseudoseg_1_16_s1_92", "train_aug"),
        ("voc2012_image_labels", 30000, "xception_65", "voc_pseudoseg_1_16_s1_92", "train_aug"),
        ("voc2012_high_data", 90000, "xception_65", "train", "coco2voc"),
        ("coco_supervised", 200000, "xception_65", "coco_pseudoseg_1_32", "train2017"),
        ("coco_unlabeled", 200000, "xception_65", "coco_pseudoseg_1_32", "train2017"),
        ("cityscapes_unlabeled", 30000, "resnet_v1_101_beta", "cityscapes_cutmix_seed12345_744", "train_fine"),
    ],
)
def test_schedule_of_the_paper(name, steps, backbone, labeled, unlabeled):
    parse_config([f"{PSEUDOSEG}{name}.gin"], [])
    assert query("train.num_steps", "build_model.backbone") == [steps, backbone]
    assert query("TrainingData.labeled_split", "TrainingData.unlabeled_split") == [labeled, unlabeled]
    assert query("build_optimizer.name", "build_optimizer.momentum") == ["momentum", 0.9]
    assert query("build_optimizer.learning_rate", "build_optimizer.power") == [0.007, 0.9]
    assert query("TrainingData.labeled_batch_size", "TrainingData.unlabeled_batch_size") == [4, 4]
    assert query("TrainingData.crop_size", "build_model.output_stride") == [(513, 513), 16]
    assert query("Evaluation.batch_size")[0] % 16 == 0, "does not divide among the paper's 16 replicas"


UNIMATCH = "gin_configs/recipes/unimatch/"
UNIMATCH_V2 = "gin_configs/recipes/unimatch_v2/"


# The configurations of both repositories: steps are epochs x floor(ceil(unlabelled / 4) / batch of a GPU).
@pytest.mark.parametrize(
    ("path", "images", "masks", "epochs", "of_gpu", "crop", "rate", "head", "threshold"),
    [
        (f"{UNIMATCH}voc2012.gin", 10582, 92, 80, 2, 321, 1e-3, 10.0, 0.95),
        (f"{UNIMATCH}cityscapes.gin", 2975, 186, 240, 2, 801, 5e-3, 1.0, 0.0),
        (f"{UNIMATCH}coco.gin", 118287, 232, 30, 2, 513, 4e-3, 10.0, 0.95),
        (f"{UNIMATCH_V2}voc2012.gin", 10582, 92, 60, 4, 518, 5e-6, 40.0, 0.95),
        (f"{UNIMATCH_V2}cityscapes.gin", 2975, 186, 180, 2, 798, 5e-6, 40.0, 0.95),
        (f"{UNIMATCH_V2}ade20k.gin", 20210, 316, 60, 2, 518, 5e-6, 40.0, 0.95),
        (f"{UNIMATCH_V2}coco.gin", 118287, 232, 20, 4, 518, 5e-6, 40.0, 0.95),
    ],
)
def test_recipes_of_unimatch(path, images, masks, epochs, of_gpu, crop, rate, head, threshold):
    parse_config([path], [])
    of_epoch = math.ceil((images - masks) / 4) // of_gpu
    assert query("train.num_steps") == [epochs * of_epoch]
    assert gin.query_parameter("train.evaluate_every") % of_epoch == 0
    assert query("TrainingData.labeled_batch_size", "TrainingData.unlabeled_batch_size") == [4 * of_gpu] * 2
    assert query("TrainingData.crop_size", "build_optimizer.learning_rate") == [(crop, crop), rate]
    assert query("train.head_multiplier", "build_optimizer.power", "build_optimizer.lag") == [head, 0.9, 1]
    method = str(gin.query_parameter("train.method")).strip("@()")
    assert method == ("UniMatchV2" if "v2" in path else "UniMatch")
    assert query(f"{method}.threshold", f"{method}.cut_mix_probability") == [threshold, 0.5]
    if "cityscapes" in path:
        assert query(f"{method}.hard_examples", f"{method}.least_hard_examples") == [0.7, 4 * 200_000]
        assert query("Evaluation.window") == [(crop, crop)]
        # In both directions the windows of the reference, but that V1 cuts the last ones off.
        starts = [window_starts(side, crop, gin.query_parameter("Evaluation.window_stride")) for side in (1024, 2048)]
        assert starts == ([[0, 226], [0, 532, 1064, 1250]] if crop == 798 else [[0, 223], [0, 534, 1068, 1247]])
    if method == "UniMatchV2":
        optimizer = build_optimizer(10)
        assert (optimizer.weight_decay, optimizer.epsilon, optimizer.decay_with_rate) == (0.01, 1e-8, True)
    else:
        assert query("build_optimizer.name", "build_optimizer.momentum", "train.weight_decay") == [
            "momentum",
            0.9,
            1e-4,
        ]
    assert query("Evaluation.original_size", "Evaluation.size") == [True, None]


@pytest.mark.parametrize(
    ("name", "image_labels", "gamma", "temperature"),
    [
        ("voc2012_unlabeled", False, 0.5, 0.5),
        ("voc2012_image_labels", True, 0.5, 0.5),
        ("voc2012_high_data", False, 0.3, 0.7),
        ("coco_unlabeled", False, 0.5, 0.5),
        ("cityscapes_unlabeled", False, 0.5, 0.5),
    ],
)
def test_fusion_of_the_paper(name, image_labels, gamma, temperature):
    parse_config([f"{PSEUDOSEG}{name}.gin"], [])
    assert str(gin.query_parameter("train.method")) == "@PseudoSeg()"
    assert query("PseudoSeg.use_image_labels", "PseudoSeg.gamma", "PseudoSeg.temperature") == [
        image_labels,
        gamma,
        temperature,
    ]


# DARS, the table of its configurations: name, N_l, N_u, epochs, batch of round 0 and of each half later, rate, side at which
# images are labelled, crop, shares, scales of rounds 1 and 2.
ROWS = [
    ("cityscapes_1_8_361", 372, 2603, 200, 16, 8, 0.01, 1024, 361, (0.2, 0.5), [(0.25, 1.0), (0.2, 1.5)]),
    ("cityscapes_1_4_361", 744, 2231, 200, 16, 8, 0.01, 1024, 361, (0.4, 0.6), [(0.25, 1.0), (0.2, 1.5)]),
    ("cityscapes_1_8_713", 372, 2603, 200, 16, 8, 0.01, 2048, 713, (0.4, 0.65), [(0.5, 2.0), (0.5, 3.0)]),
    ("cityscapes_1_4_713", 744, 2231, 200, 16, 8, 0.01, 2048, 713, (0.4, 0.65), [(0.5, 2.0), (0.4, 2.5)]),
    ("cityscapes_1_8_deeplab_v2_361", 372, 2603, 200, 8, 4, 0.002, 1024, 361, (0.2, 0.45), [(0.25, 1.0)] * 2),
    ("voc2012_321", 1464, 9118, 50, 16, 8, 0.01, 400, 321, (0.4, 0.5), [(0.5, 1.5), (0.5, 2.0)]),
]


def trainings(path: str) -> list[list[str]]:
    """The gin bindings of each training of a recipe with rounds."""
    parse_config([path], [])
    stages = Plan(Rounds(), Path("runs"), gin_files=[path], parameters=[]).stages
    flag = "--gin_param="
    return [
        [word.removeprefix(flag) for word in stage.command if word.startswith(flag)]
        for stage in stages
        if stage.command[0] == "wss.train"
    ]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_rounds_of_dars(row):
    name, labeled, unlabeled, epochs, whole, half, rate, side, crop, alphas, scales = row
    path = f"{DARS}{name}.gin"
    rounds = trainings(path)
    assert query("Rounds.alphas", "Labeling.window", "Labeling.base_size") == [alphas, (crop, crop), side]
    steps = [epochs * math.ceil(labeled / whole)] + 2 * [epochs * math.ceil(unlabeled / half)]
    starts = [1.0, 0.535887, 0.372041]
    for number, parameters in enumerate(rounds):
        parse_config([path], parameters)
        assert query("train.num_steps")[0] == steps[number]
        assert query("TrainingData.labeled_batch_size")[0] == (half if number else whole)
        assert query("TrainingData.pseudo_batch_size", "TrainingData.crop_size") == [half, (crop, crop)]
        found = query("Augmentation.min_scale", "Augmentation.max_scale")
        assert found == pytest.approx(scales[max(number - 1, 0)], abs=1e-6)
        optimizer = build_optimizer(steps[number])
        assert float(optimizer.learning_rate) == pytest.approx(rate * starts[number], abs=rate * 1e-6)
        optimizer.iterations.assign(steps[number])
        assert float(optimizer.learning_rate) == 0
        assert str(gin.query_parameter("train.method")) == ("@SelfTraining()" if number else "@Supervised()")
    assert query("train.initial_weights") == ["runs/round_1"]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_training_and_testing_of_dars(row):
    name, labeled, unlabeled, _, _, _, _, side, crop, *_ = row
    parse_config([f"{DARS}{name}.gin"], [])
    assert query("build_optimizer.name", "build_optimizer.momentum") == ["momentum", 0.9]
    assert query("build_optimizer.power", "train.weight_decay", "train.head_multiplier") == [0.9, 1e-4, 10]
    assert query("Augmentation.rotate_degrees", "Augmentation.rotate_probability") == [10, 0.5]
    assert query("Augmentation.blur_probability", "Augmentation.scale_step") == [0.5, 0]
    # Windows of the crop on images of the side at which they are labelled: 1024 of Cityscapes' 2048, 400 of VOC's 500.
    scale = side / (500 if name.startswith("voc") else 2048)
    assert gin.get_bindings("Evaluation").get("scales", (1.0,)) == (pytest.approx(scale),)
    assert query("Evaluation.window", "Evaluation.flip", "Labeling.window") == [(crop, crop), True, (crop, crop)]
    published = load_manifest()
    assert published[gin.query_parameter("TrainingData.labeled_split")].num_images == labeled
    rest = gin.query_parameter("TrainingData.unlabeled_split")
    assert f"--rest_name={rest}" in header(f"{DARS}{name}.gin")
    whole = published["voc_train_aug10582" if name.startswith("voc") else "cityscapes_train2975"].num_images
    assert whole - labeled == unlabeled


# Where windows lay when they were cut before the image was scaled, and their stride was rounded to the nearer pixel.
OLD_STARTS = {"361": ([0, 304], [0, 481, 962, 1328]), "713": ([0, 312], [0, 475, 950, 1336]), "321": ([0, 112],) * 2}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_windows_of_dars_lie_where_they_always_lay(row):
    """To the pixel at full size. Of scaled images they are whole pixels now, and 481 is none at half the size."""
    name = row[0]
    parse_config([f"{DARS}{name}.gin"], [])
    size, (window, _) = query("Evaluation.size", "Evaluation.window")
    settings = gin.get_bindings("Evaluation")
    (scale,), stride = settings.get("scales", (1.0,)), settings.get("window_stride", 2 / 3)
    for side, expected in zip(size, OLD_STARTS[str(window)], strict=True):
        scaled = round(scale * (side - 1)) + 1
        starts = np.array(window_starts(scaled, window, stride))
        in_image = starts * (side - 1) / (scaled - 1)
        assert np.abs(in_image - expected).max() <= (0 if scale == 1 else 1 / scale)


def test_the_network_of_each_row_of_dars():
    parse_config([f"{DARS}cityscapes_1_8_deeplab_v2_361.gin"], [])
    assert query("build_model.head", "build_model.backbone") == ["deeplab_v2", "resnet_v1_101_keras"]
    for name, *_ in ROWS:
        if "deeplab_v2" not in name:
            parse_config([f"{DARS}{name}.gin"], [])
            assert query("build_model.head", "build_model.backbone") == ["pspnet", "resnet_v1_50_beta"]


def test_self_training_by_one_threshold_starts_afresh():
    """PseudoSeg's Table 6: labels above 0.5, the student from ImageNet's weights, the schedule of the baseline."""
    path = "gin_configs/recipes/self_training/voc2012.gin"
    teacher, student = trainings(path)
    assert Rounds().threshold == 0.5 and Rounds().policy == "threshold"
    baseline = f"{PSEUDOSEG}voc2012_supervised.gin"
    shared = [
        "train.num_steps",
        "build_model.backbone",
        "build_optimizer.learning_rate",
        "TrainingData.labeled_split",
        "TrainingData.labeled_batch_size",
        "TrainingData.crop_size",
    ]
    parse_config([baseline], [])
    expected = query(*shared)
    for parameters in (teacher, student):
        parse_config([path], parameters)
        assert query(*shared) == expected
        assert "steps_before" not in gin.get_bindings("build_optimizer")
        assert "initial_weights" not in gin.get_bindings("train")
    assert query("TrainingData.pseudo_batch_size") == [4]


@pytest.mark.parametrize(("dataset", "size"), [("voc2012", (513, 513)), ("coco", (641, 641))])
def test_evaluation_size_of_the_paper(dataset, size):
    parse_config([f"{PSEUDOSEG}{dataset}_unlabeled.gin"], [])
    assert gin.query_parameter("Evaluation.size") == size


@pytest.mark.parametrize(
    ("model", "backbone", "multi_grid"),
    [
        ("xception_65", "xception_65", None),
        ("resnet_v1_50", "resnet_v1_50_beta", (1, 2, 4)),
        ("resnet_v1_101", "resnet_v1_101_beta", (1, 2, 4)),
        ("mobilenet_v2", "mobilenet_v2", None),
    ],
)
def test_a_model_file_after_a_recipe_replaces_its_model(model, backbone, multi_grid):
    parse_config([f"{PSEUDOSEG}cityscapes_unlabeled.gin", f"gin_configs/models/{model}.gin"], [])
    assert query("build_model.backbone", "build_model.multi_grid") == [backbone, multi_grid]


def test_a_method_file_after_a_recipe_replaces_its_method():
    parse_config([f"{PSEUDOSEG}cityscapes_unlabeled.gin", "gin_configs/methods/supervised.gin"], [])
    assert str(gin.query_parameter("train.method")) == "@Supervised()"


@pytest.mark.parametrize(
    ("dataset", "converted"),
    [
        # The unions with COCO are splits of one's own.
        ("voc2012", {"train", "train_aug", "coco2voc", "coco2voc_v9k"}),
        ("coco", {"train2017"}),
        ("cityscapes", {"train_fine"}),
    ],
)
def test_splits_are_published_lists_or_the_converters(dataset, converted):
    known = {name for name, entry in load_manifest().items() if entry.dataset == dataset} | converted
    text = "".join((PROJECT_ROOT / path).read_text() for path in FILES if path.startswith(PSEUDOSEG + dataset))
    named = set(re.findall(r"TrainingData\.(?:un)?labeled_split = '([^']+)'", text))
    assert named - converted and named <= known


@pytest.mark.parametrize(
    ("name", "dataset", "original"),
    [
        ("voc_pseudoseg_1_16_s1_92", "pascal_voc_seg", "16_clean_3"),
        ("voc_pseudoseg_1_16_s2_92", "pascal_voc_seg", "16_clean_14"),
        ("voc_pseudoseg_1_16_s3_92", "pascal_voc_seg", "16_clean_20"),
        ("voc_pseudoseg_1_8_183", "pascal_voc_seg", "8_clean"),
        ("voc_pseudoseg_1_4_366", "pascal_voc_seg", "4_clean"),
        ("voc_train_aug10582", "pascal_voc_seg", "train_aug"),
        ("coco_pseudoseg_1_32", "coco", "32_all"),
        ("coco_pseudoseg_1_64", "coco", "64_all"),
        ("coco_pseudoseg_1_128", "coco", "128_all"),
        ("coco_pseudoseg_1_256", "coco", "256_all"),
        ("coco_pseudoseg_1_512", "coco", "512_all"),
        ("cityscapes_train2975", "cityscapes", "train_fine"),
    ],
)
def test_lists_have_the_sizes_of_the_original(goldens, name, dataset, original):
    sizes = json.loads((goldens / "datasets.json").read_text())[dataset]["splits_to_sizes"]
    assert load_manifest()[name].num_images == sizes[original]


@pytest.mark.parametrize(
    ("typo", "right"),
    [
        ("PseudoSeg.gama = 0.3", "gamma"),
        ("TrainingData.labelled_split = 'train'", "labeled_split"),
        ("train.num_step = 10", "num_steps"),
        ("build_modle.backbone = 'xception_65'", "build_model"),
    ],
)
def test_typo_over_a_recipe_names_the_nearest(typo, right):
    with pytest.raises(UserError, match=f"Did you mean '{right}'"):
        parse_config([f"{PSEUDOSEG}voc2012_unlabeled.gin"], [typo])


def test_parameters_that_moved_are_read_under_their_old_names(tmp_path, capsys):
    """In files, their includes and bindings; everything else about them is as if the new name stood there."""
    (tmp_path / "old.gin").write_text("build_model.attention_dim = 7\nbuild_model.backbone = 'xception_41'\n")
    (tmp_path / "whole.gin").write_text(f"include '{tmp_path}/old.gin'\nbuild_model.sgc_background = 'before'\n")
    parse_config([str(tmp_path / "whole.gin")], ["build_model.classifier_dropout = 0.25"])
    assert gin.get_bindings("build_sgc") == {"attention_dim": 7, "background": "before"}
    assert gin.get_bindings("build_classifier") == {"dropout": 0.25}
    assert gin.get_bindings("build_model") == {"backbone": "xception_41"}
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "build_model.sgc_background is called build_sgc.background now" in printed


ESL = {
    # recipe: (images, epochs, crop, rate, weight decay, factor of the head, backbone, hard examples, supervised epochs)
    "voc2012_classic": (10582, 80, 513, 0.001, 0.0001, 10.0, "resnet_v1_101_beta", None, 1.0),
    "voc2012_blended": (10582, 80, 513, 0.001, 0.0001, 10.0, "resnet_v1_101_beta", None, 1.0),
    "cityscapes": (2975, 200, 769, 0.01, 0.0005, 1.0, "resnet_v1_101_beta", 0.7, 0.0),
    "coco": (118287, 30, 513, 0.004, 0.0001, 10.0, "xception_65", None, 1.0),
}


@pytest.mark.parametrize("name", ESL)
def test_esl_has_the_papers_numbers(name):
    """Section 4.1 of the paper, its epochs in steps for every row of the header; what U2PL says where the paper does not."""
    path = f"gin_configs/recipes/esl/{name}.gin"
    parse_config([path], [])
    method = gin.query_parameter("train.method").scoped_configurable_fn()
    parts = method.contrast
    assert (method.eta, method.soft_label_weight, method.contrast_weight, method.cut_mix_probability) == (
        0.95,
        0.2,
        0.1,
        0.5,
    )
    assert (parts.parts, parts.anchor_confidence, parts.anchor_share, parts.negatives) == (5, 0.95, 0.1, 255)
    assert (parts.temperature, parts.prototype_decay, method.teacher_decay) == (0.5, 0.99, 0.99)
    images, epochs, crop, *numbers = ESL[name]
    assert numbers == [
        *query("build_optimizer.learning_rate", "train.weight_decay", "train.head_multiplier", "build_model.backbone"),
        method.hard_examples,
        method.supervised_epochs,
    ]
    assert query("TrainingData.crop_size", "TrainingData.labeled_batch_size", "TrainingData.unlabeled_batch_size") == [
        (crop, crop),
        8,
        8,
    ]
    lists = load_manifest()
    rows = re.findall(r"^ +(\w+_\d+\w*|voc_train1464) +rest_(\d+) +(\d+) ", header(path), re.MULTILINE)
    assert len(rows) >= 3
    for labels, masks, steps in rows:
        assert lists[labels].num_images == int(masks)
        assert int(steps) == epochs * math.ceil((images - int(masks)) / 8)
    own = query("TrainingData.labeled_split", "TrainingData.unlabeled_split", "train.num_steps")
    assert [own[0], own[1].removeprefix("rest_"), str(own[2])] in [list(row) for row in rows]


# BAP + NAL, the table of its configurations: name, backbone and head of stage 3, its steps, batch, rate.
BAP_NAL_ROWS = [
    ("voc2012_v1", "vgg16_large_fov", "large_fov", 23805, 20, 0.001),
    ("voc2012_v2", "resnet_v1_101_keras", "deeplab_v2_features", 20000, 10, 0.00025),
    ("voc2012_v1_semi", "vgg16_large_fov", "large_fov", 23805, 17, 0.001),
]


@pytest.mark.parametrize(("name", "backbone", "head", "steps", "batch", "rate"), BAP_NAL_ROWS)
def test_stages_of_bap_nal(name, backbone, head, steps, batch, rate):
    path = f"gin_configs/recipes/bap_nal/{name}.gin"
    parse_config([path], [])
    settings = BoxStages()
    stages = BoxPlan(settings, Path("runs"), gin_files=[path], parameters=[]).stages
    assert [stage.command[0] for stage in stages] == ["wss.train", "wss.label", "wss.train"]
    shared = ["TrainingData.crop_size", "Augmentation.min_scale", "Augmentation.max_scale", "train.weight_decay"]
    own = ["build_model.backbone", "build_model.head", "train.num_steps", "build_optimizer.learning_rate"]

    def check(stage, numbers: list) -> None:
        flag = "--gin_param="
        parse_config([path], [word.removeprefix(flag) for word in stage.command if word.startswith(flag)])
        assert query(*shared) == [(321, 321), 0.5, 1.5, 0.0005]
        assert query(*own) == numbers

    check(stages[0], ["vgg16_large_fov", "large_fov", 8000, 0.001])
    assert str(gin.query_parameter("train.method")) == "@BoxClassification()"
    assert query("build_optimizer.milestones", "build_model.fc6_rate", "TrainingData.unlabeled_batch_size") == [
        (5000,),
        1,
        20,
    ]
    check(stages[2], [backbone, head, steps, rate])
    assert query("TrainingData.pseudo_batch_size", "build_model.classifier", "build_model.cosine_scale") == [
        batch,
        "cosine",
        20.0,
    ]
    assert query("NoiseAware.gamma", "NoiseAware.weight") == [7.0, 0.1]
    assert "milestones" not in gin.get_bindings("build_optimizer")


def test_epochs_of_bap_nal():
    assert pytest.approx(45 * 10582 / 20, abs=5) == 23805
