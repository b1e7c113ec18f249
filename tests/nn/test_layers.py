"""What all layers have in common, asked of every row of `tests/layers.py`."""

from __future__ import annotations

import contextlib
import copy
import pickle
from typing import Any

import lucid
from lucid import nn
import mlx.core as mx
from mlx.utils import tree_flatten
import numpy as np
import pytest

from tests.layers import FAMILIES, REFUSED, ROWS
from tests.metal_emulator.emulation import emulated_metal
from tests.oracle.tolerances import as_float64, distance
from tests.rows import Row, outputs

HALVES = [mx.float16, mx.bfloat16]
# A few roundings of 11 and of 8 significant bits.
HALF_BOUND = {mx.float16: 4e-3, mx.bfloat16: 3e-2}

# Compiling and emulating a GPU take a C++ compiler's time: one row a family.
FIRST_OF_EACH_FAMILY = [family[0] for family in FAMILIES.values()]
ONE_A_FAMILY = [
    pytest.param(row, id=str(row))
    if row in FIRST_OF_EACH_FAMILY
    else pytest.param(row, id=str(row), marks=pytest.mark.slow)
    for row in ROWS
]

of_every_row = pytest.mark.parametrize("row", ROWS, ids=str)


def tensors(row: Row, dtype: mx.Dtype = mx.float32, seed: int = 0) -> list[mx.array]:
    """The row's inputs, the floating ones cast."""
    return [
        mx.array(a).astype(dtype) if a.dtype.kind == "f" else mx.array(a)
        for a in row.draw(seed)
    ]


def evaluating(row: Row) -> Any:
    """The row's layer, made sure not to be random."""
    return row.layer().eval()


def assert_equal(got: Any, want: Any) -> None:
    for a, b in zip(outputs(got), outputs(want), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert mx.array_equal(a, b, equal_nan=True)


def assert_near(got: Any, want: Any, bound: float = 2e-6) -> None:
    for a, b in zip(outputs(got), outputs(want), strict=True):
        assert distance(a, b) <= bound


def loss(row: Row, layer: Any, xs: list[mx.array]) -> mx.array:
    """A number that depends on every output in its own way, and not linearly."""
    y = outputs(layer(*xs))[0].astype(mx.float32)
    own = mx.array(np.cos(np.arange(y.size)), mx.float32).reshape(y.shape)
    return (y * (own + 0.3 * y)).sum()


def gradients(row: Row, layer: Any, xs: list[mx.array]) -> list[mx.array]:
    """Of the loss, for the differentiable inputs, then for the parameters."""
    where = row.differentiable()

    def of_inputs(chosen: list[mx.array]) -> mx.array:
        given = dict(enumerate(xs)) | dict(zip(where, chosen, strict=True))
        return loss(row, layer, list(given.values()))

    found = []
    if where:
        found += mx.grad(of_inputs)([xs[i] for i in where])
    if tree_flatten(layer.trainable_parameters()):
        _, grads = nn.value_and_grad(layer, lambda: loss(row, layer, xs))()
        found += [array for _, array in tree_flatten(grads)]
    return found


@of_every_row
def test_the_dtype_of_the_input_is_kept_and_half_types_lose_little(row):
    for dtype in HALVES:
        layer = evaluating(row).to(dtype)
        xs = tensors(row, dtype)
        exact = copy.deepcopy(layer).float()
        y = layer(*xs)
        want = exact(*[x.astype(mx.float32) if x.dtype == dtype else x for x in xs])
        for a, b in zip(outputs(y), outputs(want), strict=True):
            assert a.dtype == (dtype if b.dtype == mx.float32 else b.dtype)
        assert_near(outputs(y)[0], outputs(want)[0], HALF_BOUND[dtype])
        before = {name: a.dtype for name, a in layer.state_dict().items()}
        layer.train()(*xs)
        assert {name: a.dtype for name, a in layer.state_dict().items()} == before


@of_every_row
def test_the_state_dict_makes_another_layer_the_same(row, tmp_path):
    layer, other = evaluating(row), row.layer(seed=1).eval()
    lucid.save(layer.state_dict(), tmp_path / "layer.npz")
    other.load_state_dict(lucid.load(tmp_path / "layer.npz"))
    assert list(other.state_dict()) == list(layer.state_dict())
    assert_equal(other(*tensors(row)), layer(*tensors(row)))


@of_every_row
def test_evaluation_is_the_same_twice_and_leaves_the_state_and_random_state(row):
    layer = evaluating(row)
    before, key = layer.state_dict(), lucid.get_rng_state()
    assert_equal(layer(*tensors(row)), layer(*tensors(row)))
    assert mx.array_equal(lucid.get_rng_state(), key)
    for name, array in layer.state_dict().items():
        assert mx.array_equal(array, before[name]), name


@of_every_row
def test_training_repeats_from_the_same_seed_and_trains_no_buffer(row):
    results = []
    for _ in range(2):
        lucid.manual_seed(5)
        layer = row.layer()
        y = layer(*tensors(row))
        results.append([*outputs(y), *layer.state_dict().values()])
    assert_equal(*results)
    trained = {name for name, _ in tree_flatten(layer.trainable_parameters())}
    assert not trained & {name for name, _ in layer.named_buffers()}


@pytest.mark.parametrize("row", [row for row in ROWS if row.unbatched], ids=str)
def test_a_volume_alone_is_as_in_a_batch(row):
    layer, xs = evaluating(row), tensors(row)
    batch = outputs(layer(*[x[:1] for x in xs]))
    assert_near(layer(*[x[0] for x in xs]), [y[0] for y in batch])


@pytest.mark.parametrize("row", [row for row in ROWS if row.empty], ids=str)
def test_a_batch_of_none_gives_none_and_has_gradients(row):
    layer = evaluating(row)
    xs = [x[:0] for x in tensors(row)]
    for y, full in zip(outputs(layer(*xs)), outputs(layer(*tensors(row))), strict=True):
        assert (y.shape, y.dtype) == ((0, *full.shape[1:]), full.dtype)
    found = gradients(row, layer, xs)
    assert all((gradient == 0).all() for gradient in found)
    parameters = [array for _, array in tree_flatten(layer.trainable_parameters())]
    inputs = [xs[i] for i in row.differentiable()]
    shapes = [array.shape for array in (*inputs, *parameters)]
    assert [gradient.shape for gradient in found] == shapes


@pytest.mark.parametrize("row", ONE_A_FAMILY)
def test_compiled_training_is_as_plain(row):
    plain, compiled = row.layer(), row.layer()
    function = mx.compile(
        lambda *xs: compiled(*xs),
        inputs=[compiled.state, mx.random.state],
        outputs=[compiled.state, mx.random.state],
    )
    for step in range(2):
        xs = tensors(row, seed=step)
        key = lucid.get_rng_state()
        want = plain(*xs)
        lucid.set_rng_state(key)
        assert_near(function(*xs), want, 1e-5)
    for name, array in compiled.state_dict().items():
        assert_near(array, plain.state_dict()[name], 1e-5)


@of_every_row
def test_vmap_is_a_loop(row):
    layer = evaluating(row)
    batches = [tensors(row, seed=seed) for seed in range(3)]
    stacked = [mx.stack(xs) for xs in zip(*batches, strict=True)]
    got = outputs(mx.vmap(lambda *xs: layer(*xs))(*stacked))
    want = [outputs(layer(*xs)) for xs in batches]
    assert_near(got, [mx.stack(ys) for ys in zip(*want, strict=True)], 1e-5)


@of_every_row
def test_forward_mode_derivatives_agree_with_gradients(row):
    layer, xs = evaluating(row), tensors(row)
    # MLX has none of its own convolution.
    is_convolution = row in FAMILIES["convolutions"]
    with lucid.plain_operations() if is_convolution else contextlib.nullcontext():
        for i in row.differentiable():

            def function(x, i=i):
                return outputs(layer(*xs[:i], x, *xs[i + 1 :]))[0]

            rng = np.random.default_rng(1)
            along = mx.array(rng.uniform(0.5, 1.5, xs[i].shape).astype(np.float32))
            (y,), (forward,) = mx.jvp(function, [xs[i]], [along])
            across = mx.array(rng.uniform(0.5, 1.5, y.shape).astype(np.float32))
            _, (backward,) = mx.vjp(function, [xs[i]], [across])
            one, other = as_float64(forward * across), as_float64(backward * along)
            assert abs(one.sum() - other.sum()) <= 1e-5 * np.abs(other).sum()


@of_every_row
def test_checkpoint_changes_no_gradient(row):
    layer, xs = evaluating(row), tensors(row)
    call = mx.checkpoint(lambda *xs: layer(*xs))
    for i in row.differentiable():
        got, want = (
            mx.grad(lambda *xs, f=f: loss(row, f, list(xs)), i)(*xs)
            for f in (call, layer)
        )
        assert_near(got, want)


@of_every_row
def test_plain_operations_can_be_exported_and_give_the_same(row, tmp_path):
    layer, xs = evaluating(row), tensors(row)
    want = [*outputs(layer(*xs)), *gradients(row, layer, xs)]
    path = str(tmp_path / "layer.mlxfn")
    with lucid.plain_operations():
        mx.export_function(path, lambda *xs: layer(*xs), *xs)
        got = [*mx.import_function(path)(*xs), *gradients(row, layer, xs)]
    assert_near(got, want, 1e-5)


@of_every_row
def test_copies_and_pickles_are_the_same_and_independent(row):
    layer, xs = evaluating(row), tensors(row)
    want = layer(*xs)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(twin) == repr(layer)
        assert twin.training == layer.training
        assert_equal(twin(*xs), want)
        twin.load_state_dict(
            {name: mx.zeros_like(a) for name, a in twin.state_dict().items()}
        )
        assert_equal(layer(*xs), want)


@of_every_row
def test_a_summary_knows_the_output_and_computes_nothing(row):
    layer, xs = row.layer(), tensors(row)
    before = layer.state_dict()
    entries = lucid.summary(layer, *xs).layers
    innermost = [type(child).__name__ for child in layer.children()] or [row.name]
    assert {entry.type for entry in entries} <= set(innermost)
    assert entries[0].output_shape == outputs(layer.eval()(*xs))[0].shape
    own = sum(a.size for _, a in layer.named_parameters())
    assert sum(entry.parameters for entry in entries) == own
    for name, array in layer.state_dict().items():
        assert mx.array_equal(array, before[name]), name


@of_every_row
def test_second_gradients_are_the_slopes_of_the_first(row):
    """In float32, so coarsely; the oracle's test has them in float64."""
    for training in row.modes():
        layer, xs = row.layer().train(training), tensors(row)
        for i in row.differentiable():
            along = np.random.default_rng(1).uniform(-1e-3, 1e-3, xs[i].shape)
            step = mx.array(along.astype(np.float32))
            gradient = mx.grad(lambda *xs, f=layer: loss(row, f, list(xs)), i)

            def at(x, i=i, xs=xs, gradient=gradient):
                return gradient(*xs[:i], x, *xs[i + 1 :])

            got = mx.grad(lambda x, at=at, step=step: (at(x) * step).sum())(xs[i])
            after, before = as_float64(at(xs[i] + step)), as_float64(at(xs[i] - step))
            scale = max(np.abs(after - before).max() / 2, 1e-3 * np.abs(after).max())
            off = np.abs(as_float64(got) - (after - before) / 2).max()
            assert off <= 2e-2 * scale


@pytest.mark.parametrize("row", [row for row in ROWS if row.lazy is not None], ids=str)
def test_the_lazy_twin_is_the_eager_layer_bit_for_bit(row):
    results = []
    for make in (
        row.lazy_layer,
        lambda: getattr(nn, row.name)(*row.arguments, **row.options),
    ):
        lucid.manual_seed(7)
        layer = make()
        ys = [*outputs(layer(*tensors(row))), *outputs(layer(*tensors(row, seed=1)))]
        results.append([*ys, *layer.state_dict().values(), lucid.get_rng_state()])
        assert not nn.has_uninitialized_params(layer)
    assert_equal(*results)


@pytest.mark.parametrize("row", [row for row in ROWS if row.lazy is not None], ids=str)
def test_the_lazy_twin_learns_its_sizes_from_a_state_dict(row):
    eager, layer = evaluating(row), row.lazy_layer().eval()
    layer.load_state_dict(eager.state_dict())
    assert not nn.has_uninitialized_params(layer)
    assert list(layer.state_dict()) == list(eager.state_dict())
    assert_equal(layer(*tensors(row)), eager(*tensors(row)))


@pytest.mark.slow
@of_every_row
def test_a_gpu_gives_what_the_cpu_gives(row):
    layer, xs = evaluating(row), tensors(row)
    want = [*outputs(layer(*xs)), *gradients(row, layer, xs)]
    with emulated_metal():
        got = [*outputs(layer(*xs)), *gradients(row, layer, xs)]
    assert_near(got, want, 1e-5)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_is_wrong_is_refused_by_name(case):
    def attempt() -> None:
        layer = getattr(nn, case.name)(*case.arguments, **case.options)
        if case.shapes is not None:
            layer(*[lucid.ones(shape) for shape in case.shapes])

    with pytest.raises(case.error, match=case.says):
        attempt()
