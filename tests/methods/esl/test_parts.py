"""Parts: assignment, means and sums against the plain way of resizing everything first; prototypes on replicas."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.esl.parts import (
    NO_CLASS,
    PartPrototypes,
    coarse_classes,
    nearest_part,
    part_means_by_image,
    part_sums,
)
from wss.ops.resizing import resize_bilinear

C, K, D = 3, 4, 6


def drawn(seed: int = 0, coarse=(5, 9), fine=(17, 33)):
    """Features on a coarse grid, classes and parts on a fine one."""
    rng = np.random.default_rng(seed)
    features = tf.constant(rng.normal(0, 3, [2, *coarse, D]), tf.float32)
    classes = tf.constant(rng.integers(-1, C, [2, *fine]), tf.int32)
    return features, classes, tf.constant(rng.normal(size=[C, K, D]), tf.float32)


def plain_parts(features, classes, prototypes):
    """The part of each pixel by the cosines of resized features."""
    resized = tf.math.l2_normalize(resize_bilinear(features, classes.shape[1:]), axis=-1)
    cosines = tf.einsum("bhwd,ckd->bhwck", resized, tf.math.l2_normalize(prototypes, axis=-1)).numpy()
    found = np.take_along_axis(cosines, np.maximum(classes, 0)[..., None, None], 3)[..., 0, :].argmax(-1)
    return np.where(classes == NO_CLASS, 0, found)


@pytest.mark.parametrize("grids", [((5, 9), (17, 33)), ((5, 5), (5, 5)), ((3, 3), (9, 9)), ((1, 1), (4, 4))])
@pytest.mark.parametrize("compiled", [False, True])
def test_parts_are_those_of_resized_features(grids, compiled):
    features, classes, prototypes = drawn(1, *grids)
    find = tf.function(nearest_part, jit_compile=True) if compiled else nearest_part
    np.testing.assert_array_equal(find(features, classes, prototypes), plain_parts(features, classes, prototypes))


def test_the_order_of_prototypes_does_not_matter():
    features, classes, prototypes = drawn(4)
    order = np.array([2, 0, 3, 1])
    found = nearest_part(features, classes, tf.gather(prototypes, order, axis=1)).numpy()
    expected = nearest_part(features, classes, prototypes).numpy()
    np.testing.assert_array_equal(np.where(classes < 0, 0, order[found]), expected)


def test_one_part_is_always_the_first():
    features, classes, prototypes = drawn(2)
    assert not nearest_part(features, classes, prototypes[:, :1]).numpy().any()


@pytest.mark.parametrize("grids", [((5, 9), (17, 33)), ((5, 5), (5, 5))])
def test_sums_are_those_of_resized_features(grids):
    features, classes, prototypes = drawn(3, *grids)
    part = np.where(classes < 0, -1, classes * K + nearest_part(features, classes, prototypes))
    sums, counts = part_sums(features, tf.constant(part, tf.int32), C * K)
    resized = resize_bilinear(features, classes.shape[1:]).numpy()
    for number in range(C * K):
        np.testing.assert_allclose(sums[number], resized[part == number].sum(0), atol=2e-4)
        assert counts[number] == (part == number).sum()


def test_means_are_of_each_image():
    """A constant in a part is its mean; a part without pixels has none."""
    part = tf.constant([[[0, 0, 2]], [[-1, 1, 2]]], tf.int32)
    features = tf.constant([[[[1.0, 2.0]] * 2 + [[5.0, 6.0]]], [[[9.0, 9.0], [3.0, 4.0], [7.0, 8.0]]]])
    means, present = part_means_by_image(features, part, 4)
    np.testing.assert_array_equal(present, [[True, False, True, False], [False, True, True, False]])
    np.testing.assert_array_equal(means[0], [[1, 2], [0, 0], [5, 6], [0, 0]])
    np.testing.assert_array_equal(means[1], [[0, 0], [3, 4], [7, 8], [0, 0]])


def test_coarse_labels_are_every_fourth_pixel():
    label = tf.constant(np.arange(2 * 9 * 9).reshape(2, 9, 9, 1) % 7)
    found = coarse_classes(label, (3, 3), 5).numpy()
    expected = label.numpy()[:, ::4, ::4, 0]
    np.testing.assert_array_equal(found, np.where(expected < 5, expected, NO_CLASS))


def test_prototypes_move_by_a_hundredth_and_absent_ones_stay():
    """From 0 to 1 in 100 steps: 1 - 0.99^100."""
    prototypes = PartPrototypes(2, 1, 2, unit=False)
    start = tf.constant([[[0.0, 0.0]], [[0.3, 0.7]]])
    prototypes.values.assign(start)
    step = tf.function(lambda: prototypes.update(tf.constant([[3.0, 6.0], [0.0, 0.0]]), tf.constant([3.0, 0.0])))
    for _ in range(100):
        step()
    np.testing.assert_allclose(prototypes.values[0, 0], [0.633968, 2 * 0.633968], rtol=1e-5)
    np.testing.assert_array_equal(prototypes.values[1], start[1])


def test_unit_prototypes_move_towards_directions():
    prototypes = PartPrototypes(1, 1, 2, decay=0.5)
    prototypes.update(tf.constant([[30.0, 40.0]]), tf.constant([7.0]))
    np.testing.assert_allclose(prototypes.values[0, 0], [0.3, 0.4], rtol=1e-6)


def test_prototypes_are_those_of_all_replicas(two_replicas):
    with two_replicas.scope():
        together = PartPrototypes(1, 2, 2, decay=0.5, unit=False)
    sums = tf.constant([[[2.0, 4.0], [0.0, 0.0]], [[4.0, 8.0], [6.0, 2.0]]])
    counts = tf.constant([[1.0, 0.0], [2.0, 2.0]])

    @tf.function
    def step():
        def of_replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            together.update(tf.gather(sums, number), tf.gather(counts, number))

        two_replicas.run(of_replica)

    step()
    alone = PartPrototypes(1, 2, 2, decay=0.5, unit=False)
    alone.update(tf.reduce_sum(sums, 0), tf.reduce_sum(counts, 0))
    for values in two_replicas.experimental_local_results(together.values):
        np.testing.assert_allclose(values, alone.values)
    np.testing.assert_allclose(alone.values[0], [[1.0, 2.0], [1.5, 0.5]])
