"""Guesses what photos without masks show, from those with masks: a CSV file that PseudoSeg learns from as from known tags.

python tools/guess_image_labels.py --gin_file=gin_configs/models/mobilenet_v2.gin \
  --gin_file=gin_configs/methods/pseudoseg_guessed_labels.gin --data_dir=data/own \
  --gin_param="train.initial_weights = 'imagenet'" --gin_param="TrainingData.labeled_split = 'train'" \
  --gin_param="TrainingData.unlabeled_split = 'unlabeled'" --output=tags.csv
wss-train ... --gin_param="TrainingData.image_labels = 'tags.csv'"

Labels spread over a graph of alike photos, by the features of the pretrained encoder. It says how right the guesses are:
each photo with a mask is guessed from the others. The file can be corrected by hand; a person needs a second a class.
"""

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.files import check_new_output
from wss.flags import define_configuration_flags, gin_parameters

FLAGS = flags.FLAGS
define_configuration_flags()
flags.DEFINE_string("output", None, "CSV file to write.", required=True)
flags.DEFINE_bool("overwrite", False, "Replace the file that is there, which somebody may have corrected.")
flags.DEFINE_integer("image_size", 225, "Side in pixels to which whole photos are resized.", lower_bound=33)
flags.DEFINE_integer("batch_size", 32, "Photos at a time.", lower_bound=1)
flags.DEFINE_float(
    "min_fraction", 0.005, "A class is on a photo from this share of its mask on.", lower_bound=0.0, upper_bound=1.0
)


def main(argv: list[str]) -> None:
    """Guesses, says how right the guesses are, and writes them."""
    del argv
    import gin

    from wss.data.dataset_info import load_dataset
    from wss.data.image_label_files import write_image_labels
    from wss.experiment import configure
    from wss.models.deeplab import build_model
    from wss.models.weights.initial_weights import load_pretrained
    from wss.pseudo_labels.guessed_labels import guess_image_labels

    check_new_output(FLAGS.output, overwrite=FLAGS.overwrite)
    configure(FLAGS.gin_file, gin_parameters())
    splits = {}
    for name in ("labeled_split", "unlabeled_split"):
        splits[name] = gin.get_bindings("TrainingData").get(name)
        if not splits[name]:
            raise UserError(f"TrainingData.{name} is not set; name the split by --gin_param")
    info = load_dataset()
    for split in splits.values():
        info.split(split)
    model = build_model(info)
    print(load_pretrained(model, gin.get_bindings("train").get("initial_weights")))
    guessed = guess_image_labels(
        model,
        info,
        **splits,
        image_size=FLAGS.image_size,
        batch_size=FLAGS.batch_size,
        min_fraction=FLAGS.min_fraction,
    )
    labels = guessed.labels()
    write_image_labels(FLAGS.output, labels, info.class_names)
    print(f"\n{guessed.summary()}\n\n{FLAGS.output}: {len(labels)} photos")
    print(f"next: wss-train ... --gin_param=\"TrainingData.image_labels = '{FLAGS.output}'\"")


if __name__ == "__main__":
    run_main(main)
