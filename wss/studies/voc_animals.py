"""PseudoSeg's questions at the size of a laptop: seven classes of PASCAL VOC, MobileNetV2. Table numbers are the paper's."""

from collections.abc import Sequence

from wss.studies.study import Run
from wss.studies.tables import Table

RECIPES = "gin_configs/recipes/voc_animals"
LISTS = {
    "1/16 (27)": "train_1_16",
    "1/8 (55)": "train_1_8",
    "1/4 (109)": "train_1_4",
    "1/2 (218)": "train_1_2",
    "all (437)": "train",
}
FEW = tuple(LISTS)[:2]
SEEDS = (0, 1, 2)
METHODS = {
    "supervised": "supervised",
    "self-training": "self_training",
    "PseudoSeg": "pseudoseg",
    "PseudoSeg + image labels": "pseudoseg_image_labels",
}
# Figure 5, of PseudoSeg, and Table 10, of PseudoSeg with image labels.
CHANGES = {
    "hard labels": ("pseudoseg", "PseudoSeg.label = 'hard'"),
    "no norm": ("pseudoseg", "PseudoSeg.norm_scope = 'none'"),
    "norm of each image": ("pseudoseg", "PseudoSeg.norm_scope = 'image'"),
    "norm of each pixel": ("pseudoseg", "PseudoSeg.norm_scope = 'pixel'"),
    "last features, no hypercolumn": ("pseudoseg", "build_model.sgc_hypercolumn = False"),
    "no colour jitter": ("pseudoseg", "Augmentation.jitter_strength = 0.0"),
    "colour jitter of half the strength": ("pseudoseg", "Augmentation.jitter_strength = 0.5"),
    "no CutOut": ("pseudoseg", "Augmentation.cutout_half_side = 0"),
}
TEMPERATURES = (0.1, 0.3, 0.5, 0.7, 1.0)


def make_run(method: str, labels: str, seed: int = 0, change: str = "") -> Run:
    """Returns a run.

    Args:
        method: a recipe of `RECIPES`.
        labels: labelled list.
        seed: of weights, order and augmentation.
        change: gin binding over the recipe.
    """
    what = f"{method}-{change.split('.', 1)[1].replace(' = ', '=')}".replace("'", "") if change else method
    bindings = (f"TrainingData.labeled_split = {labels!r}", *([change] if change else []))
    teacher = make_run("supervised", labels, seed) if method == "self_training" else None
    return Run(f"{what}/{labels}/seed_{seed}", f"{RECIPES}/{method}.gin", bindings, seed, teacher)


def _row(method: str, seeds: Sequence[int] = SEEDS, change: str = "", columns: Sequence[str] = FEW) -> dict:
    """Runs by column: all seeds for the few masks, seed 0 for more."""
    return {
        column: [make_run(method, LISTS[column], seed, change) for seed in (seeds if column in FEW else (0,))]
        for column in columns
    }


MAIN = Table({title: _row(method, columns=tuple(LISTS)) for title, method in METHODS.items()}, "Tables 2, 4 and 6")
COMPONENTS = Table(
    {
        f"{part}{suffix}": _row(method, (0,), change)
        for suffix, method in (("", "pseudoseg"), (", image labels", "pseudoseg_image_labels"))
        for part, change in (
            ("decoder only", "PseudoSeg.source = 'decoder'"),
            ("SGC only", "PseudoSeg.source = 'sgc'"),
            ("calibrated fusion", ""),
        )
    },
    "Table 5, seed 0",
)
VARIANTS = Table(
    {
        "as in the recipe": _row("pseudoseg", (0,), columns=FEW[:1]),
        **{title: _row(method, (0,), change, FEW[:1]) for title, (method, change) in CHANGES.items()},
    },
    "Figure 5, seed 0",
)
TEMPERATURE = Table(
    {
        f"T = {value}": _row(
            "pseudoseg_image_labels", (0,), "" if value == 0.5 else f"PseudoSeg.temperature = {value}", FEW[:1]
        )
        for value in TEMPERATURES
    },
    "Table 10, image labels, seed 0",
)
TABLES = {"main": MAIN, "components": COMPONENTS, "variants": VARIANTS, "temperature": TEMPERATURE}
# Whose pseudo labels are taken apart (Figure 5a), by labelled list.
CALIBRATED = {LISTS[column]: make_run("pseudoseg", LISTS[column]) for column in FEW}
SHOWN = {title: make_run(METHODS[title], "train_1_8") for title in ("supervised", "PseudoSeg")}


def queue() -> list[Run]:
    """All runs, the most telling first: the main row at few masks, the parts, more masks, the variants, further seeds."""
    main = [run for run in MAIN if run.seed == 0]
    few = [run for run in main if run.name.split("/")[1] in CALIBRATED]
    return list(dict.fromkeys([*few, *COMPONENTS, *main, *TEMPERATURE, *VARIANTS, *MAIN]))
