"""Lucid first: it loads a fast BLAS, which has to come before MLX.

The suite runs on the CPU, on a Mac too, so that it means the same everywhere;
`LUCID_TEST_DEVICE=gpu` runs it on the GPU. `LUCID_TEST_SEED=1` draws other numbers.
"""

import os

import lucid
from lucid import choice
from lucid.geometry import ConvGeometry
from lucid.ops.conv_grid import GRID
from lucid.ops.conv_patches import PATCHES
from lucid.ops.conv_plain import COLUMNS
from lucid.ops.conv_winograd import WINOGRAD
import mlx.core as mx
import pytest

os.environ.setdefault("LUCID_CACHE", "0")  # no test writes to the user's
_DEVICES = {"cpu": mx.cpu, "gpu": mx.gpu}
mx.set_default_device(mx.Device(_DEVICES[os.environ.get("LUCID_TEST_DEVICE", "cpu")]))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every run, and in every order of the tests."""
    lucid.manual_seed(int(os.environ.get("LUCID_TEST_SEED", "0")))


@pytest.fixture(params=["chosen", COLUMNS, GRID, WINOGRAD, PATCHES], ids=str)
def computed_by(request, monkeypatch) -> None:
    """A formulation that computes, on the CPU, everything that it can."""
    if request.param == "chosen":
        return
    choose = choice.choose_on_cpu

    def chosen(geometry: ConvGeometry, plain: bool) -> choice.Choice:
        padded_before = geometry.padding_mode != "zeros"
        given = geometry.without_padding if padded_before else geometry
        forced = choice.Choice.of(request.param, "the test wants it")
        return forced if request.param.fits(given) else choose(geometry, plain)

    monkeypatch.setattr(choice, "choose_on_cpu", chosen)
