"""A first call interrupted at each of its lines leaves nothing half done behind."""

import contextlib
import gc
from pathlib import Path
import signal
import sys
import threading

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import pytest

SOURCES = str(Path(nn.__file__).parent)
SHAPE = (1, 2, 4, 4, 4)
X = lucid.ones(*SHAPE)


class Interrupt(BaseException):
    """As KeyboardInterrupt is, but nobody else's."""


def interrupted_at(line: int, work) -> bool:
    """Interrupt `work` at the given one of the lines of lucid.nn that it runs."""
    seen = 0
    depth = threading.local()

    def trace(frame, event, _):
        nonlocal seen
        if not frame.f_code.co_filename.startswith(SOURCES):
            return None
        if event == "line" and not _leaves_a_with(frame, depth):
            seen += 1
            if seen == line:
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def _leaves_a_with(frame, depth) -> bool:
    """Whether a `with` line is met again, to release a lock: no signal comes there."""
    text = _line(frame.f_code.co_filename, frame.f_lineno)
    if not text.startswith("with "):
        return False
    key = id(frame)
    inside = depth.__dict__.setdefault("frames", {})
    if (key, frame.f_lineno) in inside:
        return True
    inside[key, frame.f_lineno] = frame
    return False


_lines: dict[str, list[str]] = {}


def _line(path: str, number: int) -> str:
    if path not in _lines:
        _lines[path] = Path(path).read_text().splitlines()
    return _lines[path][number - 1].strip()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.dropout = nn.LazyConv3d(3, 1), mlx.nn.Dropout(0.5)
        self.second = nn.LazyConv3d(2, 1)
        self.register_buffer("calls", mx.array(0))
        self.history = []

    def forward(self, x):
        self.calls = self.calls + 1
        self.history.append(1)
        return self.second(self.dropout(self.first(x)))


def contents(model) -> list:
    """All that the modules hold, the objects themselves."""
    return [
        (
            type(m),
            {**dict.copy(m)},
            {k: v for k, v in vars(m).items() if k != "_complete_in"},
        )
        for m in model.modules()
    ]


def same(one: list, other: list) -> bool:
    return all(
        kind is other_kind
        and all(
            old.keys() == new.keys() and all(old[k] is new[k] for k in old)
            for old, new in zip(pair, other_pair, strict=True)
        )
        for (kind, *pair), (other_kind, *other_pair) in zip(one, other, strict=True)
    )


WAYS = {
    "materialize": lambda m: nn.materialize(m, SHAPE),
    "summary": lambda m: lucid.summary(m, SHAPE),
    "call": lambda m: m(X),
    "value_and_grad": lambda m: nn.value_and_grad(m, lambda: m(X).sum())(),
    "load": lambda m: m.load_state_dict(
        {"first.weight": mx.ones((3, 2, 1, 1, 1)), "second.bias": mx.ones(2)},
        strict=False,
    ),
}


def first_layer_is_lazy(model) -> bool:
    return model.first.weight is model.first.in_channels is None


LINES = [
    pytest.param(range(1, 10**5, 37), id="some"),
    pytest.param(range(1, 10**5, 5), id="more", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("lines", LINES)
@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_at_any_line(way, lines):
    lucid.manual_seed(3)
    eager = nn.Sequential(nn.Conv3d(2, 3, 1), nn.Conv3d(3, 2, 1))
    outcomes = set()
    for line in lines:
        lucid.manual_seed(3)
        key, model = lucid.get_rng_state(), Net()
        before = contents(model)
        if not interrupted_at(line, lambda model=model: WAYS[way](model)):
            break
        outcomes.add(first_layer_is_lazy(model))
        if first_layer_is_lazy(model):
            assert same(contents(model), before), line
            assert (lucid.get_rng_state() == key).all(), line
            WAYS["materialize"](model)
        elif way == "load":
            continue
        # Whatever was interrupted, what exists is right, and the rest still works.
        assert (model.first.weight == eager[0].weight).all(), line
        assert (model.second.weight == eager[1].weight).all(), line
        assert model(X).shape == (1, 2, 4, 4, 4), line
    assert line > 1000
    assert True in outcomes
    assert False not in outcomes or way != "summary"
    assert_not_locked()


def assert_not_locked():
    """Another thread makes a first call."""
    done = threading.Event()

    def work():
        mx.eval(Net()(lucid.ones(*SHAPE)))
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(timeout=20)


@pytest.mark.parametrize("way", ["materialize", "summary", "value_and_grad"])
def test_signals_at_random_moments(way):
    def interrupt(*_):
        raise Interrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # Python ignores what is raised in a callback of its collector
    try:
        for i in range(50):
            model = Net()
            before = contents(model)
            with contextlib.suppress(Interrupt):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 5e-5 + i * 1e-4)
                    WAYS[way](model)
                finally:  # it fires once: here, or before
                    signal.setitimer(signal.ITIMER_REAL, 0)
            if first_layer_is_lazy(model):
                assert same(contents(model), before)
            else:
                assert model.second.weight is not None
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, handler)
    assert_not_locked()
