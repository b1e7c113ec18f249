"""Layers that some steps do not reach, and gradients of what does not exist yet."""

import lucid
from lucid import nn
import mlx.core as mx
from mlx.utils import tree_flatten, tree_map
import pytest

from tests.nn.test_lazy import assert_lazy, lazy


class Supervised(nn.Module):
    """A network whose auxiliary head the first steps do not reach."""

    def __init__(self):
        super().__init__()
        self.encoder, self.main, self.aux = lazy(), nn.LazyConv3d(1, 1), lazy()
        self.deep = False

    def forward(self, x):
        x = self.encoder(x)
        return self.main(x).mean() + (self.aux(x).mean() if self.deep else 0)


Y = lucid.ones(1, 2, 6, 6, 6)


def test_a_layer_that_no_step_reaches_is_named_once_and_not_trained():
    model = Supervised()
    step = nn.value_and_grad(model, lambda: model(Y))
    with pytest.warns(UserWarning, match=r"^aux: not reached.*optimizer\.init") as seen:
        _, grads = step()
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert {name.split(".")[0] for name, _ in tree_flatten(grads)} == {
        "encoder",
        "main",
    }
    step()  # no second warning: it would be an error here
    assert_lazy(model.aux)
    with pytest.raises(nn.UninitializedParameterError, match=": aux"):
        model.trainable_parameters()


def test_a_layer_joins_at_the_first_step_that_reaches_it():
    model = Supervised()
    step = nn.value_and_grad(model, lambda: model(Y))
    with pytest.warns(UserWarning, match="aux"):
        step()
    model.deep = True
    _, grads = step()
    assert grads["aux"]["weight"].shape == (4, 4, 3, 3, 3)
    assert nn.has_uninitialized_params(model) is False


def test_a_frozen_layer_that_no_step_reaches_needs_no_warning():
    model = Supervised()
    model.aux.freeze()
    nn.value_and_grad(model, lambda: model(Y))()
    assert_lazy(model.aux)


def test_joining_in_a_compiled_step_trains_as_in_a_plain_one():
    def train(compiled: bool):
        lucid.manual_seed(0)
        model, optimizer = Supervised(), lucid.optim.Adam(1e-2)
        grad = nn.value_and_grad(model, lambda: model(Y).square())
        losses = []

        def step():
            loss, grads = grad()
            optimizer.update(model, grads)
            return loss

        for model.deep in (False, True):
            state = [model.state, optimizer.state, mx.random.state]
            run = mx.compile(step, inputs=state, outputs=state) if compiled else step
            for _ in range(3):
                losses.append(run())
                mx.eval(state, losses)
        return [loss.item() for loss in losses], model.aux.weight

    with pytest.warns(UserWarning, match="aux"):
        losses, weight = train(compiled=True)
    with pytest.warns(UserWarning, match="aux"):
        expected, expected_weight = train(compiled=False)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert mx.allclose(weight, expected_weight, rtol=1e-4, atol=1e-6)


class Picky(nn.Module):
    """Decides by values, as early exits and gates do, what it reaches."""

    def __init__(self, threshold: float):
        super().__init__()
        self.first, self.second = nn.LazyConv3d(3, 1), nn.LazyConv3d(3, 1)
        self.threshold = threshold

    def forward(self, x):
        x = self.first(x)
        numbers.append(x.sum().item())
        return self.second(x) if numbers[-1] > self.threshold else x


numbers: list[float] = []


@pytest.mark.parametrize("threshold", [-1e9, 1e9])
def test_a_forward_that_evaluates_sees_the_numbers_of_the_call(threshold):
    numbers.clear()
    model = Picky(threshold)
    nn.value_and_grad(model, lambda: model(Y).sum())
    model(Y)
    assert len(numbers) == 2
    assert numbers[0] == numbers[1] != 0
    assert (model.second.weight is None) == (threshold > 0)


def test_a_layer_that_only_the_differentiated_run_reaches_is_an_error_by_name():
    model = Supervised()
    calls = []

    def loss():
        calls.append(1)
        model.deep = len(calls) == 2  # outside a module's reach, it seems
        return model(Y)

    object.__setattr__(model, "deep", False)
    step = nn.value_and_grad(model, loss)
    with (
        pytest.warns(UserWarning, match="aux"),
        pytest.raises(RuntimeError, match=r"LazyConv3d.*materialize"),
    ):
        step()
    assert_lazy(model.aux)


@pytest.mark.parametrize("cast", [lambda p: p, lambda p: p.astype(mx.float16)])
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_parameters_that_do_not_exist_are_an_error(cast, compiled):
    model = nn.Sequential(lazy())
    x = cast(lucid.ones(1, 2, 3, 3, 3))

    def loss(parameters):
        model.update(tree_map(cast, parameters))
        return model(x).sum()

    grad = mx.grad(loss)
    with pytest.raises(nn.UninitializedParameterError, match="materialize"):
        (mx.compile(grad) if compiled else grad)(model.parameters())
    nn.materialize(model, (1, 2, 3, 3, 3))
    assert mx.grad(loss)(model.parameters())["layers"][0]["weight"].size == 216
