"""Reads one pickle: a closed list of opcodes on a stack, and nothing is ever called.

A pickle is a program. Python's unpickler runs the functions that it names; this one
knows the opcodes that `torch.save` writes, and asks its `Makers` for the values that
calls would have made. Those look names up in a closed table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from lucid.files.pytorch.stream import LONGEST_NAME, Stream
from lucid.files.pytorch.values import Placeholder, RefusedError, is_quick_key

# Each costs up to some 200 bytes of memory and a microsecond, however small the file.
_MOST_OPCODES = 2_000_000
# Tuples hash alike where somebody wants them to, and a dict of those takes forever.
_MOST_TUPLE_KEYS = 10_000


class Makers(Protocol):
    """What is made in place of calls."""

    def find(self, name: str) -> Any:
        """The value of a global's dotted name."""
        ...

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """What `function(*arguments)` stands for."""
        ...

    def new(self, kind: Any, arguments: tuple[Any, ...]) -> Any:
        """What a new object of a class stands for."""
        ...

    def build(self, value: Any, state: Any) -> Any:
        """What `value` is once its state is set."""
        ...

    def persistent(self, identity: Any) -> Any:
        """What the archive keeps under `identity`."""
        ...


class Machine:
    """A stack, the memo, and the opcodes that change them."""

    def __init__(self, stream: Stream, makers: Makers):
        self.stream, self.makers = stream, makers
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below the marks
        self.memo: dict[int, Any] = {}
        self.opcode_at = stream.position
        self.tuple_keys = 0

    def run(self) -> Any:
        """The value of the next pickle of the stream.

        Raises:
            RefusedError: if it is damaged, or needs what is not known.
        """
        if self.stream.take(1) != b"\x80" or self.stream.take(1)[0] not in range(2, 6):
            raise RefusedError("is no pickle of protocol 2 to 5")
        for _ in range(_MOST_OPCODES):
            self.opcode_at = self.stream.position
            opcode = self.stream.take(1)
            if opcode == b".":
                return self._stop()
            operation = _OPERATIONS.get(opcode)
            if operation is None:
                raise RefusedError(f"opcode {opcode!r}, which no checkpoint needs")
            operation(self)
        raise RefusedError(f"more than {_MOST_OPCODES} opcodes")

    def where(self) -> str:
        """The byte, and the nearest name, of the opcode that is being read."""
        for stack in (self.stack, *reversed(self.outer)):
            for value in stack[-1:-3:-1]:
                if isinstance(value, str) and value != "storage":
                    return f"byte {self.opcode_at}, at {value[:100]!r}"
        return f"byte {self.opcode_at}"

    def _stop(self) -> Any:
        if len(self.stack) != 1 or self.outer:
            raise RefusedError("ends with more than one value, or none")
        return self.stack[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise RefusedError("takes a value that is not there")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.outer:
            raise RefusedError("takes values from a mark that is not there")
        values, self.stack = self.stack, self.outer.pop()
        return values

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def top(self) -> Any:
        if not self.stack:
            raise RefusedError("takes a value that is not there")
        return self.stack[-1]

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise RefusedError(f"takes value {index} that was never put")
        self.push(self.memo[index])

    def pop_tuple(self) -> tuple[Any, ...]:
        value = self.pop()
        if type(value) is not tuple:
            raise RefusedError("has no tuple where one belongs")
        return value

    def push_last(self, count: int) -> None:
        """A tuple of the last values."""
        if len(self.stack) < count:
            raise RefusedError("takes a value that is not there")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def key(self, value: Any) -> Any:
        """`value`, if a dict or a set finds it quickly."""
        if is_quick_key(value):
            return value
        if type(value) is tuple and len(value) <= 100 and all(map(is_quick_key, value)):
            self.tuple_keys += 1
            if self.tuple_keys <= _MOST_TUPLE_KEYS:
                return value
        raise RefusedError(f"has a {type(value).__name__} as a key or in a set")

    def extend(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Placeholder) and target.arguments is not None:
            target.items += values
        elif type(target) is list:
            target += values
        else:
            raise RefusedError("appends to what is no list")

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        pairs = list(zip(values[::2], values[1::2], strict=False))
        if len(values) % 2:
            raise RefusedError("has a key without a value")
        if isinstance(target, Placeholder) and target.arguments is not None:
            target.items += pairs
        elif isinstance(target, dict):
            for key, value in pairs:
                target[self.key(key)] = value
        else:
            raise RefusedError("sets items of what is no dict")

    def add_items(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, set):
            raise RefusedError("adds to what is no set")
        target.update(map(self.key, values))


def _two(machine: Machine) -> list[Any]:
    second = machine.pop()
    return [machine.pop(), second]


def _find(machine: Machine) -> None:
    module, name = machine.stream.line(), machine.stream.line()
    machine.push(machine.makers.find(f"{module}.{name}"))


def _find_on_stack(machine: Machine) -> None:
    module, name = _two(machine)
    if not (isinstance(module, str) and isinstance(name, str)):
        raise RefusedError("has a global whose name is no string")
    if len(module) + len(name) > LONGEST_NAME:
        raise RefusedError("has a global whose name is too long")
    machine.push(machine.makers.find(f"{module}.{name}"))


def _reduce(machine: Machine) -> None:
    arguments = machine.pop_tuple()
    machine.push(machine.makers.call(machine.pop(), arguments))


def _new(machine: Machine) -> None:
    arguments = machine.pop_tuple()
    machine.push(machine.makers.new(machine.pop(), arguments))


def _new_with_keywords(machine: Machine) -> None:
    keywords, arguments = machine.pop(), machine.pop_tuple()
    machine.push(machine.makers.new(machine.pop(), (*arguments, keywords)))


def _build(machine: Machine) -> None:
    state = machine.pop()
    machine.makers.build(machine.top(), state)


def _frame(machine: Machine) -> None:
    machine.stream.number("<Q")  # a hint of how much to read at once


_OPERATIONS: dict[bytes, Callable[[Machine], None]] = {
    b"\x95": _frame,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.stream.number("<B")),
    b"M": lambda m: m.push(m.stream.number("<H")),
    b"J": lambda m: m.push(m.stream.number("<i")),
    b"\x8a": lambda m: m.push(m.stream.integer()),
    b"G": lambda m: m.push(m.stream.number(">d")),
    b"X": lambda m: m.push(m.stream.text("<I")),
    b"\x8c": lambda m: m.push(m.stream.text("<B")),
    b"\x8d": lambda m: m.push(m.stream.text("<Q")),
    b"U": lambda m: m.push(m.stream.text("<B")),  # Python 2's str
    b"T": lambda m: m.push(m.stream.text("<I")),
    b"C": lambda m: m.push(m.stream.bytes("<B")),
    b"B": lambda m: m.push(m.stream.bytes("<I")),
    b"\x8e": lambda m: m.push(m.stream.bytes("<Q")),
    b"\x96": lambda m: m.push(bytearray(m.stream.bytes("<Q"))),
    b"(": Machine.mark,
    b")": lambda m: m.push(()),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b"\x8f": lambda m: m.push(set()),
    b"\x85": lambda m: m.push_last(1),
    b"\x86": lambda m: m.push_last(2),
    b"\x87": lambda m: m.push_last(3),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x91": lambda m: m.push(frozenset(map(m.key, m.pop_to_mark()))),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.pop_to_mark()),
    b"s": lambda m: m.set_items(_two(m)),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"\x90": lambda m: m.add_items(m.pop_to_mark()),
    b"q": lambda m: m.put(m.stream.number("<B")),
    b"r": lambda m: m.put(m.stream.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": lambda m: m.get(m.stream.number("<B")),
    b"j": lambda m: m.get(m.stream.number("<I")),
    b"c": _find,
    b"\x93": _find_on_stack,
    b"R": _reduce,
    b"\x81": _new,
    b"\x92": _new_with_keywords,
    b"b": _build,
    b"Q": lambda m: m.push(m.makers.persistent(m.pop())),
}
