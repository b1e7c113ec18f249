"""Compiles kernels, each once, into a cache below the system's temporary folder."""

from collections.abc import Callable, Sequence
import ctypes
import functools
import getpass
import hashlib
from importlib import metadata
import os
from pathlib import Path
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile

import mlx.core as mx

from .errors import KernelRefusedError, MissingToolError
from .lint import forbidden_constructs
from .translate import ENTRY, to_cpp

ZIG = (sys.executable, "-m", "ziglang", "c++", "-fno-stack-protector")
SANITIZERS = "LUCID_EMULATOR_SANITIZERS"  # set for the child process of sanitize.py

_INCLUDE = Path(__file__).parent / "include"
_RUNTIME = _INCLUDE / "shim" / "runtime.cpp"
_MAC = ["-Wl,-undefined,dynamic_lookup", "-D_XOPEN_SOURCE=700", "-D_DARWIN_C_SOURCE"]
_PLATFORM = _MAC if sys.platform == "darwin" else []
# Rounds half types after each operation; only x86 computes them in float.
_HALF = ["-fexcess-precision=16"] if platform.machine() in ("x86_64", "AMD64") else []
# Without a sanitizer's library, runtime.cpp answers for these checks.
_CHECKS = "alignment,bounds,integer-divide-by-zero,shift"


@functools.lru_cache(maxsize=1024)
def build(name: str, source: str) -> Callable[..., None]:
    """The function that runs one thread of a kernel.

    Raises:
        KernelRefusedError: if it uses what Metal lacks, or does not compile.
        MissingToolError: if there is no C++ compiler.
    """
    problems = forbidden_constructs(source)
    if problems:
        raise KernelRefusedError(f"{name}: " + "; ".join(problems))
    prelude = _precompiled_prelude()
    command = [*compiler(), *_flags(), "-shared", *(_PLATFORM or ["-nostdlib"])]
    command += ["-include", str(prelude.with_suffix(""))]
    runtime()
    library = ctypes.CDLL(str(_compiled(to_cpp(name, source), command, ".so")))
    return getattr(library, ENTRY)


@functools.cache
def runtime() -> ctypes.CDLL:
    """The scheduler, whose functions the kernels find by name."""
    command = [*compiler(), "-std=gnu++17", "-O2", "-g1", "-fPIC", "-shared"]
    command += _PLATFORM
    headers = "".join(p.read_text() for p in sorted(_RUNTIME.parent.glob("*.h")))
    command += [f"-I{_RUNTIME.parent}"]
    path = _compiled(_RUNTIME.read_text(), command, ".so", extra_key=headers)
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    library.shim_launch.restype = ctypes.c_char_p
    return library


@functools.cache
def compiler() -> tuple[str, ...]:
    """The one that CXX names; else g++; else the one that the registry has."""
    if "CXX" in os.environ:
        command = tuple(shlex.split(os.environ["CXX"]))
        if not _runs(command):
            raise MissingToolError(f"CXX (={os.environ['CXX']!r}) is no C++ compiler")
        return command
    for command in (("g++",), ZIG):
        if _runs(command):
            return command
    raise MissingToolError(
        "no C++ compiler: install g++ (Debian: apt install g++; macOS: "
        "xcode-select --install), `pip install ziglang`, or name another in CXX"
    )


def _runs(command: Sequence[str]) -> bool:
    if not command or shutil.which(command[0]) is None:
        return False
    # Without Apple's command line tools, macOS has a g++ that only asks for them.
    return not subprocess.run([*command, "--version"], capture_output=True).returncode


@functools.cache
def _flags() -> tuple[str, ...]:
    sanitizers = os.environ.get(SANITIZERS)
    checks = [f"-fsanitize={sanitizers or _CHECKS}"]
    checks += ["-g1", "-fno-sanitize-recover=all"] if sanitizers else []
    return (
        *("-std=gnu++17", "-O1", "-fPIC", "-w", *checks),
        *("-fno-strict-aliasing", "-ffp-contract=off", *_HALF),
        *(f"-I{_INCLUDE}", f"-I{_mlx_include()}"),
    )


def _mlx_include() -> Path:
    parents = Path(mx.__file__).parents
    return next(p / "include" for p in parents if (p / "include").exists())


@functools.cache
def _precompiled_prelude() -> Path:
    """Parsing the headers costs ten times what a kernel does.

    Clang refuses one whose headers were written anew since, even with the same text.
    """
    ours = sorted(p for p in _INCLUDE.rglob("*") if p.is_file())
    theirs = sorted((_mlx_include() / "mlx/backend/metal/kernels").rglob("*.h"))
    times = [p.stat().st_mtime_ns for p in ours + theirs]
    key = "".join(p.read_text() for p in ours) + metadata.version("mlx") + str(times)
    command = [*compiler(), *_flags(), "-x", "c++-header"]
    return _compiled(
        (_INCLUDE / "prelude.h").read_text(), command, ".gch", extra_key=key
    )


def _compiled(text: str, command: list[str], suffix: str, extra_key: str = "") -> Path:
    """The file that `command` makes of `text`, from the cache where it is there.

    Renaming is atomic: runs beside each other may build the same file twice, but
    never see half of one.
    """
    key = "\0".join([text, extra_key, *command])
    stem = hashlib.sha256(key.encode()).hexdigest()[:24]
    source = _cache() / (f"{stem}.h" if suffix == ".gch" else f"{stem}.cpp")
    target = source.with_name(source.name + suffix)
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=_cache()) as folder:
        (Path(folder) / source.name).write_text(text)
        os.replace(Path(folder) / source.name, source)
        built = Path(folder) / target.name
        result = subprocess.run(
            [*command, str(source), "-o", str(built)], capture_output=True, text=True
        )
        if result.returncode:
            raise KernelRefusedError(f"does not compile:\n{result.stderr[:4000]}")
        os.replace(built, target)
    return target


@functools.cache
def _cache() -> Path:
    folder = Path(tempfile.gettempdir()) / f"lucid-metal-emulator-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is another user's; remove it or set TMPDIR")
    return folder
