"""A module's state dict: given, loaded, and kept in files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
import os
from typing import TYPE_CHECKING, Any, ClassVar

from lucid import files
from lucid._types import Tensor, flag, text
from lucid.nn._members import array_members, mlx_names, unsaved_names
from lucid.nn._state_dict import Dtypes, IncompatibleKeys, load_state
from lucid.nn._ties import settle_ties
from lucid.nn._uninitialized import check_initialized
import mlx.nn

if TYPE_CHECKING:
    from typing_extensions import Self


class Saved(mlx.nn.Module):
    """A module that gives and takes state dicts."""

    def state_dict(self, *, prefix: str = "") -> dict[str, Tensor]:
        """Every parameter and persistent buffer under PyTorch's dotted names.

        An array with several names is there under each.

        Args:
            prefix: put before every name.

        Raises:
            UninitializedParameterError: if a lazy layer has no weights yet.
        """
        text("prefix", prefix)
        check_initialized(self, "state_dict()", trained_only=False)
        settle_ties(self)
        return {
            prefix + member.name: member.value
            for member in array_members(self)
            if member.path not in unsaved_names(member.owner)
        }

    optional_in_state_dict: ClassVar[Collection[str]] = ()
    """Buffers that a strict load leaves as they are if the state dict lacks them.

    For buffers that a later version of a module added, such as `num_batches_tracked`.
    """

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        strict: bool = True,
        assign: bool = False,
        *,
        cast: bool = False,
    ) -> IncompatibleKeys:
        """Copy a state dict into the model: all of it or, on any mismatch, nothing.

        A lazy layer takes its input channels from its 5-D weight. An array with
        several names may be given under one of them, or under each.

        Args:
            state_dict: arrays (MLX's, NumPy's or PyTorch's) under the names of
                `state_dict()`.
            strict: whether missing and unexpected names are mismatches too.
            assign: store the given arrays themselves, with their floating dtypes,
                instead of copies with the model's dtypes.
            cast: cast floating arrays to the model's floating dtypes, and integers to
                its integers.

        Returns:
            The named tuple (missing_keys, unexpected_keys).

        Raises:
            StateDictError: listing the mismatches of name, shape and dtype.
        """
        dtypes = Dtypes(cast=flag("cast", cast), keep=flag("assign", assign))
        strict = flag("strict", strict)
        return load_state(self, state_dict, strict, dtypes, copy=not assign)

    def save_weights(self, file: str | os.PathLike[str]) -> None:
        """Save `state_dict()` to an `.npz` or `.safetensors` file; see `lucid.save`."""
        files.save(self.state_dict(), file)

    def load_weights(self, file_or_weights: Any, strict: bool = True) -> Self:
        """MLX's call for `load_state_dict`, from a file or a list of (name, array).

        Names may be PyTorch's (`0.weight`) or those of MLX's `parameters()`
        (`layers.0.weight`). Shapes and dtypes are checked, strict or not.

        Returns:
            The model.
        """
        if isinstance(file_or_weights, str | os.PathLike):
            weights = files.load(file_or_weights)
        else:
            weights = _pairs(file_or_weights)
        names = mlx_names(self)
        state = {names.get(name, name): array for name, array in weights.items()}
        self.load_state_dict(state, strict)
        return self


def _pairs(weights: Any) -> dict[str, Any]:
    """A dict of (name, array) pairs."""
    try:
        named = dict(weights)
    except (TypeError, ValueError):
        raise TypeError(
            "`file_or_weights` must be a path or (name, array) pairs, got "
            f"{type(weights).__name__}."
        ) from None
    for name in named:
        text("file_or_weights", name)
    return named
