"""Says which photos to mask next: those that stand for the most others, beside those that have masks already.

python tools/suggest_images.py --run_dir=runs/own --split=unlabeled --number=50 --output=next.txt
python tools/suggest_images.py --data_dir=data/own --initial_weights=imagenet ...      before the first mask

It looks at nothing but the photos, by the features of the pretrained encoder: of a run it takes the data set, the splits,
the network and the weights that it started from. The list has the most telling photo first. Of photos of a data set that
have masks it makes a split: datasets/make_split.py --list_file=next.txt.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.files import check_new_output, write_text
from wss.flags import define_parameter_flags, gin_parameters

if TYPE_CHECKING:
    from wss.data.dataset_info import DatasetInfo

FLAGS = flags.FLAGS
flags.DEFINE_string("run_dir", None, "Run of wss-train; what it does not say is said by the other flags.")
define_parameter_flags()
flags.DEFINE_string("split", None, "Split to choose from; by default the run's unlabelled one, or unlabeled.")
flags.DEFINE_string("labeled_split", None, "Split of the photos with masks; by default the run's, or none.")
flags.DEFINE_integer("number", 50, "How many photos to choose.", lower_bound=1)
flags.DEFINE_string("output", None, "Text file for the ids, one a line; by default they are printed.")
flags.DEFINE_bool("overwrite", False, "Replace the file that is there.")
flags.DEFINE_string("backbone", None, "Short for build_model.backbone; by default the run's, or mobilenet_v2.")
flags.DEFINE_string("initial_weights", None, "Short for train.initial_weights.")
flags.DEFINE_integer("image_size", 225, "Side in pixels to which whole photos are resized.", lower_bound=33)
flags.DEFINE_integer("batch_size", 32, "Photos at a time.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Writes or prints the list."""
    del argv
    import gin
    import numpy as np

    from wss.data.splits import entries_of
    from wss.inference.pooled_features import features_by_id
    from wss.models.deeplab import build_model
    from wss.models.weights.initial_weights import load_pretrained
    from wss.pseudo_labels.coverage import most_covering

    if FLAGS.output:
        check_new_output(FLAGS.output, overwrite=FLAGS.overwrite)
    info, split, labeled_split = _configured()
    ids = {name: [entry.id for entry in entries_of(info, name)] for name in (split, labeled_split) if name}
    masked = set(ids[labeled_split]) if labeled_split else set()
    if masked >= set(ids[split]):
        raise UserError(
            f"--split={split}: no photo to choose; all {len(ids[split])} are in --labeled_split={labeled_split} too"
        )
    model = build_model(info)
    print(load_pretrained(model, gin.get_bindings("train").get("initial_weights")))
    features = features_by_id(model, info, ids, image_size=FLAGS.image_size, batch_size=FLAGS.batch_size)
    names = list(features)
    chosen = np.flatnonzero([name in masked for name in names])
    found = [names[index] for index in most_covering(np.stack(list(features.values())), FLAGS.number, chosen)]
    lines = "".join(f"{name}\n" for name in found)
    if FLAGS.output:
        write_text(FLAGS.output, lines)
    else:
        print(f"\n{lines}")
    print(f"{FLAGS.output or 'above'}: {len(found)} of the {len(names) - len(masked)} photos to choose from")


def _configured() -> "tuple[DatasetInfo, str, str | None]":
    """Configures gin; returns the data set, the split to choose from and that of the masks, None where there are none."""
    import gin

    from wss.data.dataset_info import load_dataset
    from wss.experiment import configure, configure_as_run
    from wss.run_directory import RunDirectory

    given = {"build_model.backbone": FLAGS.backbone, "train.initial_weights": FLAGS.initial_weights}
    parameters = [*gin_parameters(), *(f"{name} = {value!r}" for name, value in given.items() if value)]
    if not FLAGS.run_dir:
        if not FLAGS.data_dir:
            raise UserError("--run_dir or --data_dir: expected one of them, to know which photos there are")
        configure([], ["build_model.backbone = 'mobilenet_v2'", *parameters])
        return load_dataset(), FLAGS.split or "unlabeled", FLAGS.labeled_split
    info = configure_as_run(RunDirectory(Path(FLAGS.run_dir), writes=False), parameters)
    of_run = gin.get_bindings("TrainingData")
    split = FLAGS.split or of_run.get("unlabeled_split") or "unlabeled"
    return info, split, FLAGS.labeled_split or of_run.get("labeled_split")


if __name__ == "__main__":
    run_main(main)
