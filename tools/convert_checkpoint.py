"""Converts weights between TensorFlow 1 checkpoints (DeepLab, the original PseudoSeg) and this project.

python tools/convert_checkpoint.py --input=deeplabv3_pascal/model.ckpt --output=pascal.weights.h5 --backbone=xception_65
python tools/convert_checkpoint.py --run_dir=runs/voc --output=export/model.ckpt

The suffix of --output says what is written: .weights.h5 (this project), .npz (arrays by TensorFlow 1 name), otherwise the
prefix of a TensorFlow 1 checkpoint.
"""

from pathlib import Path

import gin
import numpy as np
from absl import flags

from wss.errors import UserError, run_main

FLAGS = flags.FLAGS
flags.DEFINE_string("input", None, "Weights: whatever train.initial_weights takes.")
flags.DEFINE_string("run_dir", None, "Or a run of wss-train, whose configuration and weights are taken.")
flags.DEFINE_string("output", None, "File or checkpoint prefix to write.", required=True)
flags.DEFINE_string("backbone", "xception_65", "With --input: the network, short for build_model.backbone.")
flags.DEFINE_integer("num_classes", None, "With --input: classes; None takes the number of the weights' last layer.")
flags.DEFINE_boolean("background", True, "With --input: whether class 0 is a background (not so in Cityscapes).")
flags.DEFINE_multi_string("gin_param", [], 'Gin binding of the network, such as "build_model.use_decoder = False".')


def main(argv: list[str]) -> None:
    """Builds the network, loads the weights, writes them."""
    del argv
    if (FLAGS.input is None) == (FLAGS.run_dir is None):
        raise UserError("--input or --run_dir: expected one of them")
    model, step = _from_run() if FLAGS.run_dir else _from_weights()
    output = Path(FLAGS.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    from wss.models.tf1_checkpoint import write_checkpoint
    from wss.models.tf1_names import tf1_values

    if output.name.endswith(".weights.h5"):
        model.save_weights(output)
    elif output.suffix == ".npz":
        np.savez(output, **tf1_values(model))
    elif output.suffix == ".h5":
        raise UserError(f"--output={output}: expected .weights.h5, .npz or the prefix of a checkpoint")
    else:
        write_checkpoint(output, tf1_values(model), step)
    print(f"wrote {output}")


def _from_run():
    import tensorflow as tf

    from wss.training.restore import open_run

    run = open_run(FLAGS.run_dir, FLAGS.gin_param, tf.distribute.get_strategy())
    print(f"{run.model.backbone.name}, {run.info.num_classes} classes: {run.weights}")
    return run.model, run.step


def _from_weights():
    from wss import config
    from wss.data.info import DatasetInfo
    from wss.models.deeplab import build_model
    from wss.models.weights import load_initial_weights

    config.parse_config([], [f"build_model.backbone = {FLAGS.backbone!r}", *FLAGS.gin_param])
    num_classes = _num_classes() if FLAGS.num_classes is None else FLAGS.num_classes
    names = tuple(f"class_{number}" for number in range(num_classes))
    colors = ((0, 0, 0),) * num_classes
    model = build_model(DatasetInfo("converted", names, colors, {}, has_background=FLAGS.background))
    print(load_initial_weights(model, FLAGS.input))
    return model, 0


def _num_classes() -> int:
    from wss.models.weights import read_weights

    values, _ = read_weights(FLAGS.input, gin.query_parameter("build_model.backbone"))
    if "logits/semantic/biases" not in values:
        raise UserError(f"--input={FLAGS.input}: has no last layer to count classes by; give --num_classes")
    return len(values["logits/semantic/biases"])


if __name__ == "__main__":
    run_main(main)
