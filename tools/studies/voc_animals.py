"""PseudoSeg's questions at the size of a laptop: seven classes of PASCAL VOC, MobileNetV2. Table numbers are the paper's."""

import dataclasses
import re
from collections.abc import Iterable, Sequence

from wss.workflows.studies.runs import Run, Table

RECIPES = "gin_configs/recipes/voc_animals"
LISTS = {
    "1/16 (27)": "train_1_16",
    "1/8 (55)": "train_1_8",
    "1/4 (109)": "train_1_4",
    "1/2 (218)": "train_1_2",
    "all (437)": "train",
}
NUM_MASKS = dict(zip(LISTS, (27, 55, 109, 218, 437), strict=True))
FEW = tuple(LISTS)[:2]
FEW_AND_MANY = ("1/8 (55)", "1/2 (218)")
SEEDS = (0, 1, 2)
METHODS = {
    "supervised": "supervised",
    "self-training": "self_training",
    "PseudoSeg": "pseudoseg",
    "PseudoSeg + image labels": "pseudoseg_image_labels",
}
# All seeds at 109 masks too, where ESL is compared with them.
SEEDED = ("supervised", "pseudoseg")
# ESL's own table: the paper's ladder of losses, beside the other two methods without image labels.
ESL_COLUMNS = ("1/8 (55)", "1/4 (109)")
# The ladder has the paper's decay, which averages over 100 steps, an eighth of so short a run.
_DECAY = "ESL.teacher_decay = 0.99"
ESL_LADDER = {
    "hard labels": f"{_DECAY}; ESL.label = 'hard'; ESL.contrast_weight = 0.0",
    "soft labels": f"{_DECAY}; ESL.contrast_weight = 0.0",
    "soft labels and contrast": _DECAY,
}
# The strong baselines, by the same recipe.
CONSISTENCY = {"FixMatch": "fixmatch", "UniMatch": "unimatch", "UniMatch V2": "unimatch_v2"}
CONSISTENCY_COLUMNS = ("1/16 (27)", *ESL_COLUMNS)
# Why V2 is behind: the views alone, and statistics that lag behind the weights when the teacher labels.
_FASTER_STATISTICS = "build_model.batch_norm_momentum = 0.9"
CONSISTENCY_DOUBTS = {
    "UniMatch V2, no pixel counts": ("unimatch_v2", "UniMatchV2.threshold = 1.1"),
    "UniMatch V2, momentum .9": ("unimatch_v2", _FASTER_STATISTICS),
    "supervised, momentum .9": ("supervised", _FASTER_STATISTICS),
}
LONGER = "train.num_steps = 1600"
# With 27 masks.
FIGURE_5 = {
    "as in the recipe": "",
    "hard labels": "PseudoSeg.label = 'hard'",
    "no norm": "PseudoSeg.norm_scope = 'none'",
    "norm of each image": "PseudoSeg.norm_scope = 'image'",
    "norm of each pixel": "PseudoSeg.norm_scope = 'pixel'",
    "last features, no hypercolumn": "build_sgc.hypercolumn = False",
    "no colour jitter": "Augmentation.jitter_strength = 0.0",
    "colour jitter of half the strength": "Augmentation.jitter_strength = 0.5",
    "no CutOut": "Augmentation.cutout_half_side = 0",
}
# With a smaller rate for all: the backbone forgets less.
HEAD_FASTER = "train.head_multiplier = 10.0; train.sgc_multiplier = 10.0"
# What both methods were tried with.
TRAINING = {
    "as in the recipe": "",
    "twice the steps": "train.num_steps = 1600",
    "Adam 1e-4, head 1e-3": f"build_optimizer.learning_rate = 0.0001; {HEAD_FASTER}",
    "the paper's SGD, rate .007": "build_optimizer.name = 'momentum'; build_optimizer.learning_rate = 0.007",
    # A crop of 129 then sees as much of a photo of 256 as the paper's 513 of one of 500.
    "scales .25 to 1, validation at .63": (
        "Augmentation.min_scale = 0.25; Augmentation.max_scale = 1.0; Evaluation.scales = (0.63,)"
    ),
    "output stride 8": "build_model.output_stride = 8",
    "batch-norm momentum .9, not .99": "build_model.batch_norm_momentum = 0.9",
}
# What else the recipe was chosen among, on the baseline.
CHOICES = {
    "Adam 1e-3": "build_optimizer.learning_rate = 0.001",
    "Adam 1e-4": "build_optimizer.learning_rate = 0.0001",
    "Adam 3e-5, head 3e-4": f"build_optimizer.learning_rate = 3e-05; {HEAD_FASTER}",
    "scales up to 2": "Augmentation.max_scale = 2.0",
    "batches of 4": "TrainingData.labeled_batch_size = 4",
    "batch norm by ImageNet's statistics": "build_model.fine_tune_batch_norm = False",
}
# What else may hold PseudoSeg back in so short a run.
DOUBTS = {
    "SGC's 1 x 1 starts at random": "build_sgc.projection_init = 'glorot_uniform'",
    "SGC learns ten times as fast": "train.sgc_multiplier = 10.0",
    "classes pass the gate from .2": "PseudoSeg.class_threshold = 0.2",
    "no consistency loss": "PseudoSeg.consistency_weight = 0.0",
    "consistency loss weighs .3": "PseudoSeg.consistency_weight = 0.3",
    "the consistency weight rises from 0": "PseudoSeg.consistency_ramp_steps = 800",
    "the decoder labels in inference mode": "PseudoSeg.decoder_statistics = 'moving'",
    "sharper labels, T = .3": "PseudoSeg.temperature = 0.3",
    "labels not sharpened, T = 1": "PseudoSeg.temperature = 1.0",
    "all views move the statistics": "PseudoSeg.batch_norm_views = ('labeled', 'weak', 'strong')",
}
TEMPERATURES = (0.1, 0.3, 0.5, 0.7, 1.0)


# What a person needs, in seconds: a full mask of a VOC photo and a class of a tag (Bearman et al., ECCV 2016), a box by its
# four extreme points (Papadopoulos et al., ICCV 2017).
SECONDS_OF_A_MASK, SECONDS_OF_A_CLASS, SECONDS_OF_A_BOX = 239.7, 1.0, 7.0
NUM_CLASSES, NUM_PHOTOS, NUM_BOXES = 6, 3131, 1091  # boxes are those of the 437 photos of `train`


def make_run(method: str, labels: str, *, seed: int = 0, change: str = "") -> Run:
    """Returns a run.

    Args:
        method: Name of a recipe in `RECIPES`.
        labels: Name of the labelled list.
        seed: Seed of weights, order and augmentation.
        change: Gin bindings over the recipe, separated by "; ".
    """
    changes = change.split("; ") if change else []
    what = "-".join([method, *(re.sub(r"[ '()]|,(?=\))", "", binding.partition(".")[2]) for binding in changes)])
    bindings = (f"TrainingData.labeled_split = {labels!r}", *changes)
    teacher = make_run("supervised", labels, seed=seed) if method == "self_training" else None
    name, recipe = f"{what}/{labels}/seed_{seed}", f"{RECIPES}/{method}.gin"
    return Run(
        name,
        recipe,
        bindings,
        seed=seed,
        teacher=teacher,
        from_boxes=method == "boxes",
        guessed_labels="guessed" in method,
    )


def _from_masks(change: str = "", *, seed: int = 0) -> Run:
    """Returns a run that learns otherwise from the masks of `BAP`, or with another seed."""
    return dataclasses.replace(make_run("boxes", "train", seed=seed, change=change), teacher=BAP)


def _row(
    method: str, *, seeds: Sequence[int] = SEEDS, change: str = "", columns: Sequence[str] = FEW
) -> dict[str, list[Run]]:
    """Returns runs by column: all seeds for the few masks, seed 0 for more."""
    return {
        column: [
            make_run(method, LISTS[column], seed=seed, change=change) for seed in (seeds if column in FEW else (0,))
        ]
        for column in columns
    }


def _all_seeds(method: str, columns: Iterable[str]) -> dict[str, list[Run]]:
    """Returns the runs of all seeds by column."""
    return {column: [make_run(method, LISTS[column], seed=seed) for seed in SEEDS] for column in columns}


def _seed_0(titles: Iterable[str], columns: Iterable[str] = FEW) -> dict[str, Run]:
    """Returns runs by title and labelled list."""
    return {f"{title}, {column}": make_run(METHODS[title], LISTS[column]) for column in columns for title in titles}


MAIN = Table(
    {
        title: {**_row(method, columns=tuple(LISTS)), **(_all_seeds(method, ESL_COLUMNS) if method in SEEDED else {})}
        for title, method in METHODS.items()
    },
    "Tables 2, 4 and 6",
)
COMPONENTS = Table(
    {
        f"{part}{suffix}": _row(method, seeds=(0,), change=change)
        for suffix, method in (("", "pseudoseg"), (", image labels", "pseudoseg_image_labels"))
        for part, change in (
            ("decoder only", "PseudoSeg.source = 'decoder'"),
            ("SGC only", "PseudoSeg.source = 'sgc'"),
            ("calibrated fusion", ""),
        )
    },
    "Table 5, seed 0",
)
TRIED = {"supervised": {**TRAINING, **CHOICES}, "PseudoSeg": {**TRAINING, **DOUBTS}}
CHANGED = Table(
    {
        title: {
            method: [make_run(METHODS[method], "train_1_8", change=changes[title])]
            for method, changes in TRIED.items()
            if title in changes
        }
        for title in {**TRAINING, **DOUBTS, **CHOICES}
    },
    "55 masks, seed 0",
)
# Whether a part pays is the gate's doing: image labels make it right.
BOTH_GATES = ("as in the recipe", "no norm", "last features, no hypercolumn")
VARIANTS = Table(
    {
        variant: {
            title: [make_run(METHODS[title], "train_1_16", change=change)]
            for title in ("PseudoSeg", "PseudoSeg + image labels")
            if title == "PseudoSeg" or variant in BOTH_GATES
        }
        for variant, change in FIGURE_5.items()
    },
    "Figure 5, 27 masks, seed 0",
)
TEMPERATURE = Table(
    {
        f"T = {value}": _row(
            "pseudoseg_image_labels",
            seeds=(0,),
            change="" if value == 0.5 else f"PseudoSeg.temperature = {value}",
            columns=FEW[:1],
        )
        for value in TEMPERATURES
    },
    "Table 10, image labels, seed 0",
)
# The paper keeps labels above .5; after 800 steps few of the rare classes are.
THRESHOLD = Table(
    {
        "supervised, the teacher": _row("supervised", seeds=(0,), columns=FEW_AND_MANY),
        "labels surer than .5": _row("self_training", seeds=(0,), columns=FEW_AND_MANY),
        "all labels": _row("self_training", seeds=(0,), change="Rounds.threshold = 0.0", columns=FEW_AND_MANY),
    },
    "self-training, seed 0",
)
ESL = Table(
    {
        "supervised": _all_seeds("supervised", ESL_COLUMNS),
        "PseudoSeg": _all_seeds("pseudoseg", ESL_COLUMNS),
        "ESL": _all_seeds("esl", ESL_COLUMNS),
        **{
            f"decay .99: {title}": _row("esl", seeds=(0,), change=change, columns=ESL_COLUMNS)
            for title, change in ESL_LADDER.items()
        },
        "twice the steps: supervised": _row("supervised", seeds=(0,), change=LONGER, columns=ESL_COLUMNS),
        "twice the steps: ESL": _row("esl", seeds=(0,), change=LONGER, columns=ESL_COLUMNS[1:]),
    },
    "losses of ESL",
)
UNIMATCH = Table(
    {
        "supervised": _all_seeds("supervised", CONSISTENCY_COLUMNS),
        "PseudoSeg": _all_seeds("pseudoseg", CONSISTENCY_COLUMNS),
        "ESL": _all_seeds("esl", ESL_COLUMNS),
        **{
            title: {
                column: [make_run(method, LISTS[column], seed=seed) for seed in (SEEDS if column in FEW[1:] else (0,))]
                for column in CONSISTENCY_COLUMNS
            }
            for title, method in CONSISTENCY.items()
        },
        **{
            title: _row(method, seeds=(0,), change=change, columns=ESL_COLUMNS[:1])
            for title, (method, change) in CONSISTENCY_DOUBTS.items()
        },
    },
    "consistency",
)
# BAP + NAL has its own photos: all of them have boxes, and none a mask.
BOXES = "437 photos with boxes"
BAP = make_run("boxes", "train")
GAP = make_run("boxes", "train", change="BoxClassification.pooling = 'average'")
MASKS = {"BAP": BAP, "GAP": GAP}
AGREEMENT = "NoiseAware.loss = 'agreement'"
BY_ANGLES = "build_model.classifier = 'cosine'; build_model.cosine_scale = 20.0"
FROM_BOXES = Table(
    {
        title: {BOXES: runs}
        for title, runs in {
            "Y_ret alone": [_from_masks("NoiseAware.loss = 'second_mask'")],
            "Y_crf alone": [_from_masks("NoiseAware.loss = 'first_mask'")],
            "both agree, the baseline": [_from_masks(AGREEMENT, seed=seed) for seed in SEEDS],
            "entropy regularisation": [_from_masks("NoiseAware.loss = 'entropy'")],
            "bootstrapping": [_from_masks("NoiseAware.loss = 'bootstrap'")],
            "noise-aware loss": [BAP, *(_from_masks(seed=seed) for seed in SEEDS[1:])],
            "noise-aware loss, masks of GAP": [GAP],
            "noise-aware loss, dot product": [_from_masks("build_model.classifier = 'dot_product'")],
            "both agree, no colour jitter": [_from_masks(f"{AGREEMENT}; NoiseAware.color_jitter = False")],
            "437 true masks": [make_run("supervised", "train", change=BY_ANGLES)],
            "437 true masks, linear classifier": [make_run("supervised", "train")],
        }.items()
    },
    "from boxes, mIoU",
)
# What each kind of label is worth: three seeds at 55 masks, one elsewhere, as far as other tables have no more.
ALL_PHOTOS = "437 photos"
LABEL_COLUMNS = CONSISTENCY_COLUMNS
BY_QUOTAS = "Rounds.policy = 'dars'; Rounds.threshold = None; Rounds.alphas = (0.5,)"
WITH_TRUE_MASKS = "NoiseAware.use_labeled = True"


def _labels_row(method: str, more: Iterable[str] = (), *, change: str = "") -> dict[str, list[Run]]:
    """Returns the runs of a method by column; `more` columns have all seeds."""
    several = {FEW[1], *more}
    return {
        column: [
            make_run(method, LISTS[column], seed=seed, change=change) for seed in (SEEDS if column in several else (0,))
        ]
        for column in LABEL_COLUMNS
    }


LABELS = Table(
    {
        "supervised": _labels_row("supervised", LABEL_COLUMNS),
        "self-training, one threshold": _labels_row("self_training", FEW),
        "self-training, class quotas": _labels_row("self_training", change=BY_QUOTAS),
        "UniMatch": _labels_row("unimatch"),
        "ESL": _labels_row("esl", ESL_COLUMNS),
        "PseudoSeg": _labels_row("pseudoseg", LABEL_COLUMNS),
        "PseudoSeg, guessed tags": _labels_row("pseudoseg_guessed_labels", FEW),
        "PseudoSeg, tags of all photos": _labels_row("pseudoseg_image_labels", FEW),
        "437 photos with boxes": {ALL_PHOTOS: [BAP, *(_from_masks(seed=seed) for seed in SEEDS[1:])]},
        "masks, and boxes of 437 photos": {
            column: [dataclasses.replace(run, teacher=BAP) for run in runs]
            for column, runs in _labels_row("boxes", change=WITH_TRUE_MASKS).items()
        },
        "all masks": {ALL_PHOTOS: [make_run("supervised", "train")]},
        "all masks, classifier by angles": {ALL_PHOTOS: [make_run("supervised", "train", change=BY_ANGLES)]},
    },
    "what a label buys",
)


def labeling_minutes(title: str, column: str) -> float:
    """Returns the minutes of a person's work that a cell of `LABELS` takes."""
    masks = NUM_MASKS.get(column, NUM_MASKS["all (437)"] if title.startswith("all masks") else 0)
    tags = NUM_CLASSES * NUM_PHOTOS if "tags of all photos" in title else 0
    boxes = NUM_BOXES if "boxes" in title else 0
    return (masks * SECONDS_OF_A_MASK + tags * SECONDS_OF_A_CLASS + boxes * SECONDS_OF_A_BOX) / 60


# Photos that tools/suggest_images.py chose, instead of chance; docs/results.md has the commands that make the lists.
_SUGGESTED, _BY_CHANCE = [("suggested", seed) for seed in SEEDS], [(f"random_{seed}", seed) for seed in SEEDS]
SUGGESTED = Table(
    {
        title: {
            column: [make_run(method, labels, seed=seed) for labels, seed in runs]
            for column, runs in {
                "27 masks": [("train_1_16", seed) for seed in SEEDS],
                "27 suggested": [("suggested_27", seed) for seed in SEEDS],
                "and 28 by chance": _BY_CHANCE,
                "and 28 suggested": _SUGGESTED,
            }.items()
        }
        for title, method in (("supervised", "supervised"), ("PseudoSeg, guessed tags", "pseudoseg_guessed_labels"))
    },
    "which photos to mask",
)
TABLES = {
    "labels": LABELS,
    "suggested": SUGGESTED,
    "main": MAIN,
    "components": COMPONENTS,
    "changes": CHANGED,
    "temperature": TEMPERATURE,
    "variants": VARIANTS,
    "threshold": THRESHOLD,
    "esl": ESL,
    "unimatch": UNIMATCH,
    "boxes": FROM_BOXES,
}
# Whose pseudo labels are taken apart (Figure 5a), by labelled list.
CALIBRATED = {LISTS[column]: make_run("pseudoseg", LISTS[column]) for column in FEW}
# Whose errors are told apart.
COMPARED = {
    **_seed_0(METHODS),
    **{f"{part}, {FEW[1]}": columns[FEW[1]][0] for part, columns in COMPONENTS.rows.items() if "only" in part},
    **{f"{title}, output stride 8, {FEW[1]}": CHANGED.rows["output stride 8"][title][0] for title in TRIED},
}
# Whose training is looked into.
WATCHED = {
    **_seed_0(["PseudoSeg"], LISTS),
    **_seed_0(["PseudoSeg + image labels"]),
    **{f"{title}, {FEW[0]}": row["PseudoSeg"][0] for title, row in VARIANTS.rows.items() if FIGURE_5[title]},
    **{
        f"{title}, {FEW[1]}": row["PseudoSeg"][0]
        for title, row in CHANGED.rows.items()
        if TRIED["PseudoSeg"].get(title)
    },
}
SHOWN = {title: make_run(METHODS[title], "train_1_8") for title in ("supervised", "PseudoSeg")}


def queue() -> list[Run]:
    """Returns all runs, the most telling first.

    That is the main row at few masks, its parts, further seeds, more masks, and the rest.
    """
    few = [run for run in MAIN if run.name.split("/")[1] in CALIBRATED]
    few.sort(key=lambda run: (run.seed, run.teacher is not None))
    once = [run for run in few if run.seed == 0]
    return list(
        dict.fromkeys(
            [
                *once,
                *COMPONENTS,
                *few,
                *MAIN,
                *LABELS,
                *ESL,
                *UNIMATCH,
                *THRESHOLD,
                *TEMPERATURE,
                *VARIANTS,
                *CHANGED,
                *FROM_BOXES,
                *SUGGESTED,
            ]
        )
    )
