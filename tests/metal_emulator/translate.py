"""Metal source as C++: threadgroup arrays, and the function that runs one thread."""

import re

from .errors import KernelRefusedError

ENTRY = "run_thread"

# Attribute of a kernel's parameter -> its value, from a `shim::Thread t`.
_ATTRIBUTES = {
    "thread_position_in_grid": "shim::triple(t.position_in_grid)",
    "thread_position_in_threadgroup": "shim::triple(t.position)",
    "threadgroup_position_in_grid": "shim::triple(t.group)",
    "threads_per_threadgroup": "shim::triple(t.size)",
    "dispatch_threads_per_threadgroup": "shim::triple(t.dispatched)",
    "threads_per_grid": "shim::triple(t.grid)",
    "grid_size": "shim::triple(t.grid)",
    "threadgroups_per_grid": "shim::triple(t.groups)",
    "thread_index_in_threadgroup": "t.index",
    "thread_index_in_simdgroup": "t.index % 32",
    "simdgroup_index_in_threadgroup": "t.index / 32",
    "threads_per_simdgroup": "32u",
    "thread_execution_width": "32u",
    "simdgroups_per_threadgroup": "(t.size[0] * t.size[1] * t.size[2] + 31) / 32",
}

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_HOST_NAME = re.compile(r"template \[\[host_name\([^)]*\)\]\] \[\[kernel\]\]")
_PARAMETER = re.compile(
    r"\s*(?P<type>.*?)(?P<reference>[*&]?) (?P<name>\w+) "
    r"\[\[(?P<attribute>\w+)(\((?P<index>\d+)\))?\]\]"
)
_THREADGROUP_ARRAY = re.compile(
    r"\bthreadgroup\s+(?P<type>[\w:]+(?:<[^;*&()]*?>)?)\s+(?P<name>\w+)\s*"
    r"(?P<extents>(?:\[[^\];]+\]\s*)*);"
)


def without_comments(source: str) -> str:
    """The source with its comments blanked; the lines keep their numbers."""
    return _COMMENT.sub(lambda m: "\n" * m[0].count("\n") or " ", source)


def plain(source: str) -> str:
    """The source without comments, and without attributes that clang refuses."""
    return _HOST_NAME.sub("template", without_comments(source))


def uses_fibers(source: str) -> bool:
    """Whether threads wait for one another anywhere in it."""
    return (
        re.search(r"_barrier\s*\(|\bsimd_\w+\s*\(", without_comments(source))
        is not None
    )


def to_cpp(name: str, source: str) -> str:
    """The text to compile after the prelude."""
    code = _THREADGROUP_ARRAY.sub(_threadgroup_array, plain(source))
    _refuse_other_threadgroup_declarations(code)
    return f'#line 1 "{name}.metal"\n{code}\n#line 1 "driver"\n{_driver(name, source)}'


def parameters(name: str, source: str) -> list[re.Match[str]]:
    """The kernel's parameters; groups `type`, `reference`, `attribute`, `index`."""
    start = source.index(f"[[kernel]] void {name}(")
    first, last = source.index("(", start) + 1, source.index(") {\n", start)
    found = [_PARAMETER.fullmatch(line) for line in source[first:last].split(",\n")]
    if None in found:
        raise KernelRefusedError(f"{name}: a parameter that MLX never wrote before")
    return [match for match in found if match]


def _threadgroup_array(match: re.Match[str]) -> str:
    element, name, extents = match["type"], match["name"], match["extents"]
    return (
        f"static const char {name}_declaration = 0; "
        f"typedef {element} {name}_array{extents.strip()}; "
        f"{name}_array& {name} = "
        f"shim::threadgroup_array<{name}_array>(&{name}_declaration);"
    )


def _refuse_other_threadgroup_declarations(code: str) -> None:
    """What is left may be a pointer or reference; a value would become private."""
    for match in re.finditer(r"\bthreadgroup\s+[^;*&(){}]*[;(){}]", code):
        raise KernelRefusedError(
            f"`{match[0].strip()}`: declare each threadgroup array in a statement "
            "of its own, without an initial value"
        )


def _driver(name: str, source: str) -> str:
    specialization = re.search(rf"decltype\(({re.escape(name)}<.*>)\) ", source)
    call = specialization[1] if specialization else name
    arguments = [_argument(p) for p in parameters(name, source)]
    return (
        f'extern "C" void {ENTRY}(void* const* buffers, const shim::Thread& t) {{\n'
        f"  (void)t;\n  {call}({', '.join(arguments)});\n}}\n"
    )


def _argument(parameter: re.Match[str]) -> str:
    if parameter["attribute"] != "buffer":
        return _ATTRIBUTES[parameter["attribute"]]
    pointer = f"({parameter['type']}*)buffers[{parameter['index']}]"
    return f"*{pointer}" if parameter["reference"] == "&" else pointer
