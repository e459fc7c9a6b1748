"""Makes the demo's initial weights: a network that has learnt to classify 6000 pictures of one shape each, without masks.

python tools/pretrain_shapes.py --work_dir=runs/pretrain --output=gin_configs/recipes/shapes/classifier.npz
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.files import check_writable

FLAGS = flags.FLAGS
flags.DEFINE_string("work_dir", "runs/pretrain", "Folder for records and the run.")
flags.DEFINE_string("output", "gin_configs/recipes/shapes/classifier.npz", "Where to write the weights.")


def main(argv: list[str]) -> None:
    """Builds the pictures, trains on their image-level labels, writes backbone and classifier under DeepLab names."""
    del argv
    from wss import experiment
    from wss.conversion.shapes import build_shapes
    from wss.data.dataset_info import FILE_NAME
    from wss.models.weights.initial_weights import save_classifier
    from wss.runtime.strategy import build_strategy

    check_writable(FLAGS.output, "give another file by --output")
    records, run_dir = Path(FLAGS.work_dir) / "records", str(Path(FLAGS.work_dir) / "run")
    if not (records / FILE_NAME).exists():
        build_shapes(records, num_train=6000, num_val=16, seed=1000, size=96, single=True)
    strategy = build_strategy("mirrored")
    recipe, data = "gin_configs/recipes/shapes/pretrain.gin", f"load_dataset.directory = '{records}'"
    experiment.run([recipe], [data], run_dir=run_dir, strategy=strategy)
    save_classifier(experiment.open_run(run_dir, [], strategy).model, FLAGS.output)


if __name__ == "__main__":
    run_main(main)
