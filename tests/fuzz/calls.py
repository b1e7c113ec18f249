"""A call out of a seed and a number."""

from __future__ import annotations

from dataclasses import dataclass
import random

from tests.fuzz.targets import Target, bases, targets
from tests.fuzz.values import odd, plausible
from tests.layers import ROWS

Arguments = dict[str, str]


@dataclass(frozen=True)
class Call:
    """A target and the source of its arguments; of a layer, also of its inputs."""

    target: Target
    arguments: Arguments
    starred: tuple[str, ...] = ()
    base: str = ""
    inputs: tuple[str, ...] | None = None

    def __str__(self) -> str:
        given = [f"{name}={source}" for name, source in self.arguments.items()]
        name = self.target.name
        if self.base:
            name = f"{self.base}.{name.rpartition('.')[2]}"
        called = "" if self.inputs is None else f"({', '.join(self.inputs)})"
        return f"{name}({', '.join([*self.starred, *given])}){called}"


ALL_TARGETS = targets()


def make(seed: int, number: int) -> Call:
    """The call of this number; the same in every process."""
    rng = random.Random(f"{seed}/{number}")
    target = rng.choice(ALL_TARGETS)
    oddities = rng.choices((0, 1, 2, 3), (1, 6, 2, 1))[0]
    base = rng.choice(bases(target)) if target.owner is not None else ""
    if not target.forward:
        arguments, starred = _arguments(target, rng, oddities)
        return Call(target, arguments, starred, base)
    own = [i for i, row in enumerate(ROWS) if f"nn.{row.name}" == target.name]
    row = rng.choice(own) if own and rng.random() < 0.8 else None
    # Are the odd values the constructor's or the call's?
    odd_inputs = oddities if rng.random() < 0.5 else 0
    arguments, starred = _arguments(target, rng, oddities - odd_inputs, row)
    inputs = _inputs(target.forward, row, rng)
    for _ in range(odd_inputs):
        inputs[rng.randrange(len(inputs))] = odd(rng)
    return Call(target, arguments, starred, inputs=tuple(inputs))


def _arguments(
    target: Target, rng: random.Random, oddities: int, row: int | None = None
) -> tuple[Arguments, tuple[str, ...]]:
    """Plausible arguments, or a row's, some made odd; those of *args apart."""
    if row is None:
        arguments = _plausible_arguments(target, rng)
        starred = [plausible(target.starred, "", rng)] if target.starred else []
    else:
        arguments, starred = _row_arguments(target, row)
    spots = [parameter.name for parameter in target.named]
    spots += [target.starred] if target.starred else []
    for _ in range(oddities if spots else 0):
        spot = rng.choice(spots)
        if spot == target.starred:
            starred = [*starred[1:], odd(rng)]
        else:
            arguments[spot] = odd(rng)
    return arguments, tuple(starred)


def _plausible_arguments(target: Target, rng: random.Random) -> Arguments:
    return {
        p.name: plausible(p.name, str(p.annotation), rng)
        for p in target.named
        if p.default is p.empty or rng.random() < 0.2
    }


def _row_arguments(target: Target, row: int) -> tuple[Arguments, list[str]]:
    count = len(ROWS[row].arguments)
    positional = [f"ROWS[{row}].arguments[{i}]" for i in range(count)]
    options = {name: f"ROWS[{row}].options[{name!r}]" for name in ROWS[row].options}
    if target.starred:
        return options, positional
    names = [parameter.name for parameter in target.named]
    return dict(zip(names, positional, strict=False)) | options, []


def _inputs(names: list[str], row: int | None, rng: random.Random) -> list[str]:
    if row is not None:
        count = len(ROWS[row].inputs)
        return [f"mx.array(ROWS[{row}].draw()[{i}])" for i in range(count)]
    return [plausible(name, "Tensor", rng) for name in names]
