"""The order in which training reads records: a function of the seed and of the number of the example alone."""

import tensorflow as tf

from wss.data.augment import split_seed
from wss.data.record_files import RecordFiles

FILES_AT_ONCE = 8


def shuffled_records(files: RecordFiles, seed: tf.Tensor, *, start: int, block_size: int) -> tf.data.Dataset:
    """Returns endless (example number, serialized example) from example number `start` on.

    Each epoch is a shuffled pass over the files, interleaved, and over blocks of undecoded records.

    Args:
        files: The records of a split, at least one.
        seed: Stateless seed [2].
        start: Number of the first example.
        block_size: Records to shuffle at a time.
    """
    total = sum(files.sizes)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order_seed, block_seed = split_seed(tf.random.fold_in(seed, number), 2)
        order = tf.random.experimental.stateless_shuffle(tf.range(len(files), dtype=tf.int64), order_seed)
        records = tf.data.Dataset.from_tensor_slices(order).interleave(
            files.read,
            cycle_length=min(len(files), FILES_AT_ONCE),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        # Dataset.shuffle takes no seed from the epoch's number; shuffled blocks do.
        blocks = records.batch(min(block_size, total)).enumerate()
        shuffle = lambda index, block: tf.random.experimental.stateless_shuffle(
            block, tf.random.fold_in(block_seed, index)
        )
        return blocks.map(shuffle).unbatch()

    first_epoch, skipped = divmod(start, total)
    return tf.data.Dataset.counter(first_epoch).flat_map(epoch).skip(skipped).enumerate(start)
