"""The same convolutions by PyTorch, where it is installed, on its GPU."""

from __future__ import annotations

from collections.abc import Callable
import importlib
import importlib.util
import statistics
import time
from typing import Any

from lucid.metal.check import Case


def device() -> str | None:
    """PyTorch's name for an Apple GPU, if there are both."""
    if importlib.util.find_spec("torch") is None:
        return None
    torch: Any = importlib.import_module("torch")
    return "mps" if torch.backends.mps.is_available() else None


def version() -> str:
    torch: Any = importlib.import_module("torch")
    return str(torch.__version__)


def medians(
    case: Case, dtype: str, repeats: int, launches: int, device: str
) -> list[float]:
    """Milliseconds a launch of forward, input gradient and weight gradient."""
    torch: Any = importlib.import_module("torch")
    runs = _passes(torch, case, getattr(torch, dtype), device)
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats + 1):
        for run, taken in zip(runs, times, strict=True):
            _synchronize(torch, device)
            start = time.perf_counter()
            for _ in range(launches):
                run()
            _synchronize(torch, device)
            taken.append(1000 * (time.perf_counter() - start) / launches)
    return [statistics.median(taken[1:]) for taken in times]


def _passes(torch: Any, case: Case, dtype: Any, device: str) -> list[Callable[[], Any]]:
    """As PyTorch's autograd calls them, one by one."""

    def draw(shape: tuple[int, ...]) -> Any:
        return torch.rand(shape, device=device).to(dtype)

    g = case.geometry
    x, w, b = draw(case.input), draw(case.weight), draw(case.weight[:1])
    dy = draw(g.output_shape)
    padding = [before for before, _ in g.padding]
    options = (g.stride, padding, g.dilation)

    def gradient(wanted: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            dy, x, w, [len(b)], *options, False, [0, 0, 0], g.groups, wanted
        )

    return [
        lambda: torch.nn.functional.conv3d(x, w, b, *options, g.groups),
        lambda: gradient([True, False, False]),
        lambda: gradient([False, True, False]),
    ]


def _synchronize(torch: Any, device: str) -> None:
    if device == "mps":
        torch.mps.synchronize()
