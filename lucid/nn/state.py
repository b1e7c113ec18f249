"""What a model holds, under PyTorch's names: walking it, guarding it, loading it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lucid._types import dtype_name
from lucid.nn.first_call import Transaction, in_dry_run
import mlx.core as mx
import mlx.nn
import numpy as np


class UninitializedParameterError(RuntimeError):
    """A lazy layer was asked for weights that its first call has yet to create."""

    def __init__(self, what: str, layers: list[str]):
        super().__init__(
            f"{what} needs weights that lazy layers have not created yet: "
            f"{', '.join(layers)}. Call the model once, lucid.nn.materialize(model, "
            "input_shape), or load a state dict first (lucid.nn.value_and_grad does so "
            "by itself)."
        )


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


class FrozenNames(set[str]):
    """The names MLX does not train in one module (its `_no_grad`).

    Buffers stay frozen whatever is unfrozen, and asking whether a parameter that is yet
    to be created is trained raises: MLX asks it from every `trainable_parameters()`, an
    outer module's too, and would otherwise leave the parameter out without a word.
    """

    def __init__(self, names: Any = ()):
        super().__init__(names)
        self.buffers: frozenset[str] = frozenset()
        self.uninitialized: frozenset[str] = frozenset()
        self.layer = ""

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        if name in self.uninitialized and not in_dry_run():
            raise UninitializedParameterError("training", [self.layer])
        return False

    def clear(self) -> None:
        super().clear()
        self.update(self.buffers)

    def difference_update(self, *others: Any) -> None:
        super().difference_update(*others)
        self.update(self.buffers)

    def add_buffer(self, name: str) -> None:
        self.buffers |= {name}
        self.add(name)

    def discard_buffer(self, name: str) -> None:
        self.buffers -= {name}
        self.discard(name)

    def initialized(self) -> FrozenNames:
        """The same names, once every parameter exists."""
        names = FrozenNames(self)
        names.buffers = self.buffers
        return names


def holds_members(value: Any) -> bool:
    """Whether arrays or modules are somewhere in a tuple, list or dict."""
    if isinstance(value, mx.array | mlx.nn.Module):
        return True
    if isinstance(value, dict):
        return any(map(holds_members, value.values()))
    return isinstance(value, tuple | list) and any(map(holds_members, value))


def check_member(module: mlx.nn.Module, name: str, value: Any) -> bool:
    """Whether `module.name = value` belongs in MLX's dict of arrays and modules.

    Raises:
        AttributeError: for a member that MLX would lose or confuse: a name its dict
            already has a method for, digits alone, a dot, or members in a tuple.
    """
    if not isinstance(value, mx.array | dict | list | tuple):
        return False
    if not holds_members(value):
        return not isinstance(value, tuple)
    kind = type(module).__name__
    if _tuple_inside(value):
        raise AttributeError(
            f"`{kind}.{name}`: MLX does not look for parameters inside tuples; use a "
            "list, nn.ModuleList or nn.Sequential."
        )
    if isinstance(getattr(type(module), name, None), property):
        return False
    if hasattr(type(module), name):
        raise AttributeError(
            f"`{kind}.{name}` is an attribute of the class {kind}, which would hide "
            "the array or module; choose another name."
        )
    if not name or "." in name or name.isdigit():
        raise AttributeError(
            f"`{name}` cannot name a parameter or module: names must not be empty, "
            "hold a dot or be a number (nn.Sequential and nn.ModuleList number layers)."
        )
    if "_no_grad" not in module.__dict__:
        raise AttributeError(f"call super().__init__() in {kind} before assigning.")
    return True


def _tuple_inside(value: Any) -> bool:
    if isinstance(value, mlx.nn.Module):
        return False
    if isinstance(value, tuple):
        return holds_members(value)
    children = value.values() if isinstance(value, dict) else value
    return isinstance(value, dict | list) and any(map(_tuple_inside, children))


def named_entries(module: mlx.nn.Module) -> list[tuple[str, Any]]:
    """(name, array or module) right inside a module, arrays first, as in PyTorch."""
    entries = dict(module.items())
    layer_names = getattr(module, "_layer_names", None)
    layers = []
    if layer_names is not None:  # Sequential, ModuleList
        layers = zip(layer_names, entries.pop("layers"), strict=True)
    return sorted(
        (
            (name, value)
            for name, value in (*_flattened(entries), *layers)
            if isinstance(value, mx.array | mlx.nn.Module)
        ),
        key=lambda entry: isinstance(entry[1], mlx.nn.Module),
    )


def _flattened(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays and modules of a module's dict, plain lists and dicts descended."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        name = f"{prefix}{key}"
        if name.startswith("_"):
            continue  # private to the module, and to MLX's parameters()
        if isinstance(value, mx.array | mlx.nn.Module):
            yield name, value
        elif isinstance(value, dict | list):
            yield from _flattened(value, f"{name}.")


def named_tree(
    module: mlx.nn.Module, name: str = ""
) -> Iterator[tuple[str, mlx.nn.Module]]:
    """(name, module) of a module and all inside it; a shared one under each name."""
    yield name, module
    for child_name, child in named_entries(module):
        if isinstance(child, mlx.nn.Module):
            yield from named_tree(child, f"{name}.{child_name}" if name else child_name)


def named_arrays(
    module: mlx.nn.Module,
) -> Iterator[tuple[str, mlx.nn.Module, str, mx.array]]:
    """(dotted name, owner, name in it, array) of all that a model holds."""
    for prefix, owner in named_tree(module):
        for name, value in named_entries(owner):
            if isinstance(value, mx.array):
                yield f"{prefix}.{name}" if prefix else name, owner, name, value


def mlx_names(
    module: mlx.nn.Module, ours: str = "", theirs: str = ""
) -> dict[str, str]:
    """From the names of MLX's flattened `parameters()` to those of the state dict."""
    names: dict[str, str] = {}
    numbered = getattr(module, "_layer_names", ())
    for name, value in named_entries(module):
        path = f"layers.{numbered.index(name)}" if name in numbered else name
        if isinstance(value, mx.array):
            names[theirs + path] = ours + name
        else:
            names |= mlx_names(value, f"{ours}{name}.", f"{theirs}{path}.")
    return names


def buffer_names(module: mlx.nn.Module) -> frozenset[str]:
    """Which arrays of a module are never trained."""
    if isinstance(module, mlx.nn.BatchNorm):
        return frozenset(("running_mean", "running_var"))
    return getattr(module._no_grad, "buffers", frozenset())


def unsaved_names(module: mlx.nn.Module) -> frozenset[str]:
    """Which arrays of a module a state dict leaves out."""
    return getattr(module, "_unsaved", frozenset())


def uninitialized_names(module: mlx.nn.Module) -> frozenset[str]:
    """The parameters that a lazy layer has yet to create; of any other layer, none."""
    return getattr(module._no_grad, "uninitialized", frozenset())


def check_initialized(model: mlx.nn.Module, what: str, trained_only: bool) -> None:
    """Refuse a model whose weights do not all exist yet, naming the layers."""
    if trained_only and in_dry_run():
        return  # mlx.nn.utils.checkpoint asks there, before the weights exist
    layers = []
    for name, module in named_tree(model):
        names = set(uninitialized_names(module))
        if trained_only:
            names -= set(module._no_grad)
        if names:
            layers.append(name or type(module).__name__)
    if layers:
        raise UninitializedParameterError(what, layers)


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
        self.names: set[str] = set()
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
        self.names.add(full)
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
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        dtype = mx.float64 if value.dtype == np.float64 else None
        return mx.array(value, dtype)
    return f"{type(value).__name__} is not a numeric array"
