"""Patches as channels of single voxels, and back."""

from __future__ import annotations

from lucid.geometry import ConvGeometry, conv_geometry
from lucid.ops.conv_fold import Fold
from lucid.ops.conv_patches import gather, put_back
import mlx.core as mx
import numpy as np
import pytest

FOLD = Fold(gather, put_back)
# kernel, stride, size: whole patches, gaps between them, voxels left over, a last gap
# that is longer than the input, single voxels
SPATIAL = [
    ((2, 2, 2), (2, 2, 2), (4, 6, 2)),
    ((1, 2, 2), (2, 3, 2), (5, 7, 4)),
    ((2, 2, 2), (2, 2, 2), (5, 4, 7)),
    ((1, 2, 1), (2, 4, 3), (4, 6, 4)),
    ((1, 1, 1), (2, 1, 2), (3, 2, 5)),
    ((1, 1, 1), (1, 1, 1), (3, 2, 5)),
]


def geometry_of(spatial: tuple) -> ConvGeometry:
    kernel, stride, size = spatial
    return conv_geometry(
        *((2, 3, *size), (4, 3, *kernel), stride, (0, 0, 0), (1, 1, 1), 1, "zeros")
    )


@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
def test_a_patch_is_the_channels_of_a_voxel(spatial):
    geometry = geometry_of(spatial)
    (kd, kh, kw), (sd, sh, sw), size = spatial
    x = mx.random.normal((2, *size, 3))
    folded = FOLD.volumes(x, geometry)
    assert folded.shape == (2, *geometry.output_size, kd * kh * kw * 3)
    last = tuple(n - 1 for n in geometry.output_size)
    for d, h, w in ((0, 0, 0), last):
        patch = x[1, d * sd :, h * sh :, w * sw :][:kd, :kh, :kw]
        assert mx.array_equal(folded[1, d, h, w], patch.flatten())


@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
def test_there_and_back_are_each_others_derivatives(spatial):
    geometry = geometry_of(spatial)
    x = mx.random.normal((2, *spatial[2], 3))
    there, back = (
        lambda x: FOLD.volumes(x, geometry),
        lambda y: FOLD.back(y, geometry),
    )
    y = mx.random.normal(there(x).shape)
    assert mx.array_equal(mx.vjp(there, [x], [y])[1][0], back(y))
    assert mx.array_equal(mx.vjp(back, [y], [x])[1][0], there(x))
    assert mx.array_equal(mx.jvp(there, [x], [x])[1][0], there(x))
    inner = [(there(x) * y).sum().item(), (x * back(y)).sum().item()]
    np.testing.assert_allclose(*inner, rtol=1e-4)
    assert mx.array_equal(there(back(y)), y)


def test_its_weight_and_geometry_are_those_of_single_voxels():
    geometry = geometry_of(SPATIAL[0])
    weight = mx.random.normal(geometry.weight_shape)
    folded = FOLD.geometry(geometry)
    assert FOLD.weight(weight).shape == folded.weight_shape == (4, 24, 1, 1, 1)
    assert folded.output_shape == geometry.output_shape
