"""Every sample call of PyTorch's own tables, in Lucid and in PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest
import torch

from tests.oracle.pytorch_tables import (
    FIRST_ALONE,
    MODULES,
    NOT_REFUSED,
    NOT_SAMPLED,
    OF_TENSORS,
    OPS,
    OURS,
    converted,
    double,
    kept,
    name_of,
    samples,
    shown,
    tensors_in,
    to_mlx,
)
from tests.oracle.tolerances import FLOAT32, as_float64

torch.set_num_threads(2)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Lazy modules are a new feature"),
    # PyTorch warns that an even kernel's 'same' may copy.
    pytest.mark.filterwarnings("ignore:Using padding='same'"),
]

of_every_op = pytest.mark.parametrize("op", OPS, ids=lambda op: op.formatted_name)
of_every_module = pytest.mark.parametrize(
    "info", MODULES, ids=lambda info: info.module_cls.__name__
)


def assert_close(got: Any, want: Any, name: str) -> None:
    outputs = want if isinstance(want, tuple) else (want,)
    found = got if isinstance(want, tuple) else (got,)
    for a, b in zip(found, outputs, strict=True):
        expected = b.detach().numpy(force=True)
        assert a.shape == expected.shape, name
        # Sums cancel: the samples are numbers up to 10, right to about 1e-6.
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.05)
        np.testing.assert_allclose(
            as_float64(a), expected, rtol=0, atol=3 * FLOAT32 * scale, err_msg=name
        )


def our_function(op: Any) -> Callable[..., Any]:
    name = name_of(op)
    return OURS.get(name) or getattr(lucid if op.name in OF_TENSORS else F, name)


def first_of(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


@of_every_op
def test_samples_of_functions_give_what_pytorch_gives(op):
    """The outputs, and what the function writes into its arguments."""
    count = 0
    for args, options in samples(op):
        ours, theirs = (
            converted([args, options], to_mlx),
            converted([args, options], double),
        )
        want = op.op(*theirs[0], **theirs[1])
        got = our_function(op)(*ours[0], **ours[1])
        name = shown(args, options)
        assert_close(got, want, name)
        assert_close(tuple(tensors_in(ours)), tuple(tensors_in(theirs)), name)
        count += 1
    assert count


@pytest.mark.parametrize(
    "op", [op for op in OPS if op.supports_autograd], ids=lambda op: op.formatted_name
)
def test_samples_of_functions_have_pytorchs_gradients(op):
    for args, options in samples(op):
        theirs = converted([args, options], double)
        sources = differentiable(op, tensors_in(theirs))
        for source in sources:
            source.requires_grad_()
        output = first_of(op.op(*converted(theirs[0], torch.clone), **theirs[1]))
        if not output.requires_grad or not output.numel():
            continue
        rng = np.random.default_rng(0)
        weights = rng.uniform(0.5, 1.5, tuple(output.shape)).astype(np.float32)
        want = torch.autograd.grad(
            (output * torch.tensor(weights).double()).sum(),
            sources,
            materialize_grads=True,
        )

        def loss(arrays, given=(args, options), weights=weights):
            args, options = converted(list(given), replacing(arrays))
            result = first_of(our_function(op)(*args, **options))
            return (result * mx.array(weights)).sum()

        arrays = [to_mlx(tensor) for tensor in tensors_in([args, options])]
        got = mx.grad(loss)(arrays)[: len(sources)]
        assert_close(tuple(got), want, shown(args, options))


def replacing(arrays: list[mx.array]) -> Callable[[torch.Tensor], mx.array]:
    """What makes arrays of tensors: the floating ones in order from a list."""
    left = iter(arrays)

    def array_of(tensor: torch.Tensor) -> mx.array:
        return next(left) if tensor.is_floating_point() else to_mlx(tensor)

    return array_of


def differentiable(op: Any, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The first tensors of a sample, of which PyTorch has gradients."""
    return tensors[: FIRST_ALONE.get(name_of(op), len(tensors))]


@pytest.mark.parametrize(
    "op", [op for op in OPS if op.error_inputs_func], ids=lambda op: op.formatted_name
)
def test_what_pytorch_refuses_of_a_function_is_refused(op):
    for error in op.error_inputs("cpu"):
        if any(words in str(error.error_regex) for words in NOT_REFUSED):
            continue
        sample = error.sample_input
        ours = converted([[sample.input, *sample.args], kept(sample.kwargs)], to_mlx)
        with pytest.raises((ValueError, TypeError), match=r"`|unexpected keyword"):
            our_function(op)(*ours[0], **ours[1])


def module_samples(info: Any, training: bool) -> Iterator[Any]:
    left_out = NOT_SAMPLED.get(info.module_cls.__name__, (lambda *_, **__: False, ""))[
        0
    ]
    for sample in info.module_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=training
    ):
        if not left_out(*sample.forward_input.args):
            yield sample


def made(kind: Any, given: Any, tensor: Callable[[torch.Tensor], Any]) -> Any:
    args, options = converted([list(given.args), kept(given.kwargs)], tensor)
    return kind(*args, **options)


@of_every_module
def test_samples_of_modules_give_what_pytorch_gives(info):
    kind = getattr(nn, info.module_cls.__name__)
    for training in [True, False] if info.train_and_eval_differ else [True]:
        for sample in module_samples(info, training):
            built, called = sample.constructor_input, sample.forward_input
            name = shown(built.args, built.kwargs, called.args, called.kwargs)
            theirs = made(info.module_cls, built, double).train(training)
            ours = made(kind, built, to_mlx).train(training)
            if "Lazy" in kind.__name__:
                theirs(*called.args, **called.kwargs)
            else:
                assert repr(ours) == repr(theirs)
            ours.load_state_dict({k: to_mlx(v) for k, v in theirs.state_dict().items()})
            args, options = converted([list(called.args), called.kwargs], double)
            want = theirs.double()(*args, **options)
            got = made(ours, called, to_mlx)
            assert_close(got, want, name)
            after = {k: v for k, v in theirs.state_dict().items() if "num" not in k}
            got = tuple(ours.state_dict()[k] for k in after)
            assert_close(got, tuple(after.values()), name)


@pytest.mark.parametrize(
    "info",
    [info for info in MODULES if info.module_error_inputs_func],
    ids=lambda info: info.module_cls.__name__,
)
def test_what_pytorch_refuses_of_a_module_is_refused(info):
    kind = getattr(nn, info.module_cls.__name__)
    for error in info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=True
    ):
        if any(words in error.error_regex for words in NOT_REFUSED):
            continue
        sample = error.module_error_input
        with pytest.raises((ValueError, TypeError), match=r"`|unexpected keyword"):
            made(
                made(kind, sample.constructor_input, to_mlx),
                sample.forward_input,
                to_mlx,
            )
