"""Forward hooks: functions called before and after a module's `forward`."""

from __future__ import annotations

from collections.abc import Callable
import itertools
from typing import Any

from lucid._types import flag
import mlx.nn

Hook = Callable[..., Any]
_keys = itertools.count()


class Hooks:
    """The hooks of one module in their order, each with whether it takes kwargs."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[Hook, bool]] = {}
        self.after: dict[int, tuple[Hook, bool]] = {}


class HookHandle:
    """Takes a hook off again: by `remove()`, or at the end of a `with` block."""

    def __init__(self, hooks: dict[int, tuple[Hook, bool]], key: int):
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        """Take the hook off; once more changes nothing."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Hooked(mlx.nn.Module):
    """A module that hooks can be put on.

    They do not run while the first call of a model with lazy layers is tried (see
    `nn.materialize`): one that changes the channels on their way to a lazy layer is put
    on after that.
    """

    _hooks: Hooks | None = None

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call `hook(module, args)` before `forward`.

        Args:
            hook: what it returns, a tuple or one value, replaces the arguments of
                `forward`, unless it is None.
            prepend: whether to call it before the hooks that are there.
            with_kwargs: call `hook(module, args, kwargs)`, which returns both or None.

        Returns:
            A handle, whose `remove()` removes the hook.
        """
        return _put_on(self._own_hooks().before, hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call `hook(module, args, output)` after `forward`.

        Args:
            hook: what it returns replaces the output, unless it is None.
            prepend: whether to call it before the hooks that are there.
            with_kwargs: call `hook(module, args, kwargs, output)`.

        Returns:
            A handle, whose `remove()` removes the hook.

        Example:
            >>> import lucid, lucid.nn as nn
            >>> model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU())
            >>> features = []
            >>> handle = model[0].register_forward_hook(
            ...     lambda module, args, output: features.append(output)
            ... )
            >>> _ = model(lucid.ones(1, 1, 5, 5, 5))
            >>> features[0].shape
            (1, 4, 3, 3, 3)
            >>> handle.remove()
        """
        return _put_on(self._own_hooks().after, hook, prepend, with_kwargs)

    def _own_hooks(self) -> Hooks:
        if self._hooks is None:
            self._hooks = Hooks()
        return self._hooks


def _put_on(
    hooks: dict[int, tuple[Hook, bool]], hook: Hook, prepend: bool, with_kwargs: bool
) -> HookHandle:
    if not callable(hook):
        raise TypeError(f"`hook` must be a function, got {type(hook).__name__}.")
    takes_kwargs = flag("with_kwargs", with_kwargs)
    others = dict(hooks) if flag("prepend", prepend) else {}
    if prepend:
        hooks.clear()
    key = next(_keys)
    hooks[key] = hook, takes_kwargs
    hooks.update(others)
    return HookHandle(hooks, key)


def forward(module: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call a module's `forward`, and its hooks before and after."""
    hooks: Hooks | None = module._hooks
    if hooks is None:
        return module.forward(*args, **kwargs)
    for hook, with_kwargs in list(hooks.before.values()):
        given = (args, kwargs) if with_kwargs else (args,)
        changed = hook(module, *given)
        if changed is not None and with_kwargs:
            args, kwargs = changed
        elif changed is not None:
            args = changed if isinstance(changed, tuple) else (changed,)
    output = module.forward(*args, **kwargs)
    for hook, with_kwargs in list(hooks.after.values()):
        given = (args, kwargs) if with_kwargs else (args,)
        changed = hook(module, *given, output)
        output = output if changed is None else changed
    return output
