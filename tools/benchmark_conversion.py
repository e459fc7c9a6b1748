"""Measures how fast and in how much memory a data set is converted, by number of processes and of images.

python tools/benchmark_conversion.py --output=/tmp/benchmark

Drawn scenes of 384 x 384 pixels, JPEG and PNG mask, are read from files again and again under new names. Each row is a
process of its own. images/s counts from the call to the finished data set, so starting processes is in it; "ratio" is
to one process. Timings of one run compare; those of different days or machines do not.
"""

import json
import multiprocessing
import shutil
import time
from pathlib import Path

from absl import flags
from PIL import Image

from wss.command import run_main
from wss.conversion.encode import LabelMap
from wss.conversion.shapes import CLASS_NAMES, generate
from wss.conversion.sources import Source
from wss.conversion.writer import write_dataset
from wss.data.masks import encode_mask, lookup_table, voc_colors
from wss.errors import UserError
from wss.files import write_errors, write_text
from wss.runtime.memory import peak_process_memory
from wss.tables import format_columns

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "output", None, "Empty or new folder for the images, the data sets and benchmark.json.", required=True
)
flags.DEFINE_integer("images", 10_000, "How many images to convert for the speed.", lower_bound=1)
flags.DEFINE_list("workers", ["1", "2"], "Numbers of processes.")
flags.DEFINE_list("memory_images", ["1000", "10000"], "Numbers of images to convert with one process for the memory.")

NUM_FILES = 64
SIDE = 384


def main(argv: list[str]) -> None:
    """Prints the table and writes it to benchmark.json."""
    if not all(item.isdecimal() and int(item) for item in [*FLAGS.workers, *FLAGS.memory_images]):
        raise UserError("--workers and --memory_images: expected numbers, separated by commas")
    output = Path(FLAGS.output)
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"--output={output}: is not empty")
    with write_errors(output, "expected an empty or new folder in --output"):
        draw_files(output / "files")
    runs = [(FLAGS.images, int(workers)) for workers in FLAGS.workers]
    runs += [(int(images), 1) for images in FLAGS.memory_images]
    rows = {run: measure(output, *run) for run in dict.fromkeys(runs)}
    single = rows.get((FLAGS.images, 1))
    table = [("images", "processes", "images/s", "ratio", "peak memory")]
    for (images, workers), row in rows.items():
        speed = row["images_per_second"]
        ratio = f"{speed / single['images_per_second']:.2f}" if single and images == FLAGS.images else ""
        table.append((str(images), str(workers), f"{speed:.1f}", ratio, f"{row['peak_mb']:.0f} MB"))
    print(format_columns(table, align=">"))
    content = [{"images": images, "processes": workers, **row} for (images, workers), row in rows.items()]
    write_text(output / "benchmark.json", json.dumps(content, indent=1) + "\n")


def draw_files(folder: Path) -> None:
    """Writes the images and masks that are converted."""
    folder.mkdir(parents=True)
    for index in range(NUM_FILES):
        image, mask = generate(0, index, SIDE)
        Image.fromarray(image).save(folder / f"{index}.jpg", quality=90)
        (folder / f"{index}.png").write_bytes(encode_mask(mask))


def measure(output: Path, images: int, workers: int) -> dict[str, float]:
    """Converts in a new process and returns its images/s and its peak memory in MB."""
    context = multiprocessing.get_context("spawn")
    result = context.SimpleQueue()
    process = context.Process(target=convert, args=(output, images, workers), kwargs={"result": result})
    process.start()
    process.join()
    if process.exitcode:
        raise UserError(f"{images} images with {workers} processes: the conversion failed, see above")
    shutil.rmtree(output / "dataset")
    return result.get()


def convert(output: Path, images: int, workers: int, *, result) -> None:
    """Converts `images` images and puts what was measured into `result`."""
    files = [output / "files" / str(index) for index in range(NUM_FILES)]
    sources = [
        Source(f"image_{index:06d}", f"{files[index % NUM_FILES]}.jpg", f"{files[index % NUM_FILES]}.png")
        for index in range(images)
    ]
    labels = LabelMap(lookup_table(len(CLASS_NAMES)))
    start = time.perf_counter()
    colors = voc_colors(len(CLASS_NAMES))
    write_dataset(
        output / "dataset",
        "benchmark",
        {"train": sources},
        class_names=CLASS_NAMES,
        colors=colors,
        labels=labels,
        workers=workers,
    )
    seconds = time.perf_counter() - start
    result.put({"images_per_second": images / seconds, "peak_mb": peak_process_memory() / 2**20})


if __name__ == "__main__":
    run_main(main)
