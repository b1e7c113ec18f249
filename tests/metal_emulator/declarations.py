"""Declarations that C++ takes and the Metal Shading Language does not.

Found in clang's tree of the source as it is written, so in templates too.
"""

from collections.abc import Iterator
import re
from typing import Any


def forbidden_declarations(
    unit: Any, file: str, code: str
) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of a translation unit of clang.cindex."""
    for cursor, scope in _declarations(unit.cursor, file, "program"):
        words = _words_before(code, cursor.location.offset)
        for what in _problems(cursor, scope, words):
            yield cursor.location.line, f"`{cursor.spelling}`: {what}"


def _words_before(code: str, end: int) -> set[str]:
    """Those of a declaration before its name; clang sees no `thread` in them."""
    start, depth = end, 0
    while start and (depth or code[start - 1] not in ";{}(,"):
        start -= 1
        depth += {">": 1, "<": -1}.get(code[start], 0)
        if depth < 0:  # of a template's own parameters
            break
    return set(re.findall(r"\w+", code[start:end]))


def _problems(cursor: Any, scope: str, words: set[str]) -> Iterator[str]:
    is_variable = cursor.kind.name == "VAR_DECL"
    if is_variable and scope != "function" and "constant" not in words:
        yield "a variable outside functions must be in `constant`"
    is_static = cursor.storage_class.name == "STATIC"
    if is_variable and scope == "function" and is_static and "threadgroup" not in words:
        yield "a static variable of a function"
    if _points_nowhere(cursor.type) and not words & {"thread", "auto"}:
        yield "a pointer or reference without an address space"


def _points_nowhere(kind: Any) -> bool:
    if kind.kind.name not in ("POINTER", "LVALUEREFERENCE", "RVALUEREFERENCE"):
        return False
    return kind.get_pointee().get_address_space() == 0


def _declarations(cursor: Any, file: str, scope: str) -> Iterator[tuple[Any, str]]:
    """Variables, parameters and fields, each with the scope that it is in."""
    for child in cursor.get_children():
        location = child.location.file
        if scope == "program" and (location is None or location.name != file):
            continue
        name = child.kind.name
        if name in ("VAR_DECL", "PARM_DECL", "FIELD_DECL"):
            yield child, scope
        inner = scope
        if name in ("FUNCTION_DECL", "FUNCTION_TEMPLATE", "CXX_METHOD", "CONSTRUCTOR"):
            inner = "function"
        elif name in ("STRUCT_DECL", "CLASS_DECL", "CLASS_TEMPLATE"):
            inner = "struct"
        yield from _declarations(child, file, inner)
