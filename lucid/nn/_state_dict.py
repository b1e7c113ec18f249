"""Loading a state dict: everything is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lucid._types import DTYPES, dtype_name, plain_numpy
from lucid.nn._first_call import Transaction
from lucid.nn._members import named_arrays, unsaved_names
from lucid.nn._uninitialized import uninitialized_names
import mlx.core as mx
import mlx.nn
import numpy as np


class StateDictError(RuntimeError, ValueError):
    """A state dict does not fit a model; a RuntimeError, as PyTorch raises."""

    def __init__(self, model: Any, problems: list[str]):
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(
            f"the state dict does not fit {type(model).__name__}; nothing was "
            f"loaded:{lines}"
        )


class IncompatibleKeys(NamedTuple):
    """Names that the model has and the state dict lacks, and the other way round."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_state(
    model: mlx.nn.Module, state_dict: Mapping[str, Any], strict: bool
) -> IncompatibleKeys:
    """Check everything, then change anything: see `Module.load_state_dict`."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"`state_dict` must be a dict of arrays, got {type(state_dict).__name__}."
        )
    state = {name: _as_array(value) for name, value in state_dict.items()}
    plan = _Plan()
    for full, owner, name, current in named_arrays(model):
        if name not in unsaved_names(owner):
            plan.add(full, owner, name, current, state)
    missing = [full for full in plan.names if full not in state]
    unexpected = [full for full in state if full not in plan.names]
    problems = plan.problems
    if strict:
        problems += [f"{name}: missing" for name in missing]
        problems += [f"{name}: unexpected" for name in unexpected]
    if problems:
        raise StateDictError(model, problems)
    _commit(plan.assignments)
    return IncompatibleKeys(missing, unexpected)


class _Plan:
    """What a state dict would assign, and what is wrong with it."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}  # in the order of the model
        self.problems: list[str] = []
        self.assignments: list[tuple[mlx.nn.Module, str, mx.array]] = []
        # A shared lazy layer is met under several names, which must agree on its shape.
        self._shapes: dict[tuple[int, str], tuple[int | None, ...]] = {}

    def add(
        self,
        full: str,
        owner: mlx.nn.Module,
        name: str,
        current: mx.array,
        state: Mapping[str, Any],
    ) -> None:
        self.names[full] = None
        if full not in state:
            return
        value, key = state[full], (id(owner), name)
        expected = self._shapes.get(key) or _expected_shape(owner, name, current)
        if not isinstance(value, mx.array):
            self.problems.append(f"{full}: {value}")
        elif not fits(value.shape, expected):
            shown = str(expected).replace("None", "any")
            self.problems.append(f"{full}: shape {value.shape}, expected {shown}")
        elif value.dtype != current.dtype:
            got, want = dtype_name(value.dtype), dtype_name(current.dtype)
            self.problems.append(f"{full}: dtype {got}, expected {want}")
        else:
            self._shapes[key] = value.shape
            self.assignments.append((owner, name, value))


def _commit(plan: list[tuple[mlx.nn.Module, str, mx.array]]) -> None:
    """Assign what was checked; lazy layers first, whose draws may still fail."""
    lazy: dict[int, tuple[Any, dict[str, mx.array]]] = {}
    for owner, name, value in plan:
        if uninitialized_names(owner):
            lazy.setdefault(id(owner), (owner, {}))[1][name] = value
    with Transaction():
        for owner, values in lazy.values():
            owner.materialize_from(values)
    for owner, name, value in plan:
        if id(owner) not in lazy:
            assign(owner, name, value)


def assign(owner: Any, name: str, value: mx.array) -> None:
    """Set `owner.name`, where the name may run through plain lists and dicts."""
    *path, last = name.split(".")
    for key in path:
        owner = owner[int(key)] if isinstance(owner, list) else owner[key]
    owner[int(last) if isinstance(owner, list) else last] = value


def _expected_shape(owner: Any, name: str, current: mx.array) -> tuple[int | None, ...]:
    """A parameter's shape; None where a lazy layer takes any length."""
    if name in uninitialized_names(owner):
        return owner.parameter_shapes()[name]
    return current.shape


def fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is the expected one, None standing for any length but 0."""
    return len(shape) == len(expected) and all(
        length == want or (want is None and length > 0)
        for length, want in zip(shape, expected, strict=True)
    )


def _as_array(value: Any) -> mx.array | str:
    """A copy as an MLX array of the same dtype, or why there is none."""
    if isinstance(value, mx.array):
        return mx.array(value)
    if isinstance(value, np.ndarray) and value.dtype.name in DTYPES:
        return mx.array(plain_numpy("state_dict", value), DTYPES[value.dtype.name])
    return f"{type(value).__name__} is not a numeric array"
