"""One conversion, however it is run: here, in processes, on Beam, killed and run again; and in little memory."""

import dataclasses
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from etils import epath

from wss.conversion import writer
from wss.conversion.encode import LabelMap
from wss.conversion.sources import Shard, Source, assign
from wss.data.boxes import Box
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_boxes, parse_example
from wss.data.masks import encode_mask, lookup_table
from wss.data.record_files import split_records
from wss.data.record_index import read_index
from wss.data.splits import Split
from wss.errors import Interrupted, UserError
from wss.jobs import beam
from wss.jobs import processes as execution
from wss.runtime.memory import peak_process_memory

LABELS = LabelMap(lookup_table(3))
CLASSES = dict(class_names=("bg", "one", "two"), colors=[(0, 0, 0), (9, 0, 0), (0, 9, 0)], labels=LABELS)
# TensorFlow is imported once, in the server that the processes are forked from; it has done nothing before the fork.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["wss.conversion.writer", "wss.data.example"])
BEAM = "runner=DirectRunner,direct_running_mode=multi_processing,direct_num_workers=2"


def scene(index: int, side: int = 8) -> Source:
    rng = np.random.default_rng(index)
    mask = np.full([side, side], index % 3, np.uint8)
    mask[0] = 255
    image = encode_mask(rng.integers(0, 256, [side, side], dtype=np.uint8))
    return Source(f"image_{index:05d}", image, mask, (1, 2) if index % 2 else None, (Box(1, 0, 2, 4, 8),))


class Generated(Shard):
    """Images that exist only while they are written."""

    def __init__(self, indices, side: int):
        self.indices, self.side = indices, side

    def __iter__(self):
        return (scene(int(index), self.side) for index in self.indices)

    def fingerprint(self) -> str:
        return f"{list(self.indices)} {self.side}"


class GeneratedPool:
    def __init__(self, count: int, side: int = 8):
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def shards(self, assignment, folder):
        return [Generated(numbers, self.side) for numbers in assignment]


def convert(output: Path, count: int = 40, **settings) -> DatasetInfo:
    pools = {"train": GeneratedPool(count), "val": [scene(count + index) for index in range(5)]}
    splits = {
        "train": Split(("train",)),
        "val": Split(("val",)),
        "all": Split(("train", "val")),
        "few": Split(("train",), ["image_00003", "image_00004", "image_00017"]),
        "bare": Split(("val",), hide_masks=True),
    }
    info, _ = writer.write_dataset(output, "generated", pools=pools, splits=splits, **CLASSES, **settings)
    return info


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def ids_of(info: DatasetInfo, split: str) -> list[str]:
    records = split_records(info, split).map(lambda record: parse_example(record, 3)["name"])
    return [name.decode() for name in records.as_numpy_iterator()]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("built") / "out"
    convert(output, workers=1)
    return output


def test_images_are_stored_once_for_all_splits(built):
    info = DatasetInfo.load(built)
    assert {name: split.num_examples for name, split in info.splits.items()} == {
        "train": 40, "val": 5, "all": 45, "few": 3, "bare": 5
    }  # fmt: skip
    assert sorted(ids_of(info, "all")) == [f"image_{index:05d}" for index in range(45)]
    assert sorted(ids_of(info, "few")) == ["image_00003", "image_00004", "image_00017"]
    stored = [entry.id for path in sorted(built.glob("*.tfrecord")) for entry in read_index(path)]
    assert len(stored) == len(set(stored)) == 45
    assert (info.split("val").num_masks, info.split("bare").num_masks) == (5, 0)


def test_the_index_says_what_is_in_the_records(built):
    info = DatasetInfo.load(built)
    entries = {entry.id: entry for file in info.splits["all"].shards for entry in read_index(built / file)}
    for record in split_records(info, "all"):
        example, boxes = parse_example(record, 3), parse_boxes(record)
        entry = entries[example["name"].numpy().decode()]
        assert entry.size == (8, 8) and entry.pixels == {int(entry.id[-5:]) % 3: 56, 255: 8}
        assert entry.image_labels == ((1, 2) if example["has_image_label"] else None)
        np.testing.assert_array_equal(boxes["boxes"], [[0, 0.25, 0.5, 1]])
        assert boxes["known"] and boxes["label"].numpy().tolist() == [1] and entry.num_boxes == 1


def test_files_are_of_equal_size_and_none_is_empty():
    parts = assign("train", 10, 4, seed=0)
    assert [len(part) for part in parts] == [3, 3, 2, 2]
    assert sorted(np.concatenate(parts)) == list(range(10))
    assert len(assign("train", 2, 4, seed=0)) == 2
    assert (len(assign("train", 2500, 0, seed=0)), len(assign("train", 118_287, 0, seed=0))) == (5, 237)
    assert assign("train", 10, 4, seed=0)[0].tolist() != assign("val", 10, 4, seed=0)[0].tolist()


@pytest.mark.slow
def test_two_processes_write_the_same(built, tmp_path):
    convert(tmp_path / "out", workers=2)
    assert content(tmp_path / "out") == content(built)


@pytest.mark.slow
def test_beam_with_two_workers_writes_the_same(built, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # Beam's workers need this module
    convert(tmp_path / "out", beam_pipeline_options=BEAM)
    assert content(tmp_path / "out") == content(built)


def test_an_unknown_beam_option_is_one_line(tmp_path):
    for options, expected in {
        "direct_num_wrokers=2": "knows no option direct_num_wrokers",
        "direct_num_workers=two": "invalid int value: 'two'",
        "runner=FooRunner": "FooRunner",
    }.items():
        with pytest.raises(UserError, match=f"--beam_pipeline_options={options}: .*{expected}") as error:
            convert(tmp_path / "out", beam_pipeline_options=options)
        assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())


def test_options_of_other_runners_are_known():
    options = "worker_machine_type=n1-standard-4,no_use_public_ips,flink_master=host:8081,environment_type=LOOPBACK"
    assert beam.make_pipeline(f"runner=DirectRunner,{options}") is not None


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _convert_and_die(output: Path, point: str, overwrite: bool = False) -> None:
    """Runs a conversion that kills its own process at a point of it."""
    if point == "in a file":
        calls, check = [], writer.check_source
        writer.check_source = lambda *arguments: calls.append(1) or (_die() if len(calls) == 25 else check(*arguments))
    elif point == "before a file is marked as done":
        done, write = [], writer.write_index
        writer.write_index = lambda *arguments: write(*arguments) or done.append(1) or (len(done) == 3 and _die())
    elif point == "before dataset.json":
        writer.write_splits = lambda *_: _die()
    elif point == "while intermediate files go":
        path, removed = type(epath.Path(output)), []
        unlink = path.unlink
        path.unlink = lambda self: unlink(self) or removed.append(1) or (len(removed) == 5 and _die())
    elif point == "before the folder gets its name":
        path = type(epath.Path(output))
        rename = path.rename
        path.rename = lambda self, to: _die() if self.name == ".out.partial" else rename(self, to)
    convert(output, workers=1, overwrite=overwrite)


POINTS = [
    "in a file",
    "before a file is marked as done",
    "before dataset.json",
    "while intermediate files go",
    "before the folder gets its name",
]


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_conversion_is_finished_by_running_it_again(point, built, tmp_path, monkeypatch):
    output = tmp_path / "out"
    process = PROCESSES.Process(target=_convert_and_die, args=(output, point))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not output.exists()
    finished = list((tmp_path / ".out.partial").glob("*.done"))
    written: list[str] = []
    write = writer._write_records
    monkeypatch.setattr(writer, "_write_records", lambda path, *more: written.append(path.name) or write(path, *more))
    convert(output, workers=1)
    assert content(output) == content(built)
    assert len(written) == 8 - len(finished) and (finished or point == "before the folder gets its name")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_a_data_set_that_is_being_replaced_is_not_lost(built, tmp_path):
    output = tmp_path / "out"
    convert(output, seed=7)
    before = content(output)
    arguments = (output, "before the folder gets its name", True)
    process = PROCESSES.Process(target=_convert_and_die, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not output.exists()
    with pytest.raises(UserError, match="has a data set already"):
        convert(output)
    assert content(output) == before
    convert(output, overwrite=True)
    assert content(output) == content(built) and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_conversions_to_one_folder_do_not_mix(tmp_path, monkeypatch):
    """The second one is refused while the first one runs, and takes nothing from it."""
    check, refused = writer.check_source, []

    def check_source(*arguments):
        if not refused:
            refused.append("")
            with pytest.raises(UserError, match="out: another conversion to it is running"):
                convert(tmp_path / "out", seed=5)
        return check(*arguments)

    monkeypatch.setattr(writer, "check_source", check_source)
    convert(tmp_path / "out", seed=1)
    monkeypatch.undo()
    convert(tmp_path / "again", seed=1)
    assert refused and content(tmp_path / "out") == content(tmp_path / "again")


def _tick_often(job: int, tick) -> int:
    if job < 0:
        time.sleep(0.5)
        raise UserError("this one fails")
    for _ in range(job):
        tick(1)
    return job


@pytest.mark.slow
def test_processes_return_results_in_order_and_stop_when_a_job_fails():
    jobs = [10_000, 1, 2, 3, 4]
    assert execution.run_jobs(_tick_often, jobs, workers=3, what="x", total=sum(jobs)) == jobs
    with pytest.raises(UserError, match="this one fails"):
        execution.run_jobs(_tick_often, [60_000, -1, 60_000, 60_000], workers=3, what="x", total=10**9)


@pytest.mark.slow
def test_a_killed_parent_takes_its_processes_along(tmp_path):
    output, partial = tmp_path / "out", tmp_path / ".out.partial"
    process = PROCESSES.Process(target=convert, args=(output, 20_000), kwargs={"workers": 2})
    process.start()
    deadline = time.monotonic() + 120
    while not list(partial.glob("*.tfrecord.tmp-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.join()
    assert psutil.wait_procs(children, timeout=20)[1] == []


def test_changed_inputs_are_not_taken_for_finished(tmp_path, monkeypatch):
    """A file that is done is written again if an image of it, or the label map, is another one now."""
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes(encode_mask(np.full([4, 4], index, np.uint8)))
    sources = [Source(str(index), tmp_path / f"{index}.png", np.zeros([4, 4], np.uint8)) for index in range(4)]
    write_splits = writer.write_splits
    monkeypatch.setattr(writer, "write_splits", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(Interrupted, match="interrupted by Ctrl-C; the same command goes on"):
        writer.write_dataset(tmp_path / "out", "x", pools={"train": sources}, num_shards=2, **CLASSES)
    monkeypatch.setattr(writer, "write_splits", write_splits)
    (tmp_path / "2.png").write_bytes(encode_mask(np.full([4, 5], 9, np.uint8)[:, :4]) + b" ")
    written: list[str] = []
    write = writer._write_records
    monkeypatch.setattr(writer, "_write_records", lambda path, *more: written.append(path.name) or write(path, *more))
    info, _ = writer.write_dataset(tmp_path / "out", "x", pools={"train": sources}, num_shards=2, **CLASSES)
    assert len(written) == 1
    images = {parse_example(r, 3)["name"].numpy(): parse_example(r, 3)["image"] for r in split_records(info, "train")}
    assert images[b"2"].numpy().max() == 9


@pytest.mark.parametrize("change", ["mask", "labels", "seed"])
def test_files_of_other_masks_labels_or_order_are_written_again(change, tmp_path, monkeypatch):
    mask, labels, seed = tmp_path / "mask.png", lookup_table(3), 0
    mask.write_bytes(encode_mask(np.ones([4, 4], np.uint8)))
    source = Source("a", encode_mask(np.zeros([4, 4], np.uint8)), mask)
    pools = {"train": [source, dataclasses.replace(source, id="b"), dataclasses.replace(source, id="c")]}
    write_splits = writer.write_splits
    monkeypatch.setattr(writer, "write_splits", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(Interrupted, match="interrupted"):
        writer.write_dataset(tmp_path / "out", "x", pools=pools, num_shards=1, **CLASSES)
    monkeypatch.setattr(writer, "write_splits", write_splits)
    if change == "mask":
        mask.write_bytes(encode_mask(np.full([4, 4], 2, np.uint8)) + b" ")
    elif change == "labels":
        labels = lookup_table(3, (0, 2, 1))
    else:
        seed = next(
            seed
            for seed in range(9)
            if assign("train", 3, 1, seed=seed)[0].tolist() != assign("train", 3, 1, seed=0)[0].tolist()
        )
    for name in ("out", "clean"):
        settings = {**CLASSES, "labels": LabelMap(labels)}
        writer.write_dataset(tmp_path / name, "x", pools=pools, num_shards=1, seed=seed, **settings)
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_splits_of_a_killed_conversion_do_not_stay(tmp_path, monkeypatch):
    save = DatasetInfo.save
    monkeypatch.setattr(DatasetInfo, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(Interrupted, match="interrupted"):
        convert(tmp_path / "out")
    assert (tmp_path / ".out.partial/splits/few.json").exists()
    monkeypatch.setattr(DatasetInfo, "save", save)
    pools = {"train": GeneratedPool(40)}
    info, _ = writer.write_dataset(tmp_path / "out", "generated", pools=pools, **CLASSES)
    assert not (tmp_path / "out/splits").exists() and list(info.splits) == ["train"]
    assert sorted(ids_of(info, "train")) == [f"image_{index:05d}" for index in range(40)]


def test_an_id_that_no_pool_has_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"split 'few': 1 image \(nothere\) is not in the record files"):
        writer.write_dataset(
            tmp_path / "out", "x", pools={"train": [scene(0)]}, splits={"few": Split(("train",), ["nothere"])}, **CLASSES
        )  # fmt: skip
    assert not any(tmp_path.iterdir())


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write_index", full)
    with pytest.raises(UserError, match="No space left on device.*goes on where it stopped"):
        convert(tmp_path / "out", workers=1)
    monkeypatch.undo()
    convert(tmp_path / "out", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _peak_memory(output: Path, count: int, result) -> None:
    pools = {"train": GeneratedPool(count, side=183)}  # 33 kB an image and a mask, 100 MB each in all
    writer.write_dataset(output, "generated", pools=pools, **CLASSES, workers=1)
    result.put(peak_process_memory() / 2**20)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    peaks = {}
    for count in (300, 3000):
        result = PROCESSES.SimpleQueue()
        process = PROCESSES.Process(target=_peak_memory, args=(tmp_path / str(count), count, result))
        process.start()
        process.join()
        assert process.exitcode == 0
        peaks[count] = result.get()
    assert peaks[3000] - peaks[300] < 100, peaks


def test_the_number_of_processes(monkeypatch):
    """Small conversions, and those of one file, start none."""
    monkeypatch.setattr(execution._Run, "units", lambda *_: pytest.fail("processes"))
    few = execution.MIN_IMAGES_FOR_PROCESSES - 1
    assert execution.run_jobs(lambda job, tick: job, [1, 2], workers=0, what="x", total=few) == [1, 2]
    assert execution.run_jobs(lambda job, tick: job, [1], workers=8, what="x", total=10**6) == [1]
