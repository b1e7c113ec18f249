"""First calls, loads and training on several threads, each evaluating its own part."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import threading
import time

import lucid
from lucid import nn, optim
import mlx.core as mx
import mlx.nn
import numpy as np
import pytest

SHAPE = (1, 2, 5, 5, 5)


def ones(channels: int = 2) -> mx.array:
    return mx.array(np.ones((1, channels, 5, 5, 5), np.float32))


def elsewhere(work: Callable, *args):
    """What `work` returns on a thread of its own."""
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(work, *args).result()


def evaluated(model, x=None) -> list:
    y = model(ones() if x is None else x)
    mx.eval(y)
    return y.tolist()


def volley(work: Callable[[], object], count: int = 4) -> list:
    """What `work` returns on each of several threads that begin at once."""
    start = threading.Barrier(count)

    def begin():
        start.wait()
        return work()

    with ThreadPoolExecutor(count) as workers:
        return [each.result() for each in [workers.submit(begin) for _ in range(count)]]


class Branched(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.LazyConv3d(3, 3), mlx.nn.LayerNorm(3)
        self.branches = {"a": [nn.LazyConv3d(2, 1), nn.LazyConv3d(2, 1)]}
        self.unreached = nn.LazyConv3d(1, 1)

    def forward(self, x):
        x = self.norm(self.conv(x))
        return self.branches["a"][0](x) + self.branches["a"][1](x)


MODELS = {
    "layer": lambda: nn.LazyConv3d(3, 3),
    "sequential": lambda: nn.Sequential(nn.LazyConv3d(3, 3), nn.LazyConv3d(2, 1)),
    "mlx": lambda: mlx.nn.Sequential(nn.LazyConv3d(3, 3), nn.LazyConv3d(2, 1)),
    "branched": Branched,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_threads_that_make_one_first_call_get_the_same_right_numbers(make):
    for _ in range(5):
        model = make()
        if isinstance(model, Branched):
            mx.eval(model.norm.parameters())
        first, *others = volley(lambda model=model: evaluated(model))
        assert all(other == first for other in others)
        assert first == evaluated(model), "the same again, on this thread"


def test_threads_may_call_forward_and_materialize_too():
    model = nn.LazyConv3d(3, 3)
    volley(lambda: mx.eval(model.forward(ones())))
    assert model.in_channels == 2
    model = nn.Sequential(nn.LazyConv3d(3, 3))
    volley(lambda: nn.materialize(model, SHAPE) and None)
    assert evaluated(model) == elsewhere(evaluated, model)


def test_a_refused_call_on_one_thread_does_not_hinder_another():
    model = nn.Sequential(nn.LazyConv3d(3, 3), nn.LazyConv3d(2, 1))
    start, refused = threading.Barrier(2), []

    def call(x):
        start.wait()
        for _ in range(20):
            try:
                evaluated(model, x)
            except ValueError as error:
                refused.append(str(error))

    with ThreadPoolExecutor(2) as workers:
        for work in [workers.submit(call, x) for x in (ones(), ones()[0, 0])]:
            work.result()
    assert len(refused) == 20
    assert model[0].in_channels == 2


STATE = nn.Conv3d(2, 3, 3).state_dict()
mx.eval(STATE)


@pytest.mark.parametrize(
    "create",
    [
        lambda m: nn.materialize(m, SHAPE),
        lambda m: evaluated(m),
        lambda m: m.load_state_dict(STATE),
        lambda m: m.load_state_dict({"weight": STATE["weight"]}, strict=False),
        lambda m: m.update(STATE),
        lambda m: mx.eval(nn.value_and_grad(m, lambda: m(ones()).sum())()),
    ],
)
def test_weights_made_on_another_thread_are_good_on_every_thread(create):
    layer = nn.LazyConv3d(3, 3)
    elsewhere(lambda: create(layer) and None)
    assert evaluated(layer) == elsewhere(evaluated, layer)
    assert layer.in_channels == 2


def test_a_checkpoint_loaded_in_the_background_is_there(tmp_path):
    path = str(tmp_path / "layer.npz")
    source = nn.Conv3d(2, 3, 3)
    source.save_weights(path)
    for layer in (nn.LazyConv3d(3, 3), nn.Conv3d(2, 3, 3)):
        elsewhere(lambda layer=layer: layer.load_weights(path) and None)
        assert evaluated(layer) == evaluated(source)
        assert (layer.weight == source.weight).all()


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("what", [lambda m: m.parameters(), lambda m: m.state])
def test_a_model_built_here_trains_in_a_worker(what, cast):
    model = nn.Sequential(nn.LazyConv3d(3, 3), nn.ReLU(), nn.LazyConv3d(1, 1))
    if cast:
        model.half()
    x = ones().astype(mx.float16 if cast else mx.float32)
    mx.eval(x)

    def train():
        optimizer = optim.SGD(1e-2)
        step = nn.value_and_grad(model, lambda: (model(x) - 1).square().mean())
        losses = []
        for _ in range(5):
            loss, grads = step()
            optimizer.update(model, grads)
            mx.eval(what(model), optimizer.state)
            losses.append(loss.item())
        return losses

    losses = elsewhere(train)
    assert losses[-1] < losses[0]


def test_on_the_thread_that_built_the_layer_weights_stay_unevaluated():
    layer = nn.LazyConv3d(512, (9, 9, 9))
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    nn.materialize(layer, (1, 64, 9, 9, 9))  # 91 MiB of weights
    assert mx.get_peak_memory() - before < 2**20


def test_a_thread_is_not_taken_for_one_that_has_ended():
    layer = elsewhere(lambda: nn.LazyConv3d(3, 3))
    elsewhere(lambda: nn.materialize(layer, SHAPE) and None)
    evaluated(layer)


def test_an_error_does_not_keep_other_threads_waiting():
    model = nn.Sequential(nn.LazyConv3d(3, 9))
    with pytest.raises(ValueError, match="kernel_size"):
        model(ones())
    with pytest.raises(ValueError, match="kernel_size"):
        elsewhere(lambda: model(lucid.ones(1, 2, 5, 5, 5)))


def test_no_thread_loses_what_another_one_has_changed():
    class Diary(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.unreached = nn.LazyConv3d(3, 3), nn.LazyConv3d(1, 1)
            self.pages = []

        def forward(self, x):
            time.sleep(0.002)
            self.pages.append(1)
            time.sleep(0.002)
            return self.conv(x)

    for _ in range(5):
        model = Diary()
        volley(lambda model=model: evaluated(model))
        assert len(model.pages) == 4


def test_weights_that_another_thread_left_unevaluated_are_not_thrown_away():
    layer, x = nn.LazyConv3d(3, 3), ones()
    state = [layer.state, mx.random.state]
    expected = mx.compile(layer, inputs=state, outputs=state)(x)
    with pytest.raises(RuntimeError, match="Stream"):
        elsewhere(evaluated, layer)  # as of an eager layer
    assert layer.in_channels == 2
    assert evaluated(layer, x) == expected.tolist()
