"""A training step of every method, on as many images, with the small network of `recipes/voc_animals`."""

from typing import Any

from benchmarks import step
from benchmarks.esl import SEPARABLE
from benchmarks.measure import Case

STEPS_OF: dict[str, dict[str, Any]] = {
    "supervised": {"method": "Supervised", "batch": 16},
    "PseudoSeg": {"method": "PseudoSeg"},
    "ESL": {"method": "ESL", "parameters": (SEPARABLE,)},
    "FixMatch": {"method": "FixMatch"},
    "UniMatch": {"method": "UniMatch"},
    "UniMatch V2": {"method": "UniMatchV2"},
    "BAP, box classifier": {
        "method": "BoxClassification",
        "batch": 16,
        "parameters": ("build_model.output_stride = 8",),
    },
    "NAL": {"method": "NoiseAware", "batch": 16, "parameters": ("build_model.classifier = 'cosine'",)},
}


def cases() -> list[Case]:
    """Returns a step of each method: 8 labelled and 8 unlabelled images, or 16 of the one stream that it has."""
    common = {"backbone": "mobilenet_v2", "batch": 8, "num_classes": 7}
    return [
        Case(f"MobileNetV2, crop 129, 16 images, 7 classes, {name}", step.build, {**common, **options})
        for name, options in STEPS_OF.items()
    ]
