"""Converts weights between TensorFlow 1 checkpoints (DeepLab, the original PseudoSeg) and this project.

python tools/convert_checkpoint.py --input=deeplabv3_pascal/model.ckpt --output=pascal.weights.h5 --backbone=xception_65
python tools/convert_checkpoint.py --run_dir=runs/voc --output=export/model.ckpt

The suffix of --output says what is written: .weights.h5 (this project), .npz (arrays by TensorFlow 1 name), otherwise the
prefix of a TensorFlow 1 checkpoint.
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.files import check_writable

FLAGS = flags.FLAGS
flags.DEFINE_string("input", None, "Weights: whatever train.initial_weights takes.")
flags.DEFINE_string("run_dir", None, "Or a run of wss-train, whose configuration and weights are taken.")
flags.DEFINE_string("output", None, "File or checkpoint prefix to write.", required=True)
flags.DEFINE_string("backbone", "xception_65", "With --input: the network, short for build_model.backbone.")
flags.DEFINE_integer("num_classes", None, "With --input: classes; None takes the number of the weights' last layer.")
flags.DEFINE_boolean("background", True, "With --input: whether class 0 is a background (not so in Cityscapes).")
flags.DEFINE_multi_string("gin_file", [], "With --input: gin file of the network, such as one of gin_configs/models.")
flags.DEFINE_multi_string("gin_param", [], 'Gin binding of the network, such as "build_model.use_decoder = False".')


def main(argv: list[str]) -> None:
    """Builds the network, loads the weights, writes them."""
    del argv
    if (FLAGS.input is None) == (FLAGS.run_dir is None):
        raise UserError("--input or --run_dir: expected one of them")
    output = _checked_output()
    model, step = _from_run() if FLAGS.run_dir else _from_weights()
    _write(model, step, output)
    print(f"wrote {output}")


def _checked_output() -> Path:
    output = Path(FLAGS.output)
    if output.suffix == ".h5" and not output.name.endswith(".weights.h5"):
        raise UserError(f"--output={output}: expected .weights.h5, .npz or the prefix of a checkpoint")
    if output.is_dir():
        raise UserError(
            f"--output={output}: is a folder; give a file or a prefix in it, such as {output / 'model.ckpt'}"
        )
    check_writable(output, "give another file or prefix by --output")
    return output


def _from_run():
    import tensorflow as tf

    from wss.experiment import open_run

    run = open_run(FLAGS.run_dir, FLAGS.gin_param, tf.distribute.get_strategy())
    print(f"{run.model.backbone.name}, {run.info.num_classes} classes: {run.weights}")
    return run.model, run.step


def _from_weights():
    import gin

    from wss.data.dataset_info import DatasetInfo
    from wss.experiment import configure
    from wss.methods.pseudoseg.pseudoseg import PseudoSeg
    from wss.models.weights.initial_weights import assign_weights, load_initial_weights, read_weights, weights_file
    from wss.training.train import build_network

    # A file of a network gives its backbone; the flag is for the others.
    backbone = (
        [] if FLAGS.gin_file and not FLAGS["backbone"].present else [f"build_model.backbone = {FLAGS.backbone!r}"]
    )
    configure(FLAGS.gin_file, [*backbone, *FLAGS.gin_param])

    def build(num_classes: int):
        names, colors = tuple(f"class_{number}" for number in range(num_classes)), ((0, 0, 0),) * num_classes
        info = DatasetInfo("converted", names, colors, {}, has_background=FLAGS.background)
        return build_network(info, PseudoSeg())  # with classifier and self-attention, which a checkpoint may have

    if weights_file(FLAGS.input):
        if FLAGS.num_classes is None:
            raise UserError(f"--input={FLAGS.input}: does not tell its number of classes; give --num_classes")
        model = build(FLAGS.num_classes)
        print(load_initial_weights(model, FLAGS.input))
        return model, 0
    values, ignored = read_weights(FLAGS.input, gin.query_parameter("build_model.backbone"))
    last = values.get("logits/semantic/biases")
    if FLAGS.num_classes is None and last is None:
        raise UserError(f"--input={FLAGS.input}: has no last layer to count classes by; give --num_classes")
    model = build(len(last) if FLAGS.num_classes is None else FLAGS.num_classes)
    print(assign_weights(model, values, ignored, source=FLAGS.input))
    return model, 0


def _write(model, step: int, output: Path) -> None:
    """Writes a file whole or not at all; TensorFlow does the same for a checkpoint."""
    import numpy as np
    from etils import epath

    from wss.files import whole, write_errors
    from wss.models.tf1_names import tf1_values
    from wss.models.weights.tf1_checkpoint import write_checkpoint
    from wss.models.weights.weights_file import write_weights

    if output.name.endswith(".weights.h5"):
        write_weights(model, output)
    elif output.suffix == ".npz":
        with write_errors(output), whole(epath.Path(output), suffix=".npz") as temporary:
            np.savez(temporary, **tf1_values(model))  # type: ignore[arg-type]  # its names are no keywords of savez
    else:
        write_checkpoint(output, tf1_values(model), step)


if __name__ == "__main__":
    run_main(main)
