"""The study on real photos: trains what its tables lack, one run at a time, and writes them, the curve and the panels.

python tools/run_table.py --data_dir=data/voc_animals --weights=<weights>/mobilenet_v2_1.0_imagenet.npz
python tools/run_table.py --table=components ...     only that table
python tools/run_table.py --report                   what is recorded, without training

It can be stopped at any time; the same command goes on, on another machine too: a run that is recorded is not run again.
"""

from pathlib import Path

from absl import flags
from studies import voc_animals

from wss.command import run_main
from wss.errors import UserError
from wss.flags import define_launch_flags, gin_parameters, strategy_flags

EVALUATION, GUESSING = "tools.evaluate_pseudo_labels", "tools.guess_image_labels"
FLAGS = flags.FLAGS
define_launch_flags()
FLAGS.set_default("run_dir", "runs/voc_animals")
flags.DEFINE_string("weights", None, "ImageNet weights of MobileNetV2; short for train.initial_weights.")
flags.DEFINE_enum("table", "all", ["all", *voc_animals.TABLES], "What to train.")
flags.DEFINE_string("records", "docs/runs/voc_animals", "Folder for a JSON file of each finished run.")
flags.DEFINE_list("documents", ["docs/results.md", "README.md"], "Where the tables are written, between their marks.")
flags.DEFINE_string("pictures", "docs/pictures", "Folder for curve, reliability diagrams and panels.")
flags.DEFINE_bool("plan", False, "Print which runs are done and which are to come, and do nothing.")
flags.DEFINE_bool("report", False, "Write tables and pictures of what is recorded, and train nothing.")


def main(argv: list[str]) -> None:
    """Trains, records, reports."""
    del argv
    from studies.report import Report

    from wss.runtime.strategy import build_strategy
    from wss.visualization.charts import require_matplotlib
    from wss.workflows.studies.study import Study

    weights = [f"train.initial_weights = {FLAGS.weights!r}"] if FLAGS.weights else []
    parameters = [*gin_parameters(), *weights]
    study = Study(
        Path(FLAGS.run_dir), Path(FLAGS.records), parameters=parameters, launch=strategy_flags(), guessing=GUESSING
    )
    report = Report(study, [Path(document) for document in FLAGS.documents], Path(FLAGS.pictures))
    wanted = voc_animals.queue() if FLAGS.table == "all" else list(voc_animals.TABLES[FLAGS.table])
    calibrated = list(voc_animals.CALIBRATED.values())
    missing = [
        run for run in wanted if study.result(run) is None or (run in calibrated and study.label_sources(run) is None)
    ]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are recorded in {study.records}", flush=True)
    if FLAGS.plan:
        print("\n".join(f"to come: {run.name}" for run in missing))
        return
    if FLAGS.report and len(missing) == len(wanted):
        raise UserError(f"--records={study.records}: none of these runs is recorded there, the tables would be emptied")
    require_matplotlib()
    if not FLAGS.report:
        for number, run in enumerate(missing, 1):
            print(f"\n==== {number} of {len(missing)}", flush=True)
            study.finish(run)
            if run in calibrated:
                study.finish_label_sources(run, EVALUATION)
            report.write()
            if report.lacks_panels:
                report.draw_panels(build_strategy(FLAGS.strategy, FLAGS.tpu))
    print(f"\n{report.write()}")


if __name__ == "__main__":
    run_main(main)
