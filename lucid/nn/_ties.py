"""Arrays under several names: one array, trained once and the same under each.

Two names count as one array from when a model is seen holding the *same object* under
both, as `decoder.weight = encoder.weight` stores it; arrays that are merely equal are
two. They stay one through updates, loads and casts, which give each name an object of
its own, until one name is assigned another array. (MLX's modules do not tell an
assignment from an update: theirs stay one.) A module under several names is one anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from typing import Any
import weakref

from lucid.nn._members import Member, array_members, assign
import mlx.core as mx
import mlx.nn


class Tie:
    """What two or more places of a model hold: the place changed last tells.

    Copies and pickles of a model have ties of their own, which find their places when
    the model is next looked at.
    """

    def __init__(self) -> None:
        self._owners: dict[tuple[int, str], weakref.ref[mlx.nn.Module]] = {}
        self._array: weakref.ref[mx.array] | None = None

    def __reduce__(self) -> tuple[type[Tie], tuple[()]]:
        return Tie, ()

    def add(self, member: Member) -> None:
        owner = member.owner
        owner.__dict__.setdefault("_ties", {})[member.path] = self
        self._owners[id(owner), member.path] = weakref.ref(owner)

    def forget_moved(self) -> None:
        """Let go of what stands alone in a list or dict now: that may have changed."""
        known = None if self._array is None else self._array()
        places = list(self._places())
        if any(array is known for _, _, array in places):
            for owner, path, array in places:
                if array is not known and "." in path:
                    untie(owner, path)

    def settle(self) -> None:
        """Give the array that came last to every place."""
        places = list(self._places())
        known = None if self._array is None else self._array()
        changed = [array for _, _, array in places if array is not known]
        newest = changed[-1] if changed else known
        for owner, path, array in places:
            if array is not newest:
                assign(owner, path, newest)
        self._array = None if newest is None else weakref.ref(newest)

    def _places(self) -> Iterator[tuple[mlx.nn.Module, str, mx.array]]:
        for (_, path), reference in self._owners.items():
            owner = reference()
            if owner is not None and owner.__dict__.get("_ties", {}).get(path) is self:
                array = _held(owner, path)
                if isinstance(array, mx.array):
                    yield owner, path, array


def _held(owner: Any, path: str) -> Any:
    for key in path.split("."):
        owner = owner[int(key)] if isinstance(owner, list) else owner.get(key)
    return owner


def untie(owner: mlx.nn.Module, name: str) -> None:
    """Forget that an attribute, which is assigned something else, was tied."""
    ties = owner.__dict__.get("_ties")
    if ties:
        for path in [p for p in ties if p == name or p.startswith(f"{name}.")]:
            del ties[path]


Group = list[Member]
"""All members of a model that hold one array."""


def settle_ties(model: mlx.nn.Module) -> list[Group]:
    """Find a model's tied arrays, and give all names of one its newest value.

    Returns:
        The model's arrays in its order, each with all its members.
    """
    groups = _by_array(model)
    ties = _ties_among(groups)
    for tie in ties:
        tie.forget_moved()
        tie.settle()
    return _by_array(model) if ties else groups


@contextlib.contextmanager
def kept_ties(model: mlx.nn.Module) -> Iterator[None]:
    """Around a change of a model's arrays: what is tied before is so afterwards."""
    ties = _ties_among(_by_array(model))
    for tie in ties:
        tie.forget_moved()
        tie.settle()
    yield
    for tie in ties:
        tie.settle()


def _ties_among(groups: list[Group]) -> list[Tie]:
    """The ties of a model's arrays, those included that were not known before."""
    ties: dict[Tie, None] = {}
    for group in groups:
        known = (tie for tie in map(_tie_of, group) if tie is not None)
        tie = next(known, None)
        places = {(id(member.owner), member.path): member for member in group}
        if tie is None and len(places) > 1:
            tie = Tie()
        if tie is not None:
            ties[tie] = None
            for member in places.values():
                tie.add(member)
    return list(ties)


def _by_array(model: mlx.nn.Module) -> list[Group]:
    groups: dict[int, Group] = {}
    for member in array_members(model):
        groups.setdefault(id(member.value), []).append(member)
    return list(groups.values())


def _tie_of(member: Member) -> Tie | None:
    return member.owner.__dict__.get("_ties", {}).get(member.path)


def keep_each_once(tree: dict[str, Any], groups: list[Group], trained: bool) -> None:
    """Leave the first place of each array alone in MLX's tree of them.

    Args:
        tree: what MLX's `parameters` or `trainable_parameters` gave.
        groups: what `settle_ties` gave.
        trained: whether these are the trained ones, to which an array that is frozen
            under one of its names does not belong.
    """
    for group in groups:
        if len(group) > 1:
            frozen = trained and any(m.path in m.owner._no_grad for m in group)
            for member in group if frozen else group[1:]:
                _drop(tree, member.place)


def _drop(tree: Any, place: str) -> None:
    """Take an array out of nested dicts and lists, where lists keep their lengths."""
    key, _, rest = place.partition(".")
    index: Any = int(key) if isinstance(tree, list) else key
    if isinstance(tree, dict) and key not in tree:
        return  # frozen
    if rest:
        _drop(tree[index], rest)
    elif isinstance(tree, list):
        tree[index] = {}
    else:
        del tree[index]
