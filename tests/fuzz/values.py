"""What arguments are: plausible ones by a parameter's name, and odd ones by kind.

Each is Python's source, so that a finding can be read and pasted.
"""

from __future__ import annotations

import decimal
import fractions
import random
from typing import Any

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import numpy as np

from tests.layers import ROWS

NAMES: dict[str, Any] = {
    "lucid": lucid,
    "nn": nn,
    "F": nn.functional,
    "mx": mx,
    "mlx": mlx,
    "np": np,
    "ROWS": ROWS,
    "Fraction": fractions.Fraction,
    "Decimal": decimal.Decimal,
}

VOLUME = "mx.ones((2, 4, 5, 6, 7))"

# Tried in this order: the parameter's name, a word of its annotation.
BY_NAME: dict[str, tuple[str, ...]] = {
    "input": (VOLUME, "mx.ones((4, 5, 6, 7))", "mx.ones((2, 4))"),
    "x": (VOLUME, "mx.ones((4, 5, 6, 7))"),
    "target": (VOLUME, "mx.zeros((2, 5, 6, 7), mx.int32)"),
    "tensor": ("mx.ones((4, 4, 3, 3, 3))", "mx.ones((6, 4))", "mx.ones((3,))"),
    "tensors": ("[mx.ones((2, 3)), mx.zeros((2, 3))]",),
    "weight": (
        "mx.ones((6, 4, 3, 3, 3))",
        "mx.ones((4, 6, 2, 2, 2))",
        "mx.ones((4,))",
        "mx.ones((6, 7))",
    ),
    "bias": ("None", "mx.ones((6,))", "mx.ones((4,))"),
    "grid": ("mx.zeros((2, 3, 3, 3, 3))",),
    "theta": ("mx.zeros((2, 3, 4))",),
    "running_mean": ("mx.zeros((4,))",),
    "running_var": ("mx.ones((4,))",),
    "size": ("(2, 3)", "3", "(5, 6, 7)", "(2, 4, 3, 3, 3)"),
    "loss": ("nn.MSELoss()",),
    "low": ("0", "-3"),
    "high": ("10",),
    "fill_value": ("0", "1.5"),
    "value": ("0", "1.5"),
    "pad": ("(1, 1)", "(1, 0, 2, 1)"),
    "padding": ("1", "(0, 1, 1)", "(1, 0, 2, 1, 0, 1)"),
    "kernel_size": ("2", "(1, 2, 3)"),
    "normalized_shape": ("7", "(6, 7)"),
    "num_groups": ("2",),
    "output_size": ("3", "(2, 3, 4)"),
    "scale_factor": ("2", "(2.0, 1.0, 2.0)"),
    "dtype": ("None", "mx.float16", "'float32'"),
    "device": ("None", "'cpu'"),
    "dim": ("0", "-1"),
    "predictor": ("nn.ReLU()", "nn.Conv3d(4, 2, 1)"),
    "roi_size": ("3", "(2, 3, 3)"),
    "inputs": (VOLUME, "(1, 4, 5, 6, 7)"),
    "model": ("nn.Sequential(nn.Conv3d(4, 2, 1), nn.ReLU())", "nn.LazyConv3d(2, 1)"),
    "fn": ("(lambda *a: None)",),
    "layer": ("nn.ReLU()",),
    "layers": ("nn.ReLU()", "nn.LazyConv3d(2, 3)"),
    "modules": ("[nn.ReLU(), nn.Identity()]", "{'a': nn.ReLU()}"),
    "module": ("nn.ReLU()",),
    "indices": ("mx.zeros((2, 4, 2, 3, 3), mx.int32)",),
    "array": ("np.ones((2, 3))",),
    "data": ("[[1.0, 2.0]]", "3", "np.ones((2, 3))"),
    "new_state": ("lucid.get_rng_state()", "lucid.get_autotune_state()"),
    "state": ("{'a': mx.ones(2)}",),
    "state_dict": ("{}", "{'weight': mx.ones((2, 4, 1, 1, 1))}"),
    "path": ("'weights.npz'", "'weights.safetensors'"),
    "file": ("'weights.npz'",),
    "file_or_weights": ("[]", "{}", "'weights.npz'"),
    "name": ("'a'",),
    "key": ("'a'",),
    "nonlinearity": ("'relu'", "'leaky_relu'"),
    "learning_rate": ("0.1",),
    "optimizers": ("[lucid.optim.SGD(0.1)]",),
    "parameters": ("{'a': mx.ones(2)}",),
    "volume": ("mx.ones((4, 5, 6))", "[mx.ones((2, 4, 5, 6))]"),
    "mask": ("mx.ones((4, 5, 6), mx.bool_)",),
    "at": ("(1, 2, 3)",),
    "cmap": ("'gray'",),
    "origin": ("'lower'",),
}
BY_TYPE: dict[str, tuple[str, ...]] = {
    "Tensor": (VOLUME,),
    "array": (VOLUME,),
    "Size3d": ("2", "(1, 2, 2)"),
    "int": ("2", "4"),
    "float": ("0.5", "1.0"),
    "bool": ("True", "False"),
    "str": ("'mean'", "'a'"),
    "Callable": ("(lambda *a: None)",),
    "Mapping": ("{}",),
    "Iterable": ("()",),
    "Module": ("nn.ReLU()",),
}

_SHAPES = ("()", "(0,)", "(3,)", "(2, 3)", "(4, 5, 6, 7)", "(2, 4, 5, 6, 7)")
_EMPTY = ("(0, 4, 5, 6, 7)", "(2, 0, 5, 6, 7)", "(2, 4, 0, 6, 7)", "(1,) * 8")
_DTYPES = (
    *("bool_", "int8", "int32", "int64", "uint8", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64"),
)

ODD: dict[str, tuple[str, ...]] = {
    "constants": ("None", "True", "False", "...", "NotImplemented"),
    "ints": (
        *("0", "1", "-1", "2", "3", "7", "100", "2**31 - 1", "2**31", "-2**31 - 1"),
        *("2**32", "2**53 + 1", "2**63 - 1", "2**63", "2**64", "-2**63 - 1"),
        *("10**400", "10**5000", "-10**5000"),
    ),
    "floats": (
        *("0.0", "-0.0", "0.5", "1.0", "2.0", "-1.5", "1e-45", "1e39", "1e300"),
        *("float('nan')", "float('inf')", "-float('inf')", "1j", "complex('nan')"),
        *("Fraction(1, 3)", "Decimal('0.1')"),
    ),
    "strings": (
        *("''", "'same'", "'zeros'", "'reflect'", "'mean'", "'0'", "'a.b'", "'_a'"),
        *("'weight'", "'forward'", "'\\0'", "'\\ud800'", "'x' * 10000", "b'1'"),
    ),
    "numpys": (
        *("np.int8(3)", "np.uint64(2**64 - 1)", "np.float16(0.5)", "np.float64('nan')"),
        *("np.bool_(True)", "np.str_('1')", "np.complex64(1)", "np.longdouble(1)"),
        *("np.datetime64(1, 's')", "np.datetime64('NaT')", "np.void(b'ab')"),
        *("np.timedelta64(1, 'ns')", "np.timedelta64(1, 'D')"),
        *("np.array(3)", "np.array([1, 2])", "np.zeros((2, 3))", "np.array(None)"),
        *("np.zeros((2, 4, 5, 6, 7), 'f4')", "np.array(1, 'm8[s]')", "np.zeros(0)"),
        *("np.array('a')", "np.zeros(2, [('a', 'i4')])", "np.ma.masked"),
    ),
    "containers": (
        *("()", "[]", "{}", "set()", "(1,)", "(1, 2)", "(1, 2, 3)", "[2, 2, 2]"),
        *("(1, 2, 3, 4)", "(1, 1, 1, 1, 1, 1)", "(1, -1, 1)", "(0, 0, 0)"),
        *("(1.5, 1, 1)", "(None, None, None)", "('a', 'b')", "((1, 1),) * 3"),
        *("(2**31, 1, 1)", "(2**40,) * 3", "(10**5000, 1, 1)", "(True, 1, 1)"),
        *("(float('nan'), 1.0)", "(1, np.timedelta64(1, 's'), 1)", "[mx.ones(2)]"),
        *("{'a': 1}", "{1: mx.ones(2)}", "{'a': mx.ones(2)}", "[('a', mx.ones(2))]"),
        *("range(3)", "iter(())", "[[[]]]", "[None]", "[nn.ReLU()]", "[1, [2]]"),
        *("{'a': np.datetime64(1, 's')}", "[np.datetime64(1, 's')]", "[[1], [1, 2]]"),
        *("slice(None)", "slice(0, 2, 0)"),
    ),
    "objects": ("object()", "mx", "mx.Dtype", "Exception()", "nn.Conv3d"),
    "words": (
        *("mx.float16", "mx.int32", "mx.float64", "'float16'", "'float'", "np.float32"),
        *("np.dtype('M8[s]')", "mx.cpu", "mx.gpu", "'cpu'", "'gpu'", "'cuda'"),
        *("mx.Device(mx.cpu, 5)", "mx.floating"),
    ),
    "modules": (
        *("nn.ReLU()", "nn.LazyConv3d(2, 3)", "nn.Sequential()", "nn.ModuleList()"),
        *("nn.Module()", "mlx.nn.Linear(2, 2)", "mlx.nn.Sequential()"),
    ),
    "arrays": (
        *(f"mx.zeros({shape})" for shape in (*_SHAPES, *_EMPTY)),
        *(f"mx.ones((2, 4, 5, 6, 7), mx.{dtype})" for dtype in _DTYPES),
        *(f"mx.ones((3,), mx.{dtype})" for dtype in _DTYPES),
        *("mx.array(2)", "mx.array(0.5)", "mx.array([1.0, float('nan')])"),
        "mx.broadcast_to(mx.array(1.0), (2**31 - 1,))",
        "mx.broadcast_to(mx.array(1.0), (1, 4, 2**28, 1, 1))",
        "mx.ones((7, 6, 5, 4, 2)).T",
        "mx.ones((2, 8, 5, 6, 7))[:, ::2]",
    ),
}


def odd(rng: random.Random) -> str:
    """A value of any kind, each kind as often."""
    return rng.choice(ODD[rng.choice(list(ODD))])


def plausible(name: str, annotation: str, rng: random.Random) -> str:
    """A value that a parameter of this name, or else of this type, may take."""
    if annotation == "bool":
        return rng.choice(BY_TYPE["bool"])
    if name in BY_NAME:
        return rng.choice(BY_NAME[name])
    for word, values in BY_TYPE.items():
        if word in annotation:
            return rng.choice(values)
    return odd(rng)


def evaluated(source: str) -> Any:
    """A new object of this source."""
    return eval(source, dict(NAMES))
