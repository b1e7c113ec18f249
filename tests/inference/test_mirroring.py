"""Test-time mirroring."""

import itertools

from lucid.inference import with_mirroring
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle import uniform

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 2), (0, 1, 2)])
def test_predictions_of_every_mirror_image_are_averaged(axes):
    x, ramp = uniform(RNG, (2, 3, 4, 5, 6)), uniform(RNG, (4, 5, 6))
    want, count = 0.0, 0
    for n in range(len(axes) + 1):
        for chosen in itertools.combinations(axes, n):
            along = tuple(axis + 2 for axis in chosen)
            want = want + np.flip(np.flip(x, along) * ramp, along)
            count += 1
    predict = with_mirroring(lambda y, scale: y * mx.array(ramp) * scale, axes)
    got = predict(mx.array(x), scale=2)
    np.testing.assert_allclose(np.array(got), 2 * want / count, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes", [(3,), (-1,), (0, 0)])
def test_axes_that_a_volume_lacks_are_refused(axes):
    with pytest.raises(ValueError, match="`mirror_axes`"):
        with_mirroring(mx.abs, axes)
