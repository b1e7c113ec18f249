"""Which formulation computes which geometry."""

from __future__ import annotations

from typing import Any
from unittest import mock

import lucid
from lucid import dispatch
from lucid.geometry import ConvGeometry
import lucid.nn.functional as F
import mlx.core as mx
import pytest

from tests.oracle.direct import triple


def geometry_of(
    c: int, o: int, groups: int = 1, size: Any = 24, kernel: Any = 3, **changes: Any
) -> ConvGeometry:
    fields = {
        "batch": 1,
        "in_channels": c,
        "out_channels": o,
        "input_size": triple(size),
        "kernel_size": triple(kernel),
        "stride": (1, 1, 1),
        "padding": ((1, 1),) * 3,
        "dilation": (1, 1, 1),
        "groups": groups,
        "padding_mode": "zeros",
    }
    return ConvGeometry(**{**fields, **changes})


NONE = ((0, 0),) * 3
WIDE = ((3, 3), (1, 1), (1, 1))  # a whole kernel's span before the depth
CHOICES = [
    ("plain", geometry_of(4, 8, size=8)),
    ("plain", geometry_of(8, 8, 8, size=13)),
    ("plain", geometry_of(64, 64, kernel=1, padding=NONE)),
    ("plain", geometry_of(32, 32, batch=0)),
    ("native", geometry_of(4, 8, size=8, batch=16)),
    ("native", geometry_of(4, 8, size=18)),
    ("native widening", geometry_of(4, 16, size=18)),
    ("grid", geometry_of(16, 4, size=20)),
    ("grid", geometry_of(4, 8, size=28)),
    ("native widening", geometry_of(4, 16, size=28)),
    ("native widening", geometry_of(2, 16, size=53)),
    ("widening", geometry_of(2, 16, size=54)),
    ("widening", geometry_of(1, 16, size=28)),
    ("grid", geometry_of(4, 15, size=28)),
    ("grid", geometry_of(31, 31)),
    ("native", geometry_of(32, 64)),
    ("native", geometry_of(32, 64, padding_mode="circular")),
    ("grid", geometry_of(32, 32, padding=((0, 3), (0, 0), (0, 0)))),
    ("native", geometry_of(32, 32, padding=((0, 3),) * 3, padding_mode="circular")),
    ("widening", geometry_of(8, 32, dilation=(1, 2, 1))),
    ("grid", geometry_of(8, 32, padding=WIDE)),
    ("grid", geometry_of(32, 32, dilation=(1, 2, 1))),
    ("grid", geometry_of(16, 16, stride=(1, 1, 2))),
    ("grid", geometry_of(64, 64, stride=(1, 2, 2))),
    ("columns", geometry_of(64, 64, stride=(2, 2, 2))),
    ("columns", geometry_of(64, 64, kernel=(3, 2, 2), stride=(1, 2, 2))),
    ("columns", geometry_of(64, 64, kernel=(2, 2, 4), stride=(2, 2, 1))),
    ("grid", geometry_of(64, 64, kernel=4, stride=(2, 2, 2))),
    ("grid", geometry_of(64, 64, size=48, stride=(2, 2, 2), padding=WIDE)),
    (
        "grid",
        geometry_of(
            16, 16, size=48, kernel=(1, 2, 2), padding=((0, 0), (1, 1), (1, 1))
        ),
    ),
    # Four planes of columns at a time are 32 MiB at most.
    ("columns", geometry_of(75, 64, size=63, stride=(2, 2, 2))),
    ("grid", geometry_of(76, 64, size=63, stride=(2, 2, 2))),
    ("widening", geometry_of(8, 32, size=(8, 98, 98))),
    ("grid", geometry_of(8, 32, size=(8, 100, 100))),
    ("native widening", geometry_of(8, 32, size=(3, 100, 100))),
    # A grid of zeros for the most part: dilated by nearly the size.
    ("native", geometry_of(64, 64, size=8, batch=4)),
    ("plain", geometry_of(64, 64, size=16, dilation=(6,) * 3, padding=((6, 6),) * 3)),
    ("grid", geometry_of(64, 64, size=16, dilation=(5,) * 3, padding=((5, 5),) * 3)),
    ("plain native", geometry_of(512, 2, size=4, kernel=4, padding=NONE, batch=32)),
    # More than MLX can index.
    ("plain", geometry_of(16, 16, 2, size=290, batch=2)),
    ("plain", geometry_of(1, 4, size=900)),
    ("grid", geometry_of(16, 16, groups=2)),
    ("widening", geometry_of(16, 64, groups=2)),
    ("grid", geometry_of(32, 32, 32)),
    ("grid", geometry_of(16, 64, 16)),
    ("widening", geometry_of(16, 80, 16)),
    ("columns", geometry_of(16, 32, 16, size=48, stride=(2, 2, 2))),
    ("widening", geometry_of(1, 16, size=48)),
    ("winograd", geometry_of(32, 32, size=32)),
    ("winograd", geometry_of(32, 32, size=32, padding_mode="replicate")),
    (
        "winograd",
        geometry_of(
            64, 32, size=32, kernel=(3, 1, 5), padding=((1, 1), (0, 0), (2, 2))
        ),
    ),
    ("grid", geometry_of(32, 32, size=31, kernel=(3, 1, 3))),
    ("native", geometry_of(32, 32, size=32, kernel=(2, 3, 3))),
    ("grid", geometry_of(32, 32, size=48, kernel=(2, 3, 3))),
    ("grid", geometry_of(32, 32, size=32, padding=((3, 0), (1, 1), (1, 1)))),
    ("widening", geometry_of(15, 64, size=48)),
    ("grid", geometry_of(128, 32, size=(2, 64, 64))),
    ("winograd", geometry_of(128, 32, size=(3, 64, 64))),
    ("grid", geometry_of(128, 32, size=(5, 64, 64))),
    ("winograd", geometry_of(128, 32, size=(5, 66, 66), padding=NONE)),
    ("winograd", geometry_of(128, 32, size=(6, 64, 64))),
]
PLAIN_CHOICES = [
    ("plain native", geometry_of(16, 16)),
    ("plain native", geometry_of(64, 64, size=48, padding_mode="reflect")),
    ("plain", geometry_of(15, 16)),
    ("plain", geometry_of(16, 16, groups=2)),
    ("plain", geometry_of(16, 16, stride=(1, 2, 1))),
    ("plain", geometry_of(16, 16, size=8)),
]


@pytest.mark.parametrize(("name", "geometry"), CHOICES)
def test_the_choice_on_the_cpu(name, geometry):
    assert dispatch.choose_on_cpu(geometry) == name


@pytest.mark.parametrize(("name", "geometry"), PLAIN_CHOICES)
def test_plain_operations_take_no_derivative_of_lucids(name, geometry):
    with lucid.plain_operations():
        assert dispatch.choose_on_cpu(geometry) == name
    if name == "plain native" or geometry.input_size[0] > 8:
        assert not dispatch.choose_on_cpu(geometry).startswith("plain")


def test_huge_volumes_build_and_differentiate():
    """More voxels than the flat grid may have; nothing is evaluated."""
    x, w = mx.zeros((2, 16, 290, 290, 290)), mx.zeros((16, 8, 3, 3, 3))
    gradients = mx.grad(lambda x, w: F.conv3d(x, w, groups=2).sum(), (0, 1))(x, w)
    assert [g.shape for g in gradients] == [x.shape, w.shape]


def test_plain_operations_end_with_an_exception_too():
    depthwise = geometry_of(32, 32, 32)
    with pytest.raises(KeyError), lucid.plain_operations():
        raise KeyError
    assert dispatch.choose_on_cpu(depthwise) == "grid"


def test_a_call_takes_the_formulation_that_was_chosen(monkeypatch):
    x, w = mx.zeros((1, 4, 8, 8, 8)), mx.zeros((4, 4, 3, 3, 3))
    want = F.conv3d(x, w)
    for name in dispatch._CPU:
        spy = mock.Mock(side_effect=dispatch._CPU[name])
        monkeypatch.setattr(dispatch, "choose_on_cpu", lambda _, name=name: name)
        monkeypatch.setitem(dispatch._CPU, name, spy)
        assert mx.array_equal(F.conv3d(x, w), want)
        spy.assert_called_once()


@pytest.mark.parametrize("groups", [16, 1])
def test_what_mlx_refuses_works_with_plain_operations(monkeypatch, tmp_path, groups):
    monkeypatch.setattr(dispatch, "LARGE", 0)
    monkeypatch.setattr(dispatch, "SMALL", 0)
    x, w = (
        mx.random.uniform(shape=(1, 16, 6, 5, 6)),
        mx.ones((16, 16 // groups, 3, 3, 3)),
    )
    mx.eval(x, w)
    file = str(tmp_path / "conv.mlxfn")

    def conv(x: mx.array) -> mx.array:
        return F.conv3d(x, w, padding=1, groups=groups)

    with pytest.raises(ValueError, match="CustomTransforms"):
        mx.export_function(file, conv, x)
    with lucid.plain_operations():
        mx.export_function(file, conv, x)
    (got,) = mx.import_function(file)(x)
    assert mx.allclose(got, conv(x), rtol=1e-5)
