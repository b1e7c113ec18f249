"""What mkdocs is told: the repository's own pages are pages of the site too."""

from __future__ import annotations

from pathlib import Path
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
IMAGES = "examples/images/"

_LINK = re.compile(r"(!?)\[([^]]*)\]\((?!https?:|#|mailto:)([^)#]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's pages, and the pictures that they show."""
    for source, page in PAGES.items():
        text = of_the_site((ROOT / source).read_text())
        files.append(File.generated(config, page, content=text))
    for image in (ROOT / IMAGES).iterdir():
        name = f"images/{image.name}"
        files.append(File.generated(config, name, abs_src_path=str(image)))
    return files


def of_the_site(text: str) -> str:
    """Links of a page at the root of the repository, as they are in the site.

    What is no page of the site keeps its text and loses its link.
    """

    def replaced(match: re.Match[str]) -> str:
        picture, label, target, anchor = match.groups()
        if target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif target.startswith(IMAGES):
            target = f"images/{target.removeprefix(IMAGES)}"
        elif target in PAGES:
            target = PAGES[target]
        else:
            return label
        return f"{picture}[{label}]({target}{anchor or ''})"

    return _LINK.sub(replaced, text)
