"""Reading the records of a split: whole files from end to end, or the runs of them that belong to it."""

import os

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo

# Of sequential reads; a single record is read with one request as long as it is smaller.
BUFFER_BYTES = 256 * 1024


class RecordFiles:
    """The files of a split as tf.data sources.

    Attributes:
        paths: Path of each file.
        sizes: Number of the split's records in each file.
        runs: Runs of records in each file, (byte offset, number of records).
        whole: Whether all records of the files belong to the split.
    """

    def __init__(self, info: DatasetInfo, split: str):
        """Finds the files; a missing one, or what is no file, is a `UserError`."""
        info.files(split)
        runs = info.runs(split)
        self.whole = not info.split(split).runs_file
        self.sizes = [info.split(split).shards[file] for file in runs]
        self.paths = [os.path.join(info.directory, file) for file in runs]
        self.runs = list(runs.values())
        self._paths = tf.constant(self.paths)
        self._first = tf.constant(np.cumsum([0, *map(len, self.runs)]), tf.int64)
        table = np.array([run for of_file in self.runs for run in of_file], np.int64).reshape(-1, 2)
        self._offsets, self._counts = tf.constant(table[:, 0]), tf.constant(table[:, 1])

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, number: tf.Tensor) -> tf.data.Dataset:
        """Returns the serialized examples of file `number`, int64 [], in order; other numbers of them are an error."""
        path = self._paths[number]

        def read_run(run: tf.Tensor) -> tf.data.Dataset:
            # The only reader that starts at an offset; tf.data.TFRecordDataset does not pass it on.
            variant = tf.raw_ops.TFRecordDatasetV2(
                filenames=path[tf.newaxis],
                compression_type="",
                buffer_size=tf.constant(BUFFER_BYTES, tf.int64),
                byte_offsets=self._offsets[run][tf.newaxis],
            )
            records = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
            if not self.whole:
                records = records.take(self._counts[run])
            return records.apply(tf.data.experimental.assert_cardinality(self._counts[run]))

        return tf.data.Dataset.range(self._first[number], self._first[number + 1]).flat_map(read_run)


def split_records(info: DatasetInfo, split: str) -> tf.data.Dataset:
    """Returns the serialized examples of a split, string [], in order.

    Raises:
        UserError: There is no such split, or a file is missing.
    """
    files = RecordFiles(info, split)
    return tf.data.Dataset.range(len(files)).flat_map(files.read)
