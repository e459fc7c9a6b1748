"""Anchors and InfoNCE: values by hand, no gradient into the memory, scale does not matter."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.esl.contrast import choose_anchors, info_nce

SEED = tf.constant([5, 6], tf.int64)


def loss_of(positive: float, negative: float, number: int = 255) -> float:
    """InfoNCE of an anchor (1, 0) for vectors of the given cosines."""
    at = lambda cosine: [cosine, np.sqrt(1 - cosine**2)]
    anchors = tf.constant([[[3.0, 0.0]]])
    positives = tf.constant([[at(positive)]], tf.float32) * 7
    negatives = tf.constant([[[at(negative)] * number] * 2], tf.float32) / 5
    return float(info_nce(anchors, positives, negatives, tf.constant([[1]]))[0, 0])


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [(1.0, 0.0, 3.569828), (1.0, 1.0, 5.545177), (0.0, 0.0, 5.545177), (1.0, -1.0, 1.735275)],
)
def test_values_by_hand(positive, negative, expected):
    np.testing.assert_allclose(loss_of(positive, negative), expected, rtol=1e-5)


def drawn():
    rng = np.random.default_rng(0)
    make = lambda *shape: tf.constant(rng.normal(size=shape), tf.float32)
    return make(3, 4, 8), make(3, 4, 8), make(3, 2, 5, 8), tf.constant(rng.integers(0, 2, [3, 4]), tf.int32)


@pytest.mark.parametrize("compiled", [False, True])
def test_each_anchor_has_the_negatives_of_its_part(compiled):
    anchors, positives, negatives, part = drawn()
    run = tf.function(info_nce, jit_compile=True) if compiled else info_nce
    found = run(anchors, positives, negatives, part, temperature=0.3)
    unit = lambda values: values / np.linalg.norm(values, axis=-1, keepdims=True)
    for c in range(3):
        for a in range(4):
            v = unit(anchors.numpy()[c, a])
            positive = np.exp(v @ unit(positives.numpy()[c, a]) / 0.3)
            others = np.exp(unit(negatives.numpy()[c, part[c, a]]) @ v / 0.3).sum()
            np.testing.assert_allclose(found[c, a], -np.log(positive / (positive + others)), rtol=1e-4)


def test_scale_does_not_matter_and_the_memory_has_no_gradient():
    anchors, positives, negatives, part = drawn()
    with tf.GradientTape() as tape:
        tape.watch([anchors, positives, negatives])
        loss = info_nce(anchors, positives, negatives, part)
    gradients = tape.gradient(loss, [anchors, positives, negatives])
    assert np.abs(gradients[0]).max() > 0 and gradients[1] is None and gradients[2] is None
    np.testing.assert_allclose(info_nce(10 * anchors, positives / 3, negatives * 2, part), loss, rtol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_anchors_are_a_tenth_of_each_class(compiled):
    rng = np.random.default_rng(0)
    candidates = rng.choice([-1, 0, 1, 3], 5000, p=[0.3, 0.5, 0.19, 0.01]).astype(np.int32)
    choose = lambda seed: choose_anchors(seed, tf.constant(candidates), 4, share=0.1, largest=200)
    run = tf.function(choose, jit_compile=True) if compiled else choose
    anchors = run(SEED)
    for number in range(4):
        index = anchors.index[number].numpy()[anchors.chosen[number].numpy()]
        expected = min(int(np.ceil(0.1 * (candidates == number).sum())), 200)
        assert len(index) == len(set(index)) == expected
        assert (candidates[index] == number).all()
    assert (anchors.index.numpy() < 5000).all()
    # Another seed chooses others, evenly over the pixels.
    index = np.concatenate([run(tf.constant([seed, 0], tf.int64)).index[0].numpy() for seed in range(30)])
    assert 0.45 < (index < 2500).mean() < 0.55


def test_classes_without_candidates_have_no_anchors():
    anchors = choose_anchors(SEED, tf.fill([10], -1), 3)
    assert not anchors.chosen.numpy().any()
