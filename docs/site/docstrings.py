"""Docstrings as mkdocstrings takes them: its words for the house's sections."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from griffe import Extension, Object

_SHAPE = re.compile(r"^Shape:\n((?:    .*\n|\n)+)", re.MULTILINE)


class Sections(Extension):
    """Reads `Example:` as a section of examples, and `Shape:` as a titled list."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite a docstring as soon as it has been read."""
        if obj.docstring is not None:
            obj.docstring.value = in_its_words(obj.docstring.value)


def in_its_words(text: str) -> str:
    """`Examples:` for `Example:`, and a bold title over a list of shapes."""
    text = re.sub(r"(?m)^Example:$", "Examples:", text + "\n")
    return _SHAPE.sub(
        lambda match: f"**Shape:**\n\n{textwrap.dedent(match[1])}", text
    ).rstrip()
