"""wss-label: pseudo labels for a split, by a trained run; a new data set of TFRecords for self-training.

wss-label --run_dir=runs/teacher --split=unlabeled --output_dir=data/pseudo --alpha=0.2
wss-label ... --policy=cbst --alpha=0.2 --predictions_dir=runs/teacher/predictions      predicts once for several policies
wss-label ... --policy=threshold --threshold=0.5
wss-label --run_dir=runs/boxes --split=boxes --output_dir=data/pseudo --policy=boxes      masks from boxes (BAP)
wss-label ... --predictions_dir=/shared/predictions --stage=predict --shard=3/16        the fourth of 16 hosts

What --gin_param can set, and what it means: wss-train --list_parameters, wss-train --list_parameters=NAME
"""

import json
import os
from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.flags import define_launch_flags, define_weights_flag, gin_parameters
from wss.next_step import inspection, same_command, say_next

BOXES = "boxes"
SHEET_IMAGES = 24  # of the page
# What says which predictions become labels has no meaning for masks from boxes.
OF_PREDICTIONS = (
    "labeled_split",
    "predictions_dir",
    "alpha",
    "threshold",
    "sample",
    "rounding",
    "seed",
    "temperature",
    "fit_temperature_on",
    "stage",
    "shard",
    "confidences",
)
FLAGS = flags.FLAGS
define_launch_flags()
define_weights_flag()
flags.DEFINE_string("split", None, "Split to label; by default the unlabelled one of the run.")
flags.DEFINE_string(
    "labeled_split", None, "Split whose classes count for the target; by default the run's labelled one."
)
flags.DEFINE_string("output_dir", None, "Where to write the data set; its split is called pseudo.")
flags.DEFINE_string(
    "predictions_dir", None, "Keeps the predictions here; by default beside output_dir until it is done."
)
flags.DEFINE_string("policy", "dars", "dars, da (without sampling), cbst, threshold or boxes.")
flags.DEFINE_float("alpha", None, "Share of the pixels that get a label.", lower_bound=0.0, upper_bound=1.0)
flags.DEFINE_float(
    "threshold", None, "Confidence for --policy=threshold, instead of --alpha.", lower_bound=0.0, upper_bound=1.0
)
flags.DEFINE_string("sample", "candidates", "What dars drops at random: any candidates, or ties at the threshold only.")
flags.DEFINE_string("rounding", "largest_remainder", "Of the quotas; floor as in the DARS code.")
flags.DEFINE_integer("seed", 0, "Seed of the random subsets.", lower_bound=0)
flags.DEFINE_float("temperature", 1.0, "Logits are divided by it; 1.27 in the DARS paper.")
flags.DEFINE_string("fit_temperature_on", None, "Split with masks to fit the temperature on, instead of --temperature.")
flags.DEFINE_enum("stage", "all", ["all", "predict"], "predict: only fill --predictions_dir.")
flags.DEFINE_string("shard", "0/1", "With --stage=predict: i/n takes the record files i, i + n, ... of the split.")
flags.DEFINE_integer(
    "workers",
    0,
    "Processes for the selection, 0: one per core for large splits; for the CRF of masks from boxes, 0: one per core.",
    lower_bound=0,
)
flags.DEFINE_string("beam_pipeline_options", None, "Runs on Apache Beam with these options, separated by commas.")
flags.DEFINE_bool("overwrite", False, "Replace the data set that is in output_dir.")
flags.DEFINE_bool("pngs", True, "Also write the labels as PNGs in colours.")
flags.DEFINE_bool("confidences", False, "Also keep the confidences in the records.")


def main(argv: list[str]) -> None:
    """Labels a split."""
    del argv
    _check_flags()
    manifest = _label()
    if manifest is not None:
        _write_page(manifest)
    say_next(_next())


def _write_page(manifest: dict) -> None:
    """Writes report.html into the folder of the labels, where wss[report] is installed."""
    from wss.data.dataset_info import DatasetInfo
    from wss.data.record_files import split_records
    from wss.inspection.contact_sheet import contact_sheet
    from wss.pages.dataset_report import write_labels_page
    from wss.pages.document import has_pages
    from wss.pseudo_labels import box_labels, label
    from wss.pseudo_labels.dataset_writer import SPLIT

    if not has_pages():
        return
    described = box_labels if FLAGS.policy == BOXES else label
    info = DatasetInfo.load(FLAGS.output_dir)
    headers, rows = described.summary_table(manifest)
    apart = max(info.split(SPLIT).num_examples // SHEET_IMAGES, 1)
    shown = split_records(info, SPLIT).shard(apart, 0).take(SHEET_IMAGES)
    write_labels_page(
        os.path.join(FLAGS.output_dir, "report.html"),
        info,
        facts=described.summary_facts(manifest, FLAGS.output_dir),
        headers=headers,
        rows=rows,
        sheet=contact_sheet(info, list(shown.as_numpy_iterator())),
        command=f"wss-label --run_dir={FLAGS.run_dir}",
    )


def _label() -> dict | None:
    """Predicts or labels, as the flags say; returns the manifest of labels."""
    import gin

    from wss.jobs.runner import Runner
    from wss.pseudo_labels.box_labels import label_boxes
    from wss.pseudo_labels.dataset_writer import Policy
    from wss.pseudo_labels.label import label, predict
    from wss.pseudo_labels.teacher import TeacherDescription

    runner = Runner(FLAGS.workers, FLAGS.beam_pipeline_options)
    description = TeacherDescription(
        FLAGS.run_dir, tuple(gin_parameters()), FLAGS.strategy, FLAGS.tpu, weights=FLAGS.weights
    )
    teacher = description.open()
    print(f"labelling with {teacher.run.weights}")
    bindings = gin.get_bindings("TrainingData")
    split = FLAGS.split or _default_split("split", "unlabeled_split", bindings)
    if FLAGS.policy == BOXES:
        return label_boxes(
            teacher,
            split,
            output_dir=FLAGS.output_dir,
            runner=runner,
            overwrite=FLAGS.overwrite,
            write_pngs=FLAGS.pngs,
        )
    shared = {"temperature": FLAGS.temperature, "fit_on": FLAGS.fit_temperature_on, "runner": runner}
    if FLAGS.stage == "predict":
        predict(teacher, split, FLAGS.predictions_dir, shard=_shard(FLAGS.shard), **shared)
        return None
    return label(
        teacher,
        split,
        FLAGS.labeled_split or _default_split("labeled_split", "labeled_split", bindings),
        output_dir=FLAGS.output_dir,
        policy=Policy(
            FLAGS.policy,
            alpha=FLAGS.alpha,
            threshold=FLAGS.threshold,
            sample=FLAGS.sample,
            rounding=FLAGS.rounding,
            seed=FLAGS.seed,
        ),
        predictions_dir=FLAGS.predictions_dir,
        overwrite=FLAGS.overwrite,
        write_pngs=FLAGS.pngs,
        write_confidences=FLAGS.confidences,
        **shared,
    )


def _next() -> list[str]:
    """Returns the command that follows: labels after predictions, a look at masks from boxes, or else a student."""
    if FLAGS.policy == BOXES:
        return inspection(FLAGS.output_dir)
    if FLAGS.stage == "predict":
        more = [] if FLAGS.output_dir else [f"--output_dir={FLAGS.predictions_dir.rstrip('/')}_labels"]
        return same_command("wss-label", without=["stage", "shard"], more=more)
    from wss.run_directory import RunDirectory

    run = RunDirectory(Path(FLAGS.run_dir))
    return [
        "wss-train",
        f"--gin_file={run.config}",
        "--gin_file=gin_configs/methods/self_training.gin",
        f"--gin_param=TrainingData.pseudo_directory = {json.dumps(FLAGS.output_dir, ensure_ascii=False)}",
        f"--run_dir={run.path}_student",
        *([f"--data_dir={FLAGS.data_dir}"] if FLAGS.data_dir else []),
    ]


def _check_flags() -> None:
    """Raises a `UserError` for flags that do not go together."""
    shard = _shard(FLAGS.shard)
    if FLAGS.policy == BOXES:
        if FLAGS.strategy == "tpu":
            raise UserError(
                "--strategy=tpu: not with --policy=boxes, which sees photos of any size; label on a GPU or a CPU"
            )
        for flag in OF_PREDICTIONS:
            if FLAGS[flag].present:
                raise UserError(f"--{flag}={FLAGS[flag].value}: not with --policy=boxes, whose masks come from boxes")
    if FLAGS.strategy == "multi_worker":
        raise UserError("--strategy=multi_worker: hosts label on their own; use --stage=predict --shard=i/n on each")
    if FLAGS.fit_temperature_on is not None and FLAGS.temperature != 1:
        raise UserError("--temperature and --fit_temperature_on: give one of them")
    if FLAGS.stage == "predict" and FLAGS.predictions_dir is None:
        raise UserError("--stage=predict: expected --predictions_dir, a folder that all hosts see")
    if FLAGS.stage == "all" and FLAGS.output_dir is None:
        raise UserError("--output_dir is missing: where to write the data set")
    if FLAGS.stage == "all" and shard != (0, 1):
        raise UserError(f"--shard={FLAGS.shard}: goes with --stage=predict; the same command without both then labels")


def _default_split(flag: str, parameter: str, bindings: dict) -> str:
    if not bindings.get(parameter):
        raise UserError(f"--{flag} is missing, and the run has no TrainingData.{parameter}")
    return bindings[parameter]


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise UserError(f"--shard={text}: expected i/n with i from 0 to n - 1, such as 3/16")
    return int(index), int(count)


def console_main() -> None:
    """Runs the command `wss-label`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
