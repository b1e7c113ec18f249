"""PyTorch's own tables of samples, ModuleInfo and OpInfo, as a second oracle.

They come in its wheel, and call layers and functions in ways that nobody here has
thought of, and in ways that are errors. What Lucid refuses of it stands in `NOT_HERE`.
"""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import re
from typing import Any

from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest
import torch

from tests.oracle.pytorch_tables import MODULES, common_methods_invocations
from tests.oracle.tolerances import FLOAT32, as_float64
from tests.rows import outputs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

LAYERS = {info.module_cls.__name__: info for info in MODULES}
FUNCTIONS: dict[str, list[Any]] = {}
for found in common_methods_invocations.op_db:
    prefix, _, name = found.name.rpartition(".")
    if prefix == "nn.functional" and name in F.__all__ and "dropout" not in name:
        FUNCTIONS.setdefault(name, []).append(found)  # dropouts are random
MOST_SAMPLES = 100

# By what the error says.
NOT_HERE = {
    "interpolate": "must be 5-D",
    "grid_sample": "must be 5-D",
    "embedding": "`max_norm`|`sparse`",
    "batch_norm": r"must be \(N, C, ...\)",  # of an empty vector
    "normalize": "needs an array with axes",  # of a number, as of those below
    "Softmax": "needs an array with axes",
    "LogSoftmax": "needs an array with axes",
}


def ours(value: Any) -> Any:
    """Tensors as arrays, float64 as float32."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return mx.array((value.float() if value.is_floating_point() else value).numpy())
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, tuple | list):
        return type(value)(map(ours, value))
    if isinstance(value, dict):
        return {k: ours(v) for k, v in value.items() if k not in ("device", "dtype")}
    return value


def assert_close(got: Any, want: Any, what: str) -> None:
    """Relative to the largest number, or to 1: what is drawn is about that large."""
    for a, b in zip(outputs(got), outputs(want), strict=True):
        a, b = as_float64(a), b.detach().numpy()
        assert a.shape == b.shape, what
        bound = FLOAT32 * max(1, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=what)


def check_refusal(name: str, error: Exception, what: str) -> None:
    """The error is one that stands in the table."""
    if name not in NOT_HERE or not re.search(NOT_HERE[name], str(error)):
        raise AssertionError(f"{what} is refused: {error}")


def module_samples(info: Any, training: bool) -> Iterator[Any]:
    torch.manual_seed(0)
    yield from info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=training
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_what_pytorchs_samples_give(name, training):
    info, kind, compared = LAYERS[name], getattr(nn, name), 0
    for sample in itertools.islice(module_samples(info, training), MOST_SAMPLES):
        made, given = sample.constructor_input, sample.forward_input
        theirs = info.module_cls(*made.args, **made.kwargs).double().train(training)
        xs, options = ours(list(given.args)), ours(given.kwargs)
        try:
            layer = kind(*ours(list(made.args)), **ours(made.kwargs)).train(training)
            if name.startswith("Lazy"):
                theirs(*given.args, **given.kwargs)
            layer.load_state_dict({k: ours(v) for k, v in theirs.state_dict().items()})
            got = layer(*xs, **options)
        except ValueError as error:
            check_refusal(name, error, sample.desc)
            continue
        want = theirs(*given.args, **given.kwargs)
        assert_close(got, want, f"{made.args} {made.kwargs}")
        compared += 1
    assert compared


@pytest.mark.parametrize(
    "name", [name for name, info in LAYERS.items() if info.module_error_inputs_func]
)
def test_layers_refuse_what_pytorchs_error_samples_are(name):
    info = LAYERS[name]
    for sample in info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=True
    ):
        if sample.error_regex.startswith("index out of range"):
            continue  # to see that, Lucid would have to compute the array
        wrong = sample.module_error_input
        made, given = wrong.constructor_input, wrong.forward_input
        at_call = sample.error_on.name == "FORWARD_ERROR"

        def attempt(made=made, given=given, at_call=at_call) -> None:
            layer = getattr(nn, name)(*ours(list(made.args)), **ours(made.kwargs))
            if at_call:
                layer(*ours(list(given.args)), **ours(given.kwargs))

        with pytest.raises((TypeError, ValueError), match="`"):
            attempt()


def op_samples(name: str) -> Iterator[tuple[Any, Any]]:
    """(OpInfo, sample) of each kind of a function."""
    dtype = torch.int64 if name == "one_hot" else torch.float64
    for info in FUNCTIONS[name]:
        torch.manual_seed(0)
        samples = list(info.sample_inputs("cpu", dtype, requires_grad=False))
        every = max(1, len(samples) // MOST_SAMPLES)
        yield from ((info, sample) for sample in samples[::every])


def positional(name: str, sample: Any) -> list[Any]:
    """A sample's arguments, in the order of the function."""
    arguments = [sample.input, *sample.args]
    if name == "embedding":  # its weight comes first there
        arguments[:2] = arguments[1::-1]
    return arguments


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_gradients_are_what_pytorchs_samples_give(name):
    function = getattr(F, name)
    for info, sample in op_samples(name):
        arguments = positional(name, sample)
        what = f"{[getattr(a, 'shape', a) for a in arguments]} {sample.kwargs}"
        xs, options = ours(arguments), ours(sample.kwargs)
        try:
            got = function(*xs, **options)
        except (TypeError, ValueError) as error:
            check_refusal(name, error, what)
            continue
        if sample.input.is_floating_point():
            sample.input.requires_grad_()
        want = outputs(info.op(sample.input, *sample.args, **sample.kwargs))
        assert_close(got, want, what)
        if not want[0].requires_grad:
            continue
        (exact,) = torch.autograd.grad(want[0].sum(), sample.input)
        place = 1 if name == "embedding" else 0

        def total(x, xs=xs, options=options, place=place):
            given = [*xs[:place], x, *xs[place + 1 :]]
            return outputs(function(*given, **options))[0].sum()

        assert_close(mx.grad(total)(xs[place]), exact, f"gradient of {what}")


@pytest.mark.parametrize(
    "name",
    [n for n, infos in FUNCTIONS.items() if any(i.error_inputs_func for i in infos)],
)
def test_functions_refuse_what_pytorchs_error_samples_are(name):
    for info in FUNCTIONS[name]:
        for error in info.error_inputs("cpu") if info.error_inputs_func else ():
            xs = ours(positional(name, error.sample_input))
            options = ours(error.sample_input.kwargs)
            with pytest.raises((TypeError, ValueError), match="`"):
                mx.eval(getattr(F, name)(*xs, **options))
