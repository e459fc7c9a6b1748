"""Background queries and attention: values by hand, and the rules that Eqs. 1 to 3 imply."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.bap_nal.background import Queries, background_attention, background_queries

MODES = (lambda function: function, tf.function, lambda function: tf.function(function, jit_compile=True))
modes = pytest.mark.parametrize("compiled", MODES, ids=("eager", "graph", "XLA"))
rng = np.random.default_rng(0)


def random_case(height: int = 6, width: int = 9) -> tuple[tf.Tensor, tf.Tensor]:
    features = tf.constant(rng.uniform(0.1, 1, [2, height, width, 5]), tf.float32)
    background = np.ones([2, height, width, 1], np.float32)
    background[0, 1:4, 2:7] = 0
    background[1, :, :5] = 0
    return features, tf.constant(background)


def queries_by_hand(features: np.ndarray, background: np.ndarray, grid: int) -> list[np.ndarray | None]:
    """Returns Eq. 1 of one image, cell by cell."""
    height, width = features.shape[:2]
    missing = -height % grid, -width % grid
    padding = [(m // 2, m // 2) if m % 2 == 0 else (0, m) for m in missing]
    features, background = (np.pad(x, [*padding, (0, 0)]) for x in (features, background))
    rows, columns = features.shape[0] // grid, features.shape[1] // grid
    found = []
    for i in range(grid):
        for j in range(grid):
            cell = np.s_[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            weight = background[cell]
            found.append((weight * features[cell]).sum((0, 1)) / weight.sum() if weight.sum() else None)
    return found


@modes
@pytest.mark.parametrize("grid", [1, 2, 3, 4, 5])
def test_queries_are_the_means_of_cells(compiled, grid):
    features, background = random_case()
    queries = compiled(background_queries)(features, background, grid)
    for i in range(2):
        for number, expected in enumerate(queries_by_hand(features[i].numpy(), background[i].numpy(), grid)):
            assert bool(queries.valid[i, number]) == (expected is not None)
            if expected is not None:
                np.testing.assert_allclose(queries.vectors[i, number], expected, rtol=1e-5)


def test_a_cell_inside_of_a_box_is_no_query():
    features, background = random_case(8, 8)
    queries = background_queries(features, background, 4)
    assert not queries.valid[1, 0] and queries.valid[1, 3]


def test_queries_do_not_see_boxes():
    features, background = random_case()
    changed = tf.where(background > 0, features, rng.uniform(0, 9, features.shape).astype(np.float32))
    for one, other in zip(*(background_queries(x, background, 3) for x in (features, changed)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_constant_background_is_every_query(grid):
    features, background = random_case()
    constant = tf.constant([0.3, 0, 2, 1, 0.1])
    queries = background_queries(tf.where(background > 0, constant, features), background, grid)
    found = queries.vectors[queries.valid]
    np.testing.assert_allclose(found, tf.broadcast_to(constant, found.shape), rtol=1e-6)


@modes
def test_attention_by_hand(compiled):
    features = tf.constant([[[[1.0, 0], [0, 1], [1, 1], [0, 3]]]])
    queries = Queries(tf.constant([[[1.0, 0]]]), tf.constant([[True]]))
    background = tf.constant([[[[0.0], [0], [0], [1]]]])
    attention = compiled(background_attention)(features, queries, background)
    np.testing.assert_allclose(tf.reshape(attention, [-1]), [1, 0, 0.707107, 1], atol=1e-6)


def test_attention_takes_the_mean_over_valid_queries():
    features = tf.constant([[[[1.0, 0]]]])
    queries = Queries(tf.constant([[[1.0, 0], [0, 1], [5, 0]]]), tf.constant([[True, True, False]]))
    assert background_attention(features, queries, tf.zeros([1, 1, 1, 1])).numpy().item() == pytest.approx(0.5)


def test_attention_without_queries_is_none():
    features, background = random_case()
    queries = background_queries(features, tf.zeros_like(background), 4)
    attention = background_attention(features, queries, tf.zeros_like(background))
    np.testing.assert_array_equal(attention, tf.zeros_like(background))


def test_attention_does_not_change_with_scale_or_order():
    features, background = random_case()
    queries = background_queries(features, background, 3)
    attention = background_attention(features, queries, background)
    scaled = background_attention(7 * features, background_queries(7 * features, background, 3), background)
    order = rng.permutation(9)
    shuffled = Queries(*(tf.gather(part, order, axis=1) for part in queries))
    np.testing.assert_allclose(attention, scaled, rtol=1e-5)
    np.testing.assert_allclose(attention, background_attention(features, shuffled, background), rtol=1e-5)


def test_gradients_are_finite_where_features_are_zero():
    features, background = (
        tf.Variable(tf.zeros([1, 4, 4, 3])),
        tf.concat([tf.zeros([1, 4, 2, 1]), tf.ones([1, 4, 2, 1])], 2),
    )
    with tf.GradientTape() as tape:
        queries = background_queries(features, background, 2)
        total = tf.reduce_sum(background_attention(features, queries, background))
    assert np.isfinite(tape.gradient(total, features)).all()


def test_attention_never_passes_1():
    """By rounding a cosine may: weights 1 - A of both signs would have no mean."""
    for seed in range(20):
        direction = np.random.default_rng(seed).uniform(0, 1, 64)
        lengths = np.random.default_rng(seed + 100).uniform(0.1, 30, [1, 9, 9, 1])
        features = tf.constant(lengths * direction, tf.float32)
        background = tf.concat([tf.ones([1, 9, 4, 1]), tf.zeros([1, 9, 5, 1])], 2)
        attention = background_attention(features, background_queries(features, background, 4), background)
        assert attention.numpy().max() <= 1
