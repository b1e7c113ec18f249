"""A module as a tree to open and close, which is what notebooks show of it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from lucid.nn._members import (
    buffer_names,
    each_once,
    named_arrays,
    named_entries,
    named_layers,
)
from lucid.nn._uninitialized import uninitialized_layers, uninitialized_names
import mlx.core as mx
import mlx.nn

# Colors are the page's own, so that light and dark themes need nothing.
_STYLE = """
.lucid-tree { font-family: var(--jp-code-font-family, monospace); line-height: 1.5; }
.lucid-tree ul { list-style: none !important; margin: 0; padding-left: 1.4em; }
.lucid-tree li.leaf { padding-left: 1em; }
.lucid-tree summary { cursor: pointer; display: list-item; }
.lucid-tree b { font-weight: 600; }
.lucid-tree i { font-style: normal; opacity: 0.65; }
.lucid-tree em { font-style: normal; font-size: 85%; padding: 0 0.4em;
  border: 1px solid currentColor; border-radius: 0.6em; }
"""

_ALL_OPEN = 24  # modules: a model of more begins with its insides closed


def html_tree(module: mlx.nn.Module) -> str:
    """HTML of a module, the modules in it, and the shapes of all they hold."""
    is_small = len(module.modules()) <= _ALL_OPEN
    tree = _layer("", module, is_open=True, opens_inside=is_small)
    lazy = len(uninitialized_layers(module, trained_only=False))
    waiting = "layer waits" if lazy == 1 else "layers wait"
    note = f"<i>{lazy} lazy {waiting} for the first input</i>" if lazy else ""
    return (
        f'<div class="lucid-tree"><style>{_STYLE}</style>'
        f"<ul style='padding-left: 0'>{tree}</ul>{note}</div>"
    )


def _layer(
    name: str, layer: Callable[..., Any], is_open: bool, opens_inside: bool
) -> str:
    """A list item: a line for the layer, which opens to what it holds."""
    label = f"({escape(name)}): " if name else ""
    if not isinstance(layer, mlx.nn.Module):
        function = getattr(layer, "__name__", repr(layer))
        return f'<li class="leaf">{label}<b>{escape(function)}</b></li>'
    line = f"{label}<b>{escape(type(layer).__name__)}</b>"
    options = layer._extra_repr()
    if options:
        line += f"<i>({escape(options)})</i>"
    if uninitialized_names(layer):
        line += " <em>lazy</em>"
    inside = _arrays(layer)
    layers = named_layers(layer)
    for name, inner in layers:
        shown = opens_inside or (is_open and len(layers) == 1)
        inside += _layer(name, inner, is_open=shown, opens_inside=opens_inside)
    if not inside:
        return f'<li class="leaf">{line}</li>'
    count = _parameters(layer)
    if count:
        line += f" <i>{count:,} parameter{'' if count == 1 else 's'}</i>"
    is_open = is_open and bool(layers)
    return (
        f"<li><details{' open' if is_open else ''}><summary>{line}</summary>"
        f"<ul>{inside}</ul></details></li>"
    )


def _arrays(layer: mlx.nn.Module) -> str:
    """List items for the arrays right inside a layer."""
    awaited = uninitialized_names(layer)
    shapes = getattr(layer, "parameter_shapes", dict)() if awaited else {}
    buffers, frozen = buffer_names(layer), set(layer._no_grad)
    items = ""
    for name, array in named_entries(layer):
        if not isinstance(array, mx.array):
            continue
        shape = shapes.get(name, array.shape) if name in awaited else array.shape
        lengths = ", ".join("?" if n is None else str(n) for n in shape)
        lengths += "," if len(shape) == 1 else ""
        dtype = str(array.dtype).removeprefix("mlx.core.")
        line = f"{escape(name)} <i>({lengths}) {dtype}</i>"
        if name in buffers:
            line += " <em>buffer</em>"
        elif name in frozen:
            line += " <em>frozen</em>"
        items += f'<li class="leaf">{line}</li>'
    return items


def _parameters(module: mlx.nn.Module) -> int:
    """How many numbers the parameters hold that exist, a shared array's once."""
    arrays = [
        (name, array)
        for name, owner, path, array in named_arrays(module)
        if path not in buffer_names(owner)
    ]
    return sum(array.size for _, array in each_once(arrays))
