"""What every converter's command has in common: its flags, and one call that writes the data set and prints its table."""

from collections.abc import Iterable, Mapping, Sequence

from absl import flags
from etils import epath

from wss.conversion.encode import LabelMap
from wss.conversion.notes import Notes
from wss.conversion.sources import Pool, Source
from wss.conversion.summary import print_summary
from wss.conversion.writer import write_dataset
from wss.data.photos import parse_value_range
from wss.data.splits import Split
from wss.jobs.processes import hide_accelerators
from wss.next_step import inspection, say_next

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # they belong to the converter that asks for them, whose --help lists them


def define_flags(name: str | None = None) -> None:
    """Defines the flags of a converter.

    Args:
        name: Default name of the data set; None for that of the output folder.
    """
    flags.DEFINE_string("output_dir", None, "Where to write the data set.", required=True)
    flags.DEFINE_string("name", name, "Name of the data set" + ("." if name else "; that of output_dir by default."))
    flags.DEFINE_integer("num_shards", 0, "Files per pool of images; 0: one per 500 images, at least 4.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of the order of the images, and of choices by chance.", lower_bound=0)
    flags.DEFINE_integer("workers", 0, "Processes; 0 takes one per core for large data sets, else one.", lower_bound=0)
    flags.DEFINE_string(
        "beam_pipeline_options",
        None,
        "Converts on Apache Beam with these options, separated by commas, such as "
        "runner=DirectRunner,direct_running_mode=multi_processing,direct_num_workers=4.",
    )
    flags.DEFINE_string(
        "value_range",
        None,
        "Values of black and white in photos of more than 8 bits, such as 0,4095; by default 0,65535 for 16 bits, and none "
        "for integers of 32 bits and floating-point numbers.",
    )
    flags.DEFINE_integer(
        "boxes_from_masks",
        0,
        "Makes boxes of masks, for tests and studies: one around each connected component of a foreground class with at "
        "least so many pixels. They replace the boxes of images that have a mask; 0 makes none.",
        lower_bound=0,
    )
    flags.DEFINE_bool("overwrite", False, "Replace the data set that is in output_dir.")


def convert(
    pools: Mapping[str, Sequence[Source] | Pool],
    *,
    class_names: Sequence[str],
    colors: Iterable[Iterable[int]],
    labels: LabelMap,
    splits: Mapping[str, Split] | None = None,
    has_background: bool = True,
    provenance: dict | None = None,
    problems: Iterable[str] = (),
) -> None:
    """Writes the data set with the settings of the flags, and prints its table and what was noticed; see `write_dataset`."""
    value_range = parse_value_range(FLAGS.value_range)
    if FLAGS.boxes_from_masks:
        provenance = {**(provenance or {}), "boxes_from_masks": FLAGS.boxes_from_masks}
    hide_accelerators()
    notes = Notes()
    info, statistics = write_dataset(
        FLAGS.output_dir,
        FLAGS.name or epath.Path(FLAGS.output_dir).name,
        pools,
        class_names=class_names,
        colors=colors,
        labels=labels,
        splits=splits,
        has_background=has_background,
        num_shards=FLAGS.num_shards,
        seed=FLAGS.seed,
        workers=FLAGS.workers,
        beam_pipeline_options=FLAGS.beam_pipeline_options,
        overwrite=FLAGS.overwrite,
        provenance=provenance,
        problems=problems,
        value_range=value_range,
        boxes_from_masks=FLAGS.boxes_from_masks,
        notes=notes,
    )
    print_summary(info, statistics)
    print("".join(f"\n{line}" for line in notes.lines()), end="\n" if notes.lines() else "")
    say_next(inspection(FLAGS.output_dir))
