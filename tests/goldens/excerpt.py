"""Makes the small set of goldens in this folder out of the full one: python tests/goldens/excerpt.py ../shared/goldens

Small files go in whole. Of networks and steps only the smaller tensors do, so that all of it stays under 5 MB.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
WHOLE = [
    "make_weights.py",
    "bn_decay_and_weight_decay.json",
    "datasets.json",
    "sgc_unit.npz",
    "fusion_losses_unit.npz",
    "resize_tables.npz",
    "preprocess_eval.npz",
    "cam_dropout_xception_65_65x97.npz",
    "tfrecord/val-00000-of-00001.tfrecord",
]
LARGEST = {  # bytes of a tensor that is kept
    "backbone_xception_65_65x97": 100_000,
    "backbone_resnet_v1_50_beta_97x97": 110_000,
    "backbone_mobilenet_v2_decoder_97x97": 100_000,
    "step_xception_65_65x97": 80_000,
}
ALWAYS = ("input", "seg/", "unl/", "grad_norm")
VARIABLES = ["variables_xception_65", "variables_resnet_v1_50", "variables_resnet_v1_101"]
VARIABLES += ["variables_resnet_v1_50_beta", "variables_mobilenet_v2_decoder", "variables_cls_sgc_xception_65"]


def excerpt_tensors(full: Path, name: str, largest: int) -> None:
    tensors = np.load(full / f"{name}.npz")
    kept = [key for key in tensors.files if key.startswith(ALWAYS) or tensors[key].nbytes <= largest]
    np.savez_compressed(HERE / f"{name}.npz", **{key: tensors[key] for key in kept})


def names_and_shapes(variables: list[dict]) -> list[dict]:
    kept = [variable for variable in variables if not variable["name"].endswith("/Momentum")]
    return [{"name": variable["name"], "shape": variable["shape"]} for variable in kept]


def main(full: Path) -> None:
    for name in WHOLE:
        (HERE / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(full / name, HERE / name)
    for name, largest in LARGEST.items():
        excerpt_tensors(full, name, largest)
    for name in VARIABLES:
        variables = names_and_shapes(json.loads((full / f"{name}.json").read_text()))
        (HERE / f"{name}.json").write_text(json.dumps(variables))
    step = json.loads((full / "step_xception_65_65x97.json").read_text())
    kept = {"variables": names_and_shapes(step["variables"]), "flags": step["flags"]}
    (HERE / "step_xception_65_65x97.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
