"""What calling a module costs above its `forward`, in microseconds a module.

Run: python examples/benchmark_calls.py
"""

from pathlib import Path
import sys
import timeit

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

from lucid import nn


class Chain(nn.Module):
    """Modules in each other; the innermost returns its input."""

    def __init__(self, depth: int):
        super().__init__()
        if depth > 1:
            self.inner = Chain(depth - 1)

    def forward(self, x):
        return self.inner(x) if "inner" in self else x


class Plain(Chain):
    """The same work, without calling a module."""

    def forward(self, x):
        return self.inner.forward(x) if "inner" in self else x


def microseconds(model: Chain, calls: int = 2000) -> float:
    model(0)  # looks through the model
    return min(timeit.repeat(lambda: model.forward(0), number=calls, repeat=7)) / (
        calls * 1e-6
    )


def main(depth: int = 50) -> None:
    bystander = nn.LazyConv3d(8, 3)  # lazy, in no model: it must cost nothing
    called, plain = Chain(depth), Plain(depth)
    module: Chain = plain
    while "inner" in module:
        module.inner.__class__ = Plain
        module = module.inner
    above = (microseconds(called) - microseconds(plain)) / (depth - 1)
    print(f"a module's call above its forward: {above:.2f} us ({bystander})")


if __name__ == "__main__":
    about = (__doc__ or "").splitlines()[0]
    command_line.Parser(prog="benchmark_calls", description=about).parse_args()
    command_line.run(main)
