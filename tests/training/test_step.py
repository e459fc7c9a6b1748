"""The compiled step: XLA against TensorFlow's own graph, on a network of two convolutions."""

import numpy as np
import pytest
from networks import random_batch, take_steps, train_step

from wss.errors import UserError
from wss.methods.pseudoseg.pseudoseg import PseudoSeg


@pytest.mark.slow
def test_xla_takes_the_same_steps():
    plain, compiled = (
        take_steps(train_step(PseudoSeg(), jit_compile=jit_compile), random_batch(), 3) for jit_compile in (False, True)
    )
    assert plain[0]["total"] != plain[2]["total"]
    for expected, found in zip(plain, compiled, strict=True):
        assert expected.keys() == found.keys()
        np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-4, atol=1e-5)


def test_xla_wants_one_device(two_replicas):
    with pytest.raises(UserError, match="expected one device, found 2"):
        train_step(PseudoSeg(), two_replicas, jit_compile=True)
