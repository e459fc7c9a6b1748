"""Records of clean inputs: the same bytes as ever, which trained weights and papers' numbers hang on."""

import hashlib
from pathlib import Path

# SHA-256 of all record files and indexes, in the order of their names; written before anything was checked as it is now.
SHAPES = "0dffaa03e42be6b19335b734d37f9ab83c9430bac3b60278858466fd383e0093"
VOC = "47d6489e761c11c14b4b8756aa0d046e95e56e577c0938c93e6b323ac62a1178"


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.tfrecord*")):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def test_the_embedded_data_set_has_the_same_bytes(tmp_path, run_script):
    flags = ["--num_train=24", "--num_val=4", "--size=32", "--workers=1"]
    run_script("build_shapes", f"--output_dir={tmp_path / 'out'}", *flags)
    assert digest(tmp_path / "out") == SHAPES


def test_photos_of_voc_have_the_same_bytes(shared, tmp_path, run_script):
    root = shared / "data/voc_animals"
    flags = [f"--voc_root={root}", "--classes=0,8,10,12,13,15,17", "--splits=train_1_8", "--workers=1"]
    run_script("build_voc2012", f"--output_dir={tmp_path / 'out'}", *flags)
    assert digest(tmp_path / "out") == VOC
