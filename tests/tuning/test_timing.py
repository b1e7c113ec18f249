"""A race is decided by the clock, which here tells what the test wants."""

from __future__ import annotations

from collections.abc import Callable

from lucid.tuning import timing
import mlx.core as mx
import pytest


class Stopwatch:
    """A clock that only runs while something planted takes its time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: dict[str, int] = {}

    def __call__(self) -> float:
        return self.now

    def taking(self, name: str, milliseconds: float) -> Callable[..., list[mx.array]]:
        """A run of this length."""

        def run(*arrays: mx.array) -> list[mx.array]:
            self.now += milliseconds / 1000
            self.calls[name] = self.calls.get(name, 0) + 1
            return [array + 1 for array in arrays]

        return run


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    watch = Stopwatch()
    monkeypatch.setattr(timing, "clock", watch)
    return watch


ARRAYS = [mx.zeros(3), mx.ones(2)]


def test_every_run_has_its_time(stopwatch):
    runs = {name: stopwatch.taking(name, ms) for name, ms in [("a", 5), ("b", 3)]}
    assert timing.race(runs, ARRAYS) == pytest.approx({"a": 5, "b": 3})


def test_the_least_of_several_counts(stopwatch):
    lengths = iter([9, 9, 4, 7, 8, *[6] * 100])

    def uneven(*arrays: mx.array) -> list[mx.array]:
        return stopwatch.taking("uneven", next(lengths))(*arrays)

    times = timing.race({"uneven": uneven, "b": stopwatch.taking("b", 5)}, ARRAYS)
    assert times == pytest.approx({"uneven": 4, "b": 5})


def test_what_is_hopeless_is_not_run_again(stopwatch):
    runs = {"good": stopwatch.taking("good", 5), "naive": stopwatch.taking("naive", 90)}
    assert timing.race(runs, ARRAYS) == pytest.approx({"good": 5, "naive": 90})
    assert stopwatch.calls["naive"] == 1


def test_a_first_time_of_another_programs_making_is_not_believed(stopwatch):
    lengths = iter([40, *[2] * 100])

    def disturbed(*arrays: mx.array) -> list[mx.array]:
        return stopwatch.taking("disturbed", next(lengths))(*arrays)

    runs = {"good": stopwatch.taking("good", 5), "disturbed": disturbed}
    assert timing.race(runs, ARRAYS)["disturbed"] == pytest.approx(2)


def test_little_work_is_launched_many_times_an_evaluation(stopwatch):
    runs = {name: stopwatch.taking(name, 0.01) for name in ("a", "b")}
    assert timing.race(runs, ARRAYS) == pytest.approx({"a": 0.01, "b": 0.01})
    assert stopwatch.calls["a"] >= 3 * timing.LAUNCHES


def test_long_runs_are_few(stopwatch):
    runs = {name: stopwatch.taking(name, 10_000) for name in ("a", "b")}
    timing.race(runs, ARRAYS)
    assert stopwatch.calls["a"] <= 5


def test_what_raises_has_no_time(stopwatch):
    def failing(*_: mx.array) -> list[mx.array]:
        raise RuntimeError("[metal::Device] Unable to build metal library")

    runs = {"bad": failing, "good": stopwatch.taking("good", 2)}
    assert timing.race(runs, ARRAYS) == {"bad": None, "good": pytest.approx(2)}
    assert timing.race({"bad": failing}, ARRAYS) == {"bad": None}


def test_what_raises_later_has_no_time(stopwatch):
    lengths = iter([2, 2, 2])

    def failing(*arrays: mx.array) -> list[mx.array]:
        try:
            return stopwatch.taking("failing", next(lengths))(*arrays)
        except StopIteration:
            raise MemoryError from None

    runs = {"failing": failing, "good": stopwatch.taking("good", 3)}
    assert timing.race(runs, ARRAYS) == {"failing": None, "good": pytest.approx(3)}
