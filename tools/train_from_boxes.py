"""BAP + NAL: from photos with boxes to a segmentation model, without any mask.

python tools/train_from_boxes.py --gin_file=gin_configs/recipes/bap_nal/photos.gin --run_dir=runs/boxes --data_dir=data/own
python tools/train_from_boxes.py ... --plan          only prints the commands

run_dir gets classification (stage 1), labels (stage 2, two masks of each photo) and segmentation (stage 3, the model). The
same command goes on where it stopped.
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.flags import define_experiment_flags, gin_parameters, strategy_flags

FLAGS = flags.FLAGS
define_experiment_flags()
flags.DEFINE_integer("seed", 0, "Seed of weights, order and augmentation of both trainings.", lower_bound=0)
flags.DEFINE_integer("workers", 0, "Processes for the CRF of stage 2; 0: one per core.", lower_bound=0)
flags.DEFINE_bool("plan", False, "Print the commands and do nothing.")


def main(argv: list[str]) -> None:
    """Runs the stages and says how good masks and model are, as far as that is known."""
    del argv
    from wss.experiment import configure
    from wss.methods.bap_nal.stages import BoxStages
    from wss.workflows.box_stages import BoxPlan
    from wss.workflows.stages import command_line, run_all

    configure(FLAGS.gin_file, gin_parameters())
    plan = BoxPlan(
        BoxStages(),
        Path(FLAGS.run_dir),
        gin_files=FLAGS.gin_file,
        parameters=gin_parameters(),
        launch=strategy_flags(),
        seed=FLAGS.seed,
        workers=FLAGS.workers,
    )
    if FLAGS.plan:
        print("\n".join(map(command_line, plan.stages)))
        return
    plan.begin()
    run_all(plan.stages)
    print(f"\n{plan.summary()}")


if __name__ == "__main__":
    run_main(main)
