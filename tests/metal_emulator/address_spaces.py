"""A second front end: clang checks the types, with real address spaces.

The kernels run through a C++ compiler that knows no address spaces. Clang does, and
here it sees declarations alone: neither a C library nor a function that Metal lacks.
"""

from pathlib import Path
import re
from typing import Any

from .declarations import forbidden_declarations
from .errors import MissingToolError
from .translate import plain

_INCLUDE = Path(__file__).parent / "lint"
_ARGUMENTS = [
    "--target=x86_64-unknown-linux-gnu",
    *("-x", "c++", "-std=c++14"),  # of which Metal is an extension
    *("-nostdinc", "-nostdinc++", "-fno-exceptions", "-fno-rtti", "-fsyntax-only"),
    *("-Wdouble-promotion", "-Werror=double-promotion", "-Werror=return-type"),
    *("-Wuninitialized", "-Werror=uninitialized", "-Werror=vla"),
    *("-Wno-unknown-attributes", "-Wno-ignored-attributes"),
    "-ferror-limit=0",
    f"-I{_INCLUDE}",
]
_FILE = "kernel.metal"
_PRELUDE_LINES = 2
_PRELUDE = "#include <metal_stdlib>\nusing namespace metal;\n"
_THREADGROUP_ARRAY = re.compile(r"\bthreadgroup(\s+[^;*&(){}=]*(?:\[[^\];]+\]\s*)+;)")
# Metal makes a float4 of four floats or of a half4; clang says otherwise, but of
# OpenCL. The first front end checks these.
_MAKING_A_VECTOR = re.compile(
    r"excess elements in scalar init|from vector .* to vector .* of different size"
)
_ERROR = 3  # clang.cindex.Diagnostic.Error; a fatal one is 4


def check(source: str) -> list[str]:
    """The errors in a kernel's generated source; none if there are none.

    Raises:
        MissingToolError: if libclang is not installed.
    """
    code = with_static_arrays(plain(source))
    index = _cindex().Index.create()
    code = _PRELUDE + code
    files = [(_FILE, code)]
    unit = index.parse(_FILE, args=_ARGUMENTS, unsaved_files=files)
    found = [
        (d.location.line, d.spelling)
        for d in unit.diagnostics
        if d.severity >= _ERROR and not _MAKING_A_VECTOR.search(d.spelling)
    ]
    found += forbidden_declarations(unit, _FILE, code)
    return [f"line {line - _PRELUDE_LINES}: {what}" for line, what in found]


def with_static_arrays(code: str) -> str:
    """Threadgroup arrays as clang wants them: static, what lies in an address space."""
    return _THREADGROUP_ARRAY.sub(r"static threadgroup\1", code)


def _cindex() -> Any:
    try:
        import clang.cindex
    except ImportError as error:
        raise MissingToolError(
            "the check of address spaces needs libclang: pip install libclang"
        ) from error
    return clang.cindex
