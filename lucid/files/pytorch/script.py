"""TorchScript archives: the modules' parameters and buffers, under their dotted names.

The archive defines its classes in source text, of which only the two lines are read
that list a class's parameters and buffers.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from lucid.files.archive import Archive
from lucid.files.pytorch.known import Known
from lucid.files.pytorch.plain import Charge
from lucid.files.pytorch.values import Global, RefusedError, ScriptObject, Tensor
from lucid.files.pytorch.zipped import TorchArchive
import mlx.core as mx

_OWN = "__torch__."
_CUSTOM = "__torch__.torch.classes."
_MOST_SOURCE = 2**26
_MOST_NAMES = 100_000
_DEEPEST = 100
_CLASS = re.compile(r"class ([\w.]+)\(Module\):\n")
_LISTED = re.compile(r'  __(parameters|buffers)__ = \[((?:"[^"\n]*", )*)\]\n')
_NAME = re.compile(r'"([^"\n]*)"')


class _Lists(NamedTuple):
    """The names that a class registers."""

    parameters: frozenset[str]
    buffers: frozenset[str] | None  # None: an old archive, where every tensor is one


def is_script(archive: Archive, folder: str) -> bool:
    return f"{folder}/constants.pkl" in archive.entries


def read_script(archive: Archive, folder: str, unknown: str) -> dict[str, mx.array]:
    """The state dict of the archive's module.

    Raises:
        CheckpointError: if it is damaged, or holds what is not read.
    """
    torch_archive = TorchArchive(archive, folder)
    size = archive.entries[torch_archive.pickle].size
    root = torch_archive.unpickle(_ScriptKnown(unknown, size))
    try:
        names = _StateDict(torch_archive)
        names.add(root, "", 0)
        arrays = torch_archive.read_tensors(dict.fromkeys(names.tensors.values()))
    except RefusedError as error:
        raise archive.refuse(str(error), torch_archive.pickle) from None
    return {name: arrays[tensor] for name, tensor in names.tensors.items()}


class _ScriptKnown(Known):
    """The names of `Known`, and the classes that the archive defines."""

    def find(self, name: str) -> Any:
        if name.startswith(_CUSTOM) and "quantized" in name:
            raise RefusedError(f"holds {name}: quantized weights, which are not read")
        own = name.startswith(_OWN) or name in _SCRIPT_CALLS
        return Global(name) if own else super().find(name)

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        if isinstance(function, Global) and function.name in _SCRIPT_CALLS:
            return _SCRIPT_CALLS[function.name](arguments, self.charge)
        return super().call(function, arguments)

    def new(self, kind: Any, arguments: tuple[Any, ...]) -> Any:
        if isinstance(kind, Global) and kind.name.startswith(_OWN) and not arguments:
            return ScriptObject(kind.name)
        return super().new(kind, arguments)

    def build(self, value: Any, state: Any) -> None:
        if not isinstance(value, ScriptObject):
            super().build(value, state)
        elif isinstance(state, dict):
            value.attributes = state


class _StateDict:
    """Walks the modules as `state_dict()` does, and collects names and tensors."""

    def __init__(self, torch_archive: TorchArchive):
        self.tensors: dict[str, Tensor] = {}
        self.modules = 0
        self._archive = torch_archive
        self._source_left = _MOST_SOURCE
        self._sources: dict[str, dict[str, _Lists]] = {}

    def add(self, module: Any, prefix: str, depth: int) -> None:
        """The parameters, then the buffers, then the modules inside."""
        lists = self._lists(module)
        if lists is None:
            raise RefusedError("holds no module")
        self.modules += 1
        if depth > _DEEPEST or self.modules + len(self.tensors) > _MOST_NAMES:
            raise RefusedError(
                "holds modules that contain themselves or unfold without end"
            )
        found = {
            name: value
            for name, value in module.attributes.items()
            if isinstance(value, Tensor)
        }
        buffers = lists.buffers
        if buffers is None:
            buffers = found.keys() - lists.parameters
        for names in (lists.parameters, buffers):
            for name, value in found.items():
                if name in names:
                    self.tensors[f"{prefix}{name}"] = value
        for name, child in module.attributes.items():
            if self._lists(child) is not None:
                self.add(child, f"{prefix}{name}.", depth + 1)

    def _lists(self, value: Any) -> _Lists | None:
        """What the class of a module registers; None if this is no module."""
        if not isinstance(value, ScriptObject):
            return None
        module, _, name = value.name.rpartition(".")
        if module not in self._sources:
            self._sources[module] = self._read_source(module)
        return self._sources[module].get(name)

    def _read_source(self, module: str) -> dict[str, _Lists]:
        """The classes that a file of the archive defines: modules, by name."""
        archive = self._archive.archive
        entry = archive.entries.get(
            f"{self._archive.folder}/code/{module.replace('.', '/')}.py"
        )
        if entry is None:
            return {}
        source = archive.read(entry, self._source_left).decode("utf-8", "replace")
        self._source_left -= entry.size
        classes = {}
        for match in _CLASS.finditer(source):
            listed: dict[str, frozenset[str]] = {}
            at = match.end()
            while (line := _LISTED.match(source, at)) is not None:
                listed[line[1]] = frozenset(_NAME.findall(line[2]))
                at = line.end()
            classes[match[1]] = _Lists(
                listed.get("parameters", frozenset()), listed.get("buffers")
            )
        return classes


def _list(arguments: tuple[Any, ...], charge: Charge) -> list[Any]:
    match arguments:
        case (list(values),):
            return values
    raise RefusedError("has a damaged list")


def _tagged(arguments: tuple[Any, ...], charge: Charge) -> Any:
    """A value with the name of its type."""
    match arguments:
        case (value, str()):
            return value
    raise RefusedError("has a damaged type")


_SCRIPT_CALLS = {
    **{
        f"torch.jit._pickle.build_{kind}": _list
        for kind in ("intlist", "doublelist", "boollist", "tensorlist")
    },
    "torch.jit._pickle.restore_type_tag": _tagged,
}
