"""What mkdocs is told: pages and notebooks of the repository are the site's too."""

from __future__ import annotations

from pathlib import Path
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
NOTEBOOKS = {
    f"examples/{path.name}": f"notebook_{path.stem}.md"
    for path in (ROOT / "examples").glob("*.ipynb")
}
IMAGES = "examples/images/"

_LINK = re.compile(r"(!?)\[([^]]*)\]\((?!https?:|#|mailto:)([^)#]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's pages and notebooks, and the pictures that they show."""
    for source, page in PAGES.items():
        text = of_the_site((ROOT / source).read_text())
        files.append(File.generated(config, page, content=text))
    for source, page in NOTEBOOKS.items():
        text, pictures = notebook(ROOT / source)
        files.append(File.generated(config, page, content=of_the_site(text)))
        for name, content in pictures.items():
            files.append(File.generated(config, f"images/{name}", content=content))
    for image in (ROOT / IMAGES).iterdir():
        name = f"images/{image.name}"
        files.append(File.generated(config, name, abs_src_path=str(image)))
    return files


def notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as it is stored, in Markdown, and its pictures by name."""
    text, resources = MarkdownExporter().from_filename(str(path))
    pictures = {}
    for name, content in resources["outputs"].items():
        pictures[f"{path.stem}_{name}"] = content
        text = text.replace(f"]({name})", f"]({IMAGES}{path.stem}_{name})")
    return text, pictures


def of_the_site(text: str) -> str:
    """Links of a page of the repository, as they are in the site.

    What is no page of the site keeps its text and loses its link.
    """
    pages = PAGES | NOTEBOOKS
    pages |= {f"../{source}": page for source, page in PAGES.items()}
    pages |= {Path(source).name: page for source, page in NOTEBOOKS.items()}

    def replaced(match: re.Match[str]) -> str:
        picture, label, target, anchor = match.groups()
        if target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif target.startswith(IMAGES):
            target = f"images/{target.removeprefix(IMAGES)}"
        elif target in pages:
            target = pages[target]
        else:
            return label
        return f"{picture}[{label}]({target}{anchor or ''})"

    return _LINK.sub(replaced, text)
