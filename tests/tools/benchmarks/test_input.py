"""The benchmark of the input: its photos are as large as it says, and every stage runs."""

import pytest
import tensorflow as tf
from benchmarks import input as benchmark

from wss.data.record_check import check_record
from wss.data.record_files import split_records


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(benchmark, "PHOTOS", 2)
    monkeypatch.setattr(benchmark, "EXAMPLES", 4)


def test_photos_are_readable_and_of_the_size_of_vocs(tmp_path):
    info = benchmark.write_photos(tmp_path)
    records = [record.numpy() for record in split_records(info, "train")]
    assert len(records) == 2 == info.split("train").num_masks
    for record in records:
        example = check_record(record, info)
        assert example["image"].shape == (375, 500, 3)
        features = tf.train.Example.FromString(record).features.feature
        (photo,) = features["image/encoded"].bytes_list.value
        assert tf.io.is_jpeg(photo) and 40e3 < len(photo) < 120e3


def test_every_case_runs():
    stages = {case.options["stage"]: case.options for case in benchmark.cases()}
    assert len(stages) == 5
    for options in stages.values():
        options = options if options["stage"] in benchmark.READING else {**options, "crop": 33, "batch": 2}
        workload = benchmark.build(**options)
        workload.run()
        assert workload.images == 4
