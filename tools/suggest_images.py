"""Says which photos to mask next: those that stand for the most others, beside those that have masks already.

python tools/suggest_images.py --dataset=data/own --labeled_split=train --unlabeled_split=unlabeled --number=50 \
  --initial_weights=imagenet --output=next.txt
python tools/suggest_images.py --dataset=data/own --unlabeled_split=unlabeled ...      before the first mask

It looks at nothing but the photos, by the features of a pretrained encoder, so it needs no training. The list has the most
telling photo first. Of photos of a data set that have masks it makes a split: datasets/make_split.py --list_file=next.txt.
"""

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.files import check_new_output, write_text

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", None, "Folder of the records, with dataset.json in it.", required=True)
flags.DEFINE_string("labeled_split", None, "Split of the photos with masks; none without it.")
flags.DEFINE_string("unlabeled_split", "unlabeled", "Split of the photos to choose from.")
flags.DEFINE_integer("number", 50, "How many photos to choose.", lower_bound=1)
flags.DEFINE_string("output", None, "Text file for the ids, one a line.", required=True)
flags.DEFINE_bool("overwrite", False, "Replace the file that is there.")
flags.DEFINE_string("backbone", "mobilenet_v2", "What the weights are of, short for build_model.backbone.")
flags.DEFINE_multi_string("gin_param", [], 'Gin binding of the network, such as "build_model.use_decoder = False".')
flags.DEFINE_string("initial_weights", None, "Whatever train.initial_weights takes.", required=True)
flags.DEFINE_integer("image_size", 225, "Side in pixels to which whole photos are resized.", lower_bound=33)
flags.DEFINE_integer("batch_size", 32, "Photos at a time.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Writes the list."""
    del argv
    import numpy as np

    from wss.data.dataset_info import DatasetInfo
    from wss.data.splits import entries_of
    from wss.experiment import configure
    from wss.inference.pooled_features import features_by_id
    from wss.models.deeplab import build_model
    from wss.models.weights.initial_weights import load_initial_weights
    from wss.pseudo_labels.coverage import most_covering

    check_new_output(FLAGS.output, overwrite=FLAGS.overwrite)
    configure([], [f"build_model.backbone = {FLAGS.backbone!r}", *FLAGS.gin_param])
    info = DatasetInfo.load(FLAGS.dataset)
    splits = [split for split in (FLAGS.unlabeled_split, FLAGS.labeled_split) if split]
    ids = {split: [entry.id for entry in entries_of(info, split)] for split in splits}
    masked = set(ids.get(FLAGS.labeled_split, ()))
    if masked >= set(ids[FLAGS.unlabeled_split]):
        raise UserError(
            f"--unlabeled_split={FLAGS.unlabeled_split}: no photo to choose; all {len(ids[FLAGS.unlabeled_split])} are in "
            f"--labeled_split={FLAGS.labeled_split} too"
        )
    model = build_model(info)
    print(load_initial_weights(model, FLAGS.initial_weights))
    features = features_by_id(model, info, ids, image_size=FLAGS.image_size, batch_size=FLAGS.batch_size)
    names = list(features)
    chosen = np.flatnonzero([name in masked for name in names])
    found = [names[index] for index in most_covering(np.stack(list(features.values())), FLAGS.number, chosen)]
    write_text(FLAGS.output, "".join(f"{name}\n" for name in found))
    print(f"{FLAGS.output}: {len(found)} of the {len(names) - len(masked)} photos without a mask")


if __name__ == "__main__":
    run_main(main)
