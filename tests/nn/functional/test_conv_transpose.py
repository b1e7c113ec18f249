"""`F.conv_transpose3d`: the definition in float64, gradients, what it refuses."""

from __future__ import annotations

from typing import Any

import lucid
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle import uniform
from tests.oracle.tolerances import assert_close

# channels, groups, output channels a group, kernel, and the options
CASES: list[tuple[int, int, int, tuple[int, int, int], dict[str, Any]]] = [
    (3, 1, 2, (2, 2, 2), {"stride": 2}),
    (3, 1, 2, (3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    (4, 2, 3, (4, 4, 4), {"stride": 2, "padding": 1}),
    (3, 3, 1, (3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    (4, 2, 2, (2, 2, 2), {"stride": 2}),
    (2, 1, 3, (1, 1, 1), {}),
    (2, 1, 3, (1, 2, 3), {"stride": (3, 2, 4), "output_padding": (2, 0, 3)}),
    (2, 1, 2, (3, 2, 1), {"dilation": (2, 3, 1), "padding": (1, 0, 0)}),
    # As much output padding as the dilation allows: beyond every voxel's kernel.
    (2, 1, 2, (2, 2, 2), {"dilation": (3, 4, 2), "output_padding": (2, 3, 1)}),
    (2, 1, 2, (3, 3, 3), {"padding": (2, 2, 1)}),
]


def expected(
    x: np.ndarray,
    weight: np.ndarray,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> np.ndarray:
    """Each voxel spreads its channels' kernels over the output."""
    stride, padding, output_padding, dilation = (
        (value,) * 3 if isinstance(value, int) else value
        for value in (stride, padding, output_padding, dilation)
    )
    kernel, per_group = weight.shape[2:], weight.shape[1]
    whole = [
        (n - 1) * s + t * (k - 1) + 1 + more
        for n, s, t, k, more in zip(
            *(x.shape[2:], stride, dilation, kernel, output_padding), strict=True
        )
    ]
    y = np.zeros((len(x), groups, per_group, *whole))
    split = x.astype(float).reshape(len(x), groups, -1, *x.shape[2:])
    taps = weight.astype(float).reshape(groups, -1, per_group, *kernel)
    for tap in np.ndindex(kernel):
        places = tuple(
            slice(i * t, i * t + (n - 1) * s + 1, s)
            for i, t, n, s in zip(tap, dilation, x.shape[2:], stride, strict=True)
        )
        matrix = taps[(..., *tap)]  # (g, C/g, O/g)
        y[(..., *places)] += np.einsum("ngcdhw,gco->ngodhw", split, matrix)
    window = (slice(p, n - p) for p, n in zip(padding, whole, strict=True))
    return y.reshape(len(x), -1, *whole)[(slice(None), slice(None), *window)]


@pytest.mark.parametrize(
    ("channels", "groups", "per_group", "kernel", "options"), CASES, ids=str
)
def test_output_and_gradients_equal_the_definition(
    channels, groups, per_group, kernel, options
):
    rng = np.random.default_rng(0)
    x = uniform(rng, (2, channels, 3, 4, 2))
    weight = uniform(rng, (channels, per_group, *kernel))
    bias = uniform(rng, (groups * per_group,))
    want = expected(x, weight, groups=groups, **options)
    dy = uniform(rng, want.shape)
    (got,), gradients = mx.vjp(
        lambda x, w, b: F.conv_transpose3d(x, w, b, groups=groups, **options),
        [mx.array(x), mx.array(weight), mx.array(bias)],
        [mx.array(dy)],
    )
    assert_close(got, want + bias.reshape(-1, 1, 1, 1), "output")
    # Linear in each, so that <y(x), dy> = <x, dx> for every x: here a random one.
    for i, name in enumerate(("dx", "dw")):
        given = [x, weight]
        given[i] = uniform(rng, given[i].shape)
        inner = (expected(*given, groups=groups, **options) * dy).sum()
        ours = (np.array(gradients[i], float) * given[i]).sum()
        assert ours == pytest.approx(inner, rel=1e-5), name
    assert_close(gradients[2], dy.sum(axis=(0, 2, 3, 4), dtype=float), "db")


def test_it_is_the_gradient_of_the_convolution():
    x, weight = lucid.randn(2, 3, 5, 6, 4), lucid.randn(4, 3, 3, 3, 3)
    options = {"stride": 2, "padding": 1}
    dy = lucid.randn(2, 4, 3, 3, 2)
    _, (want,) = mx.vjp(lambda x: F.conv3d(x, weight, **options), [x], [dy])
    got = F.conv_transpose3d(dy, weight, output_padding=(0, 1, 1), **options)
    assert_close(got, want, "dx")


@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 1, "dilation": 3}])
def test_an_empty_batch_and_a_volume_alone(options):
    x, weight = lucid.randn(2, 3, 4, 5), lucid.randn(2, 3, 2, 2, 2)
    alone = F.conv_transpose3d(x, weight, **options)
    assert mx.array_equal(alone, F.conv_transpose3d(x[None], weight, **options)[0])
    none = lucid.zeros(0, *x.shape)
    dx, dw = mx.grad(lambda x, w: F.conv_transpose3d(x, w, **options).sum(), (0, 1))(
        none, weight
    )
    assert (dx.shape, dw.shape) == (none.shape, weight.shape)
    assert (dw == 0).all()


def test_plain_operations_can_be_exported(tmp_path):
    x, weight = lucid.randn(1, 3, 4, 5, 4), lucid.randn(3, 2, 2, 2, 2)
    path = str(tmp_path / "up.mlxfn")
    with lucid.plain_operations():
        mx.export_function(path, lambda x: F.conv_transpose3d(x, weight, stride=2), x)
    (got,) = mx.import_function(path)(x)
    assert_close(got, F.conv_transpose3d(x, weight, stride=2), "output")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": (1, 3, 4, 4, 4)}, "`input` has 3 channels"),
        ({"input": (1, 2, 4, 4)}, "`input` has 1 channels"),
        ({"input": (2, 4, 4)}, "`input` must be 5-D"),
        ({"input": (1, 2, 0, 4, 4)}, "`input` must have at least one"),
        ({"weight": (2, 3, 3, 3)}, "`weight` must be 5-D"),
        ({"weight": (2, 0, 3, 3, 3)}, "`weight` has an empty axis"),
        ({"bias": (2,)}, r"`bias` must have shape \(3,\)"),
        ({"stride": 0}, "`stride`"),
        ({"padding": -1}, "`padding`"),
        ({"padding": 5}, "`padding` .* leaves an output of size"),
        ({"output_padding": 1}, "`output_padding` .* must be less than `stride`"),
        ({"output_padding": (1, 1, 2), "stride": 2}, "`output_padding`"),
        ({"output_padding": -1}, "`output_padding`"),
        ({"groups": 3}, r"`groups` \(=3\) must divide `in_channels`"),
        ({"dilation": 0}, "`dilation`"),
        ({"stride": 2**30}, "more than this machine can hold"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(changes, message):
    arguments = {"input": (1, 2, 4, 4, 4), "weight": (2, 3, 3, 3, 3)} | changes
    given = {
        name: lucid.ones(value) if name in ("input", "weight", "bias") else value
        for name, value in arguments.items()
    }
    with pytest.raises(ValueError, match=message):
        F.conv_transpose3d(**given)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"input": np.ones((1, 2, 4, 4, 4))}, "input"),
        ({"input": mx.ones((1, 2, 4, 4, 4), mx.float16)}, "input"),
        ({"weight": None}, "weight"),
        ({"bias": mx.ones(3, mx.float16)}, "bias"),
        ({"padding": "same"}, "padding"),
        ({"output_padding": 0.5}, "output_padding"),
    ],
    ids=str,
)
def test_a_wrong_type_is_refused_by_name(changes, name):
    arguments = {
        "input": lucid.ones(1, 2, 4, 4, 4),
        "weight": lucid.ones(2, 3, 3, 3, 3),
    }
    with pytest.raises(TypeError, match=f"`{name}` "):
        F.conv_transpose3d(**{**arguments, **changes})
