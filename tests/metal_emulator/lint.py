"""Constructs of C++ that the Metal Shading Language lacks."""

import re

from .translate import without_comments

_FORBIDDEN = {
    "a lambda": (
        r"(?<![\w\])\[])\[[&=\w\s,]*\]\s*(?:\([^()]*\)\s*)?"
        r"(?:mutable\s*)?(?:->\s*\w+\s*)?\{"
    ),
    "the C++ standard library": r"\bstd\s*::",
    "dynamic memory": r"\b(?:new|delete|malloc|free|alloca)\b",
    "an exception": r"\b(?:try|catch|throw)\b",
    "run-time type information": r"\b(?:dynamic_cast|typeid)\b",
    "a virtual function": r"\bvirtual\b",
    "the type double": r"\bdouble\b|\blong\s+long\b",
    "a literal of type double": (
        r"(?<![\w.])(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?(?![\w.])"
    ),
    "a literal of type long long": r"(?<!\w)\d[\da-fA-FxX]*[uU]?(?:ll|LL)[uU]?\b",
    "goto": r"\bgoto\b",
    "inline assembly": r"\b(?:__)?asm(?:__)?\b",
    "thread-local storage": r"\bthread_local\b",
    "printf": r"\bprintf\b",
    "a compiler's builtin": r"\b__builtin_\w+",
    "an included file": r"#\s*include\b",
}
_FUNCTION = re.compile(r"\b(?P<name>\w+)\s*\([^;{}]*\)\s*(?:const\s*)?\{")
_KEYWORDS = {"if", "for", "while", "switch", "return"}


def forbidden_constructs(source: str) -> list[str]:
    """One line for each kind that the source has."""
    code = without_comments(source)
    code = re.sub(r'\[\[host_name\("[^"]*"\)\]\]', "", code)
    found = []
    for what, pattern in _FORBIDDEN.items():
        match = re.search(pattern, code)
        if match:
            line = code.count("\n", 0, match.start()) + 1
            found.append(f"line {line}: {what}: `{match[0].strip()}`")
    return found + _recursions(code)


def _recursions(code: str) -> list[str]:
    """Functions that call themselves, directly or through others."""
    calls: dict[str, set[str]] = {}
    bodies = {
        match["name"]: _body(code, match.end())
        for match in _FUNCTION.finditer(code)
        if match["name"] not in _KEYWORDS
    }
    for name, body in bodies.items():
        called = set(re.findall(r"\b(\w+)\s*(?:<[^;{}()]*>\s*)?\(", body))
        calls[name] = called & bodies.keys()
    return [f"recursion of `{name}`" for name in calls if _reaches(calls, name)]


def _body(code: str, start: int) -> str:
    depth, end = 1, start
    while depth and end < len(code):
        depth += {"{": 1, "}": -1}.get(code[end], 0)
        end += 1
    return code[start:end]


def _reaches(calls: dict[str, set[str]], target: str) -> bool:
    seen: set[str] = set()
    waiting = list(calls[target])
    while waiting:
        name = waiting.pop()
        if name == target:
            return True
        if name not in seen:
            seen.add(name)
            waiting.extend(calls[name])
    return False
