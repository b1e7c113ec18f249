"""First calls inside MLX's transformations: right, or a clear error and no harm."""

from functools import partial
import threading

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import mlx.optimizers as optim
import pytest

X = lucid.ones(1, 2, 4, 4, 4)


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.LazyConv3d(4, 3, padding=1), mlx.nn.Dropout(0.3), nn.LazyConv3d(1, 1)
    )


def random_state_works() -> bool:
    return bool(mx.isfinite(mx.random.normal()).item())


def train(compiled: bool) -> tuple[list[float], dict[str, mx.array]]:
    lucid.manual_seed(1)
    model, optimizer = net(), optim.Adam(1e-2)
    grad = nn.value_and_grad(model, lambda x: model(x).square().mean())
    state = [model.state, optimizer.state, mx.random.state]

    def step(x):
        loss, grads = grad(x)
        optimizer.update(model, grads)
        return loss

    if compiled:
        step = mx.compile(step, inputs=state, outputs=state)
    losses = []
    for _ in range(4):
        loss = step(X)
        mx.eval(state, loss)
        losses.append(loss.item())
    return losses, model.state_dict()


def test_a_step_compiled_from_its_first_call_trains_as_the_plain_one():
    losses, weights = train(compiled=True)
    expected, expected_weights = train(compiled=False)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert len(set(losses)) == len(losses)
    for name, array in weights.items():
        assert mx.allclose(array, expected_weights[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("captured", ["nothing", "model"])
def test_compiled_first_calls_are_right_without_the_random_state(captured):
    layer = nn.LazyConv3d(4, 3)
    state = layer.state if captured == "model" else None
    call = mx.compile(lambda x: layer(x), inputs=state, outputs=state)
    y = call(X)
    assert (call(X) == y).all()
    assert mx.allclose(layer(X), y, atol=1e-6)
    assert random_state_works()


def test_capturing_the_random_state_alone_is_an_error_that_leaves_all_usable():
    layer = nn.LazyConv3d(4, 3)
    call = mx.compile(
        lambda x: layer(x), inputs=mx.random.state, outputs=mx.random.state
    )
    with pytest.raises(RuntimeError, match=r"capture model\.state"):
        call(X)
    assert layer.in_channels is None
    assert random_state_works()
    assert layer(X).shape == (1, 4, 2, 2, 2)


def test_weights_lost_with_a_trace_are_noticed_and_the_layer_is_lazy_again():
    layer = nn.LazyConv3d(4, 3, dtype="float16").freeze(keys="bias")
    x = X.astype(mx.float16)
    state = [layer.state, mx.random.state]
    call = mx.compile(lambda x: layer(x), inputs=state, outputs=mx.random.state)
    mx.eval(call(x))
    with pytest.raises(RuntimeError, match="lazy again"):
        layer(x)
    assert layer.weight is None
    assert layer.in_channels is None
    assert layer(x).dtype == mx.float16
    assert list(layer.trainable_parameters()) == ["weight"]


@pytest.mark.parametrize("bad", [lucid.ones(1, 2, 1, 4, 4), lucid.ones(2, 2)])
def test_a_refused_first_call_in_a_trace_leaves_model_and_random_state_usable(bad):
    model = net()
    state = [model.state, mx.random.state]
    call = mx.compile(lambda x: model(x[:, :, :, :1]), inputs=state, outputs=state)
    with pytest.raises((ValueError, IndexError)):
        call(bad[..., None])
    assert model[0].in_channels is None
    if bad.ndim == 5:
        assert random_state_works()
    mx.random.seed(0)
    assert model(X).shape == (1, 1, 4, 4, 4)


def test_checkpoint_of_a_first_call():
    layer = nn.LazyConv3d(4, 3)
    grad = mx.grad(lambda x: mx.checkpoint(lambda x: layer(x))(x).sum())(X)
    assert mx.allclose(grad, mx.grad(lambda x: layer(x).sum())(X), atol=1e-6)


def test_mlx_checkpoint_of_a_module_works_in_the_dry_run_and_asks_for_it_outside():
    layer = nn.LazyConv3d(4, 3)
    call = mlx.nn.utils.checkpoint(layer)
    with pytest.raises(nn.UninitializedParameterError, match="materialize"):
        call(X)
    _, grads = nn.value_and_grad(layer, lambda x: call(x).square().sum())(X)
    _, expected = nn.value_and_grad(layer, lambda x: layer(x).square().sum())(X)
    assert mx.allclose(grads["weight"], expected["weight"], rtol=1e-4)


def test_vmap_of_a_first_call():
    layer = nn.LazyConv3d(4, 3)
    xs = lucid.randn(3, 2, 4, 4, 4)
    assert mx.allclose(mx.vmap(lambda x: layer(x))(xs), layer(xs), atol=1e-5)
    assert layer.in_channels == 2


def test_gradient_with_respect_to_the_input_of_a_first_call():
    layer = nn.LazyConv3d(4, 3)
    grad = mx.grad(lambda x: layer(x).square().sum())(X)
    assert mx.allclose(grad, mx.grad(lambda x: layer(x).square().sum())(X))


def test_export_of_a_materialized_model(tmp_path):
    layer = nn.LazyConv3d(4, 3)
    y = layer(X)
    path = str(tmp_path / "layer.mlxfn")
    mx.export_function(path, lambda x: layer(x), X)
    assert mx.allclose(mx.import_function(path)(X)[0], y, atol=1e-6)


def test_a_first_call_in_another_thread():
    layer = nn.LazyConv3d(4, 3)

    def first_call():
        with mx.stream(mx.new_stream(mx.cpu)):
            mx.eval(layer(X), layer.parameters())

    worker = threading.Thread(target=first_call)
    worker.start()
    worker.join()
    assert layer.in_channels == 2
    assert layer(X).shape == (1, 4, 2, 2, 2)


def test_partial_application_compiles():
    layer = nn.LazyConv3d(4, 3)

    @partial(mx.compile, inputs=layer.state, outputs=layer.state)
    def loss(x):
        return layer(x).square().mean()

    assert loss(X).item() == pytest.approx(layer(X).square().mean().item(), rel=1e-5)


SHAPES = [(1, 16, 6, 8, 8), (2, 16, 6, 8, 8), (1, 16, 4, 6, 8)]


def test_a_compiled_model_is_right_for_each_new_shape():
    model = nn.Sequential(
        nn.Conv3d(16, 8, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.Conv3d(8, 16, 2, stride=2),
    )

    def loss(x):
        return nn.functional.mse_loss(model(x), mx.zeros(model(x).shape))

    compiled = mx.compile(loss)
    for shape in SHAPES:
        x = mx.random.normal(shape)
        assert mx.allclose(compiled(x), loss(x), rtol=1e-5).item()


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": 1, "padding_mode": "circular"},
        {"padding": "same", "groups": 4},
        {"stride": 2},
        {"dilation": 2, "padding": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_convolution_compiled_without_shapes_is_right_or_an_error(
    options, kernel_size
):
    """It is no promise; but a convolution gives no wrong numbers."""
    layer = nn.Conv3d(16, 16, kernel_size, **options)
    mx.eval(layer.parameters())
    with lucid.plain_operations():
        compiled = mx.compile(layer, shapeless=True)
        for shape in SHAPES:
            x = mx.random.normal(shape)
            try:
                got = compiled(x)
            except ValueError:
                continue
            want = layer(x)
            assert got.shape == want.shape
            assert mx.allclose(got, want, rtol=1e-4, atol=1e-5).item()
