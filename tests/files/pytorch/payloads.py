"""Pickles that run something where an unpickler lets them: they make a file."""

from __future__ import annotations

from tests.files.pytorch.assemble import build, call, name, new, pickled, value

TOUCH = "touch unpickled"
WRITE = "open('unpickled', 'w')"
_SYSTEM = name("os", "system")
_INNER = pickled(call(_SYSTEM, TOUCH))


def _protocol0(opcodes: str) -> bytes:
    return opcodes.encode()


PAYLOADS: dict[str, bytes] = {
    "os.system by REDUCE": pickled(call(_SYSTEM, TOUCH)),
    "posix.system": pickled(call(name("posix", "system"), TOUCH)),
    "eval": pickled(call(name("builtins", "eval"), WRITE)),
    "eval of Python 2": pickled(call(name("__builtin__", "eval"), WRITE)),
    "exec": pickled(call(name("builtins", "exec"), WRITE)),
    "open": pickled(call(name("io", "open"), "unpickled", "w")),
    "subprocess": pickled(
        call(name("subprocess", "check_call"), ["touch", "unpickled"])
    ),
    "getattr": pickled(
        call(call(name("builtins", "getattr"), name("os", "x"), "y"), 1)
    ),
    "runpy": pickled(call(name("runpy", "run_path"), "unpickled")),
    "torch's own door": pickled(call(name("torch", "load"), "unpickled")),
    "by NEWOBJ": pickled(new(name("subprocess", "Popen"), ["touch", "unpickled"])),
    "by NEWOBJ_EX": pickled(
        name("subprocess", "Popen") + value((["touch", "unpickled"],)) + b"}\x92"
    ),
    "by STACK_GLOBAL": pickled(
        value("os") + value("system") + b"\x93" + value((TOUCH,)) + b"R"
    ),
    "by a name of dots": pickled(
        value("os") + value("path.os.system") + b"\x93" + value((TOUCH,)) + b"R"
    ),
    "by INST": _protocol0(f"(S'{TOUCH}'\nios\nsystem\n."),
    "by OBJ": b"\x80\x02(" + _SYSTEM + value(TOUCH) + b"o.",
    "by an extension": b"\x80\x02\x82\x01.",
    "in protocol 0": _protocol0(f"cos\nsystem\n(S'{TOUCH}'\ntR."),
    "by __setstate__": pickled(
        build(new(name("collections", "deque")), {"__setstate__": _SYSTEM})
    ),
    "by a default factory": pickled(
        call(name("collections", "defaultdict"), _SYSTEM) + value("x") + value(1) + b"s"
    ),
    "by _rebuild_from_type_v2": pickled(
        call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            *(_SYSTEM, name("torch", "Tensor"), (TOUCH,), None),
        )
    ),
    "by a backward hook": pickled(
        call(
            name("torch._utils", "_rebuild_parameter"),
            *(call(_SYSTEM, TOUCH), True, {"hook": _SYSTEM}),
        )
    ),
    "by an array of objects": pickled(
        build(
            call(name("numpy.core.multiarray", "_reconstruct"), _SYSTEM, (0,), "b"),
            (1, (1,), call(name("numpy", "dtype"), "O8", False, True), False, [1]),
        )
    ),
    "by a persistent id": pickled(call(_SYSTEM, TOUCH) + b"Q"),
    "through a placeholder": pickled(
        call(call(name("trainer", "Callback"), _SYSTEM), TOUCH)
    ),
    "by its items": pickled(
        new(name("trainer", "Settings")) + value("k") + call(_SYSTEM, TOUCH) + b"s"
    ),
    "as a key": pickled(b"}" + call(_SYSTEM, TOUCH) + value(1) + b"s"),
    "by an inner pickle": pickled(
        call(
            name("torch.storage", "_load_from_bytes"),
            call(name("_codecs", "encode"), _INNER.decode("latin1"), "latin1"),
        )
    ),
    "by a source of its own": pickled(
        value(("module", _SYSTEM, "unpickled.py", WRITE)) + b"Q"
    ),
    "by copyreg": pickled(
        call(
            name("copyreg", "_reconstructor"), _SYSTEM, name("builtins", "object"), None
        )
    ),
    "by a partial": pickled(call(call(name("functools", "partial"), _SYSTEM, TOUCH))),
}
