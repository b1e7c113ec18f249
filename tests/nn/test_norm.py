"""Batch and instance norms: running statistics, their count, and the lazy twins."""

from __future__ import annotations

import copy

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import mlx.optimizers
import numpy as np
import pytest

from tests.oracle.tolerances import assert_close

TRACKING = {
    "batch": lambda: nn.BatchNorm3d(4),
    "instance": lambda: nn.InstanceNorm3d(4, affine=True, track_running_stats=True),
    "lazy batch": lambda: nn.LazyBatchNorm3d(),
    "lazy instance": lambda: nn.LazyInstanceNorm3d(),
}
of_every_norm = pytest.mark.parametrize("name", TRACKING)


def batches(count: int) -> list[mx.array]:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((count, 2, 4, 3, 4, 5)) + 3
    return list(mx.array(drawn.astype(np.float32)))


def statistics(name: str, x: mx.array) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of n - 1 of a batch, as the norm of this name takes them."""
    axes = (0, 2, 3, 4) if "batch" in name else (2, 3, 4)
    array = np.array(x, float)
    mean, var = array.mean(axes), array.var(axes, ddof=1)
    return (mean, var) if "batch" in name else (mean.mean(0), var.mean(0))


@of_every_norm
def test_running_statistics_move_a_tenth_of_the_way_at_each_batch(name):
    layer = TRACKING[name]()
    mean, var = np.zeros(4), np.ones(4)
    for x in batches(3):
        layer(x)
        new_mean, new_var = statistics(name, x)
        mean, var = 0.9 * mean + 0.1 * new_mean, 0.9 * var + 0.1 * new_var
    assert_close(layer.running_mean, mean, "mean")
    assert_close(layer.running_var, var, "variance")
    assert layer.num_batches_tracked.item() == (3 if "batch" in name else 0)


def test_without_momentum_they_are_the_mean_of_all_batches():
    layer = nn.BatchNorm3d(4, momentum=None)
    xs = batches(4)
    for x in xs:
        layer(x)
    means, variances = zip(*(statistics("batch", x) for x in xs), strict=True)
    assert_close(layer.running_mean, np.mean(means, 0), "mean")
    assert_close(layer.running_var, np.mean(variances, 0), "variance")


@of_every_norm
def test_a_step_moves_them_once_lazy_or_not_differentiated_or_not(name):
    (x,) = batches(1)
    plain, trained = TRACKING[name](), TRACKING[name]()
    plain(x)
    nn.value_and_grad(trained, lambda: trained(x).square().sum())()
    for key, array in plain.state_dict().items():
        assert mx.array_equal(trained.state_dict()[key], array), key


@of_every_norm
def test_a_dry_run_and_evaluation_leave_them(name):
    layer = TRACKING[name]()
    nn.materialize(layer, (2, 4, 3, 4, 5))
    layer.eval()(batches(1)[0])
    assert layer.running_mean.tolist() == [0] * 4
    assert layer.running_var.tolist() == [1] * 4
    assert layer.num_batches_tracked.item() == 0


@of_every_norm
def test_an_optimizer_step_leaves_them(name):
    layer = TRACKING[name]()
    (x,) = batches(1)
    layer(x)
    before = [mx.array(buffer) for _, buffer in layer.named_buffers()]
    grads = mx.grad(lambda p: (layer.update(p), layer.eval()(x).sum())[1])(
        layer.trainable_parameters()
    )
    mlx.optimizers.SGD(0.1).update(layer, grads)
    for (key, buffer), old in zip(layer.named_buffers(), before, strict=True):
        assert mx.array_equal(buffer, old), key


def test_a_batch_that_is_refused_is_not_counted():
    layer = nn.BatchNorm3d(4)
    for bad in (lucid.ones(1, 4, 1, 1, 1), lucid.ones(2, 3, 4, 4, 4)):
        with pytest.raises(ValueError, match="`input`"):
            layer(bad)
    assert layer.num_batches_tracked.item() == 0
    assert layer.running_mean.tolist() == [0] * 4


def test_an_empty_batch_is_counted_and_moves_nothing():
    layer = nn.BatchNorm3d(4)
    assert layer(lucid.ones(0, 4, 2, 2, 2)).shape == (0, 4, 2, 2, 2)
    assert layer.running_var.tolist() == [1] * 4
    assert layer.num_batches_tracked.item() == 1


@of_every_norm
def test_an_old_state_dict_without_the_count_loads_strictly(name):
    state = nn.BatchNorm3d(4).state_dict()
    if "instance" in name:
        state = TRACKING["instance"]().state_dict()
    del state["num_batches_tracked"]
    layer = TRACKING[name]()
    layer.load_state_dict(state)
    assert layer.num_batches_tracked.item() == 0
    assert layer.num_features == 4


def test_reset_running_stats_forgets():
    layer = nn.BatchNorm3d(4)
    layer(batches(1)[0])
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0] * 4
    assert layer.running_var.tolist() == [1] * 4
    assert layer.num_batches_tracked.item() == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_casting_casts_all_but_the_count(dtype):
    layer = nn.BatchNorm3d(4).to(dtype)
    dtypes = {array.dtype for _, array in layer.state_dict().items()}
    assert dtypes == {getattr(mx, dtype), mx.int64}
    y = layer(batches(1)[0].astype(getattr(mx, dtype)))
    assert y.dtype == layer.running_mean.dtype == getattr(mx, dtype)


def test_a_lazy_norm_reads_its_size_off_running_statistics_too():
    for eager, lazy in (
        (nn.BatchNorm3d(5, affine=False), nn.LazyBatchNorm3d(affine=False)),
        (
            nn.InstanceNorm3d(5, track_running_stats=True),
            nn.LazyInstanceNorm3d(affine=False),
        ),
    ):
        assert lazy.has_uninitialized_params()
        lazy.load_state_dict(eager.state_dict())
        assert not lazy.has_uninitialized_params()
        assert lazy.num_features == 5


def test_a_lazy_norm_without_arrays_blocks_nothing_and_learns_its_size():
    layer = nn.LazyInstanceNorm3d(affine=False, track_running_stats=False)
    model = nn.Sequential(nn.Conv3d(1, 4, 1), layer)
    assert not layer.has_uninitialized_params()
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    assert layer.num_features is None
    model(lucid.ones(1, 1, 2, 2, 2))
    assert layer.num_features == 4


@pytest.mark.parametrize("make", [nn.LazyBatchNorm3d, nn.LazyInstanceNorm3d])
@pytest.mark.parametrize(
    "bad",
    [
        lucid.ones(4, 4),
        lucid.ones(1, 4, 1, 1, 1),
        lucid.ones(2, 4, 3, 3, 3, dtype="int32"),
        lucid.ones(2, 0, 3, 3, 3),
    ],
    ids=lambda x: f"{x.shape} {x.dtype}",
)
@pytest.mark.parametrize("method", ["__call__", "forward"])
def test_a_refused_first_call_leaves_the_norm_lazy(make, bad, method):
    layer = make()
    with pytest.raises((TypeError, ValueError), match="`"):
        getattr(layer, method)(bad)
    assert layer.num_features is None
    assert layer.has_uninitialized_params()
    layer(lucid.ones(2, 3, 2, 2, 2))
    assert layer.num_features == 3


def test_a_float32_norm_in_a_half_network_keeps_its_statistics_in_float32():
    """In bfloat16 they would stop moving at two thirds of the way."""
    layer = nn.BatchNorm3d(2, momentum=0.01)
    x = lucid.full((1, 2, 2, 2, 2), 3.0).astype(mx.bfloat16)
    for _ in range(300):
        assert layer(x).dtype == mx.bfloat16
        mx.eval(layer.state)
    assert layer.running_mean.tolist() == pytest.approx([3 * (1 - 0.99**300)] * 2)


def test_what_is_asked_of_a_lazy_norm_before_is_honored_after():
    layer = nn.LazyBatchNorm3d().half().freeze(keys="weight").eval()
    twin = copy.deepcopy(layer)
    layer(lucid.ones(2, 3, 2, 2, 2, dtype="float16"))
    assert layer.weight.dtype == layer.running_var.dtype == mx.float16
    assert layer.num_batches_tracked.dtype == mx.int64
    assert list(layer.trainable_parameters()) == ["bias"]
    assert not layer.training
    assert twin.num_features is None


def test_buffers_are_not_trained_when_everything_is_unfrozen():
    layer = nn.BatchNorm3d(4).freeze().unfreeze()
    assert set(layer.trainable_parameters()) == {"weight", "bias"}
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in layer.named_buffers()] == [
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]


@pytest.mark.slow
def test_compiled_training_moves_them_once_a_step_from_the_first_call_on():
    def train(compiled: bool) -> dict[str, mx.array]:
        lucid.manual_seed(0)
        model = nn.Sequential(
            nn.LazyConv3d(4, 1), nn.LazyBatchNorm3d(), nn.ReLU(), nn.LazyConv3d(1, 1)
        )
        optimizer = lucid.optim.SGD(0.1)
        grad = nn.value_and_grad(model, lambda x: model(x).square().mean())
        state = [model.state, optimizer.state, mx.random.state]

        def step(x):
            loss, grads = grad(x)
            optimizer.update(model, grads)
            return loss

        if compiled:
            step = mx.compile(step, inputs=state, outputs=state)
        for x in batches(3):
            mx.eval(step(x), state)
        return model.state_dict()

    want, got = train(False), train(True)
    assert got["1.num_batches_tracked"].item() == 3
    for name, array in want.items():
        assert mx.allclose(got[name], array, rtol=1e-4, atol=1e-5), name
