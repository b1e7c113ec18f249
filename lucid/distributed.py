"""Data parallel training: the same weights on every rank, lazy layers included.

MLX does the communication: start the script with `mlx.launch -n 2 -- python train.py`,
give each rank its share of the batch, and average the gradients with
`mlx.nn.average_gradients(grads)` before `optimizer.update`.
"""

from __future__ import annotations

from typing import Any
import zlib

from lucid.nn._first_call import create
from lucid.nn._materialize import ModuleT, call_with_shapes, check_module
from lucid.nn._members import named_arrays
from lucid.nn._state_dict import assign
import mlx.core as mx
import mlx.nn

__all__ = ["materialize"]


def __dir__() -> list[str]:
    return __all__


def materialize(
    model: ModuleT,
    *inputs: Any,
    group: mx.distributed.Group | None = None,
    **kwargs: Any,
) -> ModuleT:
    """`nn.materialize` on every rank, then rank 0's weights and buffers on all.

    Every rank must call it. The seeds of the ranks may differ; each keeps its own
    random state, so that dropout and data stay different. If it fails on any rank, it
    fails on all, and every layer stays lazy.

    Args:
        model: the model, lazy or not.
        inputs: as for `nn.materialize`; may differ between ranks in all but channels.
        group: the ranks; None for all.
        kwargs: as for `nn.materialize`.

    Returns:
        The model.

    Raises:
        Exception: what `nn.materialize` raised, on the rank where it did.
        RuntimeError: on the other ranks then, and on all if the models differ.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> from lucid import distributed
        >>> model = distributed.materialize(nn.LazyConv3d(8, 3), (1, 4, 8, 8, 8))
        >>> model.in_channels
        4
    """
    check_module(model)
    ranks = mx.distributed.init() if group is None else group

    def run() -> None:
        failure: BaseException | None = None
        try:
            call_with_shapes(model, inputs, kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again, once all know
            failure = error
        _check_agreement(model, failure, ranks)

    create(run, model)
    _share_from_rank_0(model, ranks)
    return model


def _check_agreement(
    model: mlx.nn.Module, failure: BaseException | None, group: mx.distributed.Group
) -> None:
    """Raise on every rank alike: one that failed alone would leave others waiting."""
    digest = 0 if failure else _digest(model)
    outcomes = _gather(group, [failure is not None, digest])
    if failure is not None:
        raise failure
    failed = [str(rank) for rank, (bad, _) in enumerate(outcomes) if bad]
    if failed:
        raise RuntimeError(f"materialize failed on rank {', '.join(failed)}.")
    if len({digest for _, digest in outcomes}) > 1:
        raise RuntimeError(
            "the ranks' models differ in the names, shapes or dtypes of their arrays: "
            "is the number of input channels the same on every rank?"
        )


def _gather(group: mx.distributed.Group, values: list[int]) -> list[list[int]]:
    """Each rank's values, in the order of the ranks."""
    rows = mx.distributed.all_gather(
        mx.array([values], mx.int32), group=group, stream=mx.cpu
    )
    return rows.tolist()  # type: ignore[return-value]


def _digest(model: mlx.nn.Module) -> int:
    """A number that two models of one structure share."""
    entries = [(name, a.shape, str(a.dtype)) for name, _, _, a in named_arrays(model)]
    return zlib.crc32(repr(entries).encode()) & 0x7FFFFFFF


def _share_from_rank_0(model: mlx.nn.Module, group: mx.distributed.Group) -> None:
    """The sum of rank 0's arrays and the others' zeros is rank 0's."""
    if group.size() == 1:
        return
    for _, owner, name, array in list(named_arrays(model)):
        own = array if group.rank() == 0 else mx.zeros_like(array)
        assign(owner, name, mx.distributed.all_sum(own, group=group, stream=mx.cpu))
    mx.eval(model.parameters())
