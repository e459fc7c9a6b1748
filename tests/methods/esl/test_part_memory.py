"""The memory of parts: first in, first out; draws from the own queue and from all others; the same on all replicas."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.esl.part_memory import PartMemory

SEED = tf.constant([1, 2], tf.int64)


def filled(counts, capacity: int = 4) -> PartMemory:
    """A memory whose vectors are (part, number of the push)."""
    memory = PartMemory(len(counts), capacity, 2)
    for number in range(max(counts)):
        vectors = [[[float(part), float(number)] for part in range(len(counts))]]
        memory.push(tf.constant(vectors), tf.constant([[number < count for count in counts]]))
    return memory


def queue(memory: PartMemory, part: int) -> list[list[float]]:
    return memory.vectors.numpy()[part * memory.capacity :][: memory.capacity].tolist()


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_a_queue_holds_the_last_ones(at_once):
    """Of 7 pushes into 4 places the last 4 stay, whether they come one by one or together; another queue is untouched."""
    memory = PartMemory(2, 4, 1)
    push = tf.function(memory.push)
    for start in range(0, 7, at_once):
        numbers = range(start, min(start + at_once, 7))
        push(
            tf.constant([[[float(number)], [99.0]] for number in numbers]), tf.constant([[True, False]] * len(numbers))
        )
    held = queue(memory, 0)
    assert sorted(held) == [[3.0], [4.0], [5.0], [6.0]]
    assert [held[number % 4] for number in range(3, 7)] == [[3.0], [4.0], [5.0], [6.0]]  # in order around the ring
    assert queue(memory, 1) == [[0.0]] * 4
    np.testing.assert_array_equal(memory.sizes, [4, 0])
    np.testing.assert_array_equal(memory.pushed, [7, 0])


def test_own_vectors_are_of_the_own_queue():
    memory = filled([6, 0, 2])
    part = tf.constant([[0] * 300, [1] * 300, [2] * 300])
    vectors, found = memory.draw_own(SEED, part)
    np.testing.assert_array_equal(found, [[True] * 300, [False] * 300, [True] * 300])
    assert {tuple(vector) for vector in vectors[0].numpy()} == {(0, 2), (0, 3), (0, 4), (0, 5)}
    assert {tuple(vector) for vector in vectors[2].numpy()} == {(2, 0), (2, 1)}


@pytest.mark.parametrize(
    ("uniform_over", "of_first", "of_last"),
    # Parts 0, 1, 2, 3 hold 4, 0, 1 and 2 vectors.
    [("entries", {2: 1 / 3, 3: 2 / 3}, {0: 4 / 5, 2: 1 / 5}), ("queues", {2: 1 / 2, 3: 1 / 2}, {0: 1 / 2, 2: 1 / 2})],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_others_are_of_all_other_queues(uniform_over, of_first, of_last, compiled):
    memory = filled([9, 0, 1, 2])
    draw = lambda: memory.draw_others(SEED, 6000, uniform_over)
    vectors, found = tf.function(draw, jit_compile=True)() if compiled else draw()
    assert found.numpy().all()
    for part, expected in ((0, of_first), (3, of_last)):
        parts, counts = np.unique(vectors[part, :, 0], return_counts=True)
        assert dict(zip(parts, counts / 6000, strict=True)) == pytest.approx(expected, abs=0.025)
    assert set(np.unique(vectors[1, :, 0])) == {0, 2, 3}
    newest = vectors[3].numpy()[vectors[3, :, 0] == 0][:, 1]
    assert set(newest) == {5, 6, 7, 8}


def test_nothing_to_draw_is_said():
    empty = PartMemory(2, 3, 2)
    assert not empty.draw_own(SEED, tf.constant([0, 1]))[1].numpy().any()
    assert not empty.draw_others(SEED, 5)[1].numpy().any()
    np.testing.assert_array_equal(filled([2, 0]).draw_others(SEED, 5)[1], [False, True])


def test_memory_is_the_same_on_all_replicas_and_as_on_one(two_replicas):
    vectors = np.random.default_rng(0).normal(size=[6, 3, 2]).astype(np.float32)
    present = np.random.default_rng(1).random([6, 3]) < 0.7
    with two_replicas.scope():
        together = PartMemory(3, 4, 2)

    @tf.function
    def step(start):
        def of_replica():
            first = start + 2 * tf.distribute.get_replica_context().replica_id_in_sync_group
            together.push(tf.constant(vectors)[first : first + 2], tf.constant(present)[first : first + 2])

        two_replicas.run(of_replica)

    alone = PartMemory(3, 4, 2)
    step(tf.constant(0))
    alone.push(tf.constant(vectors[:4]), tf.constant(present[:4]))
    # The last row takes what is not kept.
    for values in two_replicas.experimental_local_results(together.vectors):
        np.testing.assert_array_equal(values[:-1], alone.vectors[:-1])
    for values in two_replicas.experimental_local_results(together.pushed):
        np.testing.assert_array_equal(values, alone.pushed)
