"""Offline pseudo labels: the selection alone on synthetic predictions, and all of wss-label at two numbers of images."""

import multiprocessing
import tempfile
from pathlib import Path

from benchmarks.measure import Case, Workload

NUM_CLASSES = 19
SIZE = (512, 1024)  # of a synthetic prediction: Cityscapes at half its resolution
DISTINCT = 32  # synthetic predictions that are kept and used again under other names
IMAGES_PER_FILE = 250


def cases() -> list[Case]:
    """Returns 10^9 pixels by a quota for each class; then 500 and 5000 small images, whose memory should not differ."""
    return [
        Case("select, 10^9 pixels", select, {"pixels": 10**9}, cores=1),
        Case("label 500 images", label, {"images": 500}),
        Case("label 5000 images", label, {"images": 5000}),
    ]


def select(pixels: int, alpha: float = 0.2, policy: str = "dars") -> Workload:
    """Builds histogram, thresholds, random subsets and the labels of synthetic predictions, nothing read or written.

    Args:
        pixels: Number of pixels, rounded up to whole images.
        alpha: As for `wss.methods.dars.policies.select`.
        policy: As for `wss.methods.dars.policies.select`.
    """
    import numpy as np

    from wss.methods.dars import exact_sampling as sampling
    from wss.methods.dars.confidence import NUM_PATTERNS, histogram
    from wss.methods.dars.policies import select as choose

    rng = np.random.default_rng(0)
    classes = rng.dirichlet(np.ones(NUM_CLASSES))
    predictions = [rng.choice(NUM_CLASSES, SIZE, p=classes).astype(np.uint8) for _ in range(DISTINCT)]
    # Many ties at 1, as networks have.
    confidences = [np.minimum(rng.beta(4, 0.5, SIZE) * 1.05, 1).astype(np.float16) for _ in range(DISTINCT)]
    images = -(-pixels // (SIZE[0] * SIZE[1]))
    pairs = list(zip(predictions, confidences, strict=True))
    facts: dict[str, float] = {}

    def run() -> None:
        counts = np.zeros([NUM_CLASSES, NUM_PATTERNS], np.int64)
        for i in range(images):
            counts += histogram(*pairs[i % DISTINCT], NUM_CLASSES)
        selection = choose(policy, counts, alpha=alpha, distribution=classes)
        limits, passes = sampling.HashLimits.start(selection), 0
        keys = [sampling.image_key(0, str(i)) for i in range(images)]
        while not limits.finished:
            counts_of_images = (
                sampling.count(*pairs[i % DISTINCT], keys[i], selection=selection, limits=limits) for i in range(images)
            )
            limits, passes = limits.refine(sampling.merge(counts_of_images)), passes + 1
        kept = np.zeros(256, np.int64)
        for i in range(images):
            labels = sampling.label(*pairs[i % DISTINCT], keys[i], selection=selection, limits=limits)
            kept += np.bincount(labels.ravel(), minlength=256)
        if kept[:NUM_CLASSES].tolist() != selection.kept.tolist():
            raise RuntimeError("the labels miss their quota")
        facts["passes"] = passes

    return Workload(run, images, facts=facts)


def label(images: int) -> Workload:
    """Predicts and labels scenes of Shapes by a narrow MobileNetV2, from records to records.

    Args:
        images: Number of images.
    """
    from wss.pseudo_labels.dataset_writer import Policy
    from wss.pseudo_labels.label import label as label_split
    from wss.pseudo_labels.teacher import TeacherDescription

    folder = tempfile.TemporaryDirectory()
    data, teacher, output = (str(Path(folder.name) / name) for name in ("data", "teacher", "labels"))
    # In a process of its own: its memory is not that of labelling.
    preparing = multiprocessing.get_context("spawn").Process(target=_prepare, args=(data, teacher, images))
    preparing.start()
    preparing.join()

    def run(_folder: tempfile.TemporaryDirectory = folder) -> None:  # which lives as long as its files are used
        label_split(
            TeacherDescription(teacher).open(),
            "train",
            "val",
            output_dir=output,
            policy=Policy(alpha=0.2),
            overwrite=True,
            write_pngs=False,
        )

    return Workload(run, images)


def _prepare(data: str, run_dir: str, images: int) -> None:
    """Writes the images, and trains for one step: how fast a teacher labels does not depend on what it has learnt."""
    from wss import experiment
    from wss.conversion.shapes import build_shapes

    build_shapes(data, num_train=images, num_val=16, size=64, num_shards=-(-images // IMAGES_PER_FILE))
    parameters = [f"load_dataset.directory = {data!r}", "train.num_steps = 1", "train.evaluate_at_end = False"]
    parameters += ["TrainingData.labeled_split = 'train'", "TrainingData.crop_size = (65, 65)", "Labeling.flip = False"]
    experiment.run(["gin_configs/recipes/shapes/supervised.gin"], parameters, run_dir=run_dir)
