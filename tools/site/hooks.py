"""What mkdocs does not do by itself: equations as MathML, README and notebook as pages, links to files of the project.

The Markdown reads well where it lies, with links such as `../gin_configs/methods/esl.gin`. On the site such a file is a copy
of itself below `source/`, and a folder a list of its files.
"""

import json
import os
import posixpath
import re
from pathlib import Path

import latex2mathml.converter
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
# Pages that lie elsewhere in the project, by their path on the site.
ELSEWHERE = {"index.md": "README.md", "changes.md": "CHANGELOG.md", "workspace.md": "WORKSPACE.md"}
NOTEBOOK, NOTEBOOK_PAGE = "quickstart.ipynb", "quickstart.md"
NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
LINK = re.compile(r"(?<=\]\()(?!https?://|#|mailto:)([^)\s#]+)(#[^)\s]*)?(?=\))")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
DISPLAY, INLINE = re.compile(r"\$\$(.+?)\$\$", re.DOTALL), re.compile(r"(?<![\w$\\])\$([^$\n]+?)\$(?![\w$])")


def on_files(files: Files, config) -> Files:
    """Adds README, the changes, the notebook as a page, and every file of the project that a page links to."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    files.append(File.generated(config, NOTEBOOK_PAGE, content=notebook_page(ROOT / "docs" / NOTEBOOK)))
    for file in [file for file in files if file.src_uri.endswith(".md")]:
        for target in outside_links(file.src_uri, file.content_string):
            _add_source(files, config, target)
    return files


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    """Rewrites links that leave the documentation, and equations."""
    uri = page.file.src_uri
    parts = CODE.split(LINK.sub(lambda match: _on_site(uri, match[1]) + (match[2] or ""), markdown))
    return "".join(part if number % 2 else with_equations(part) for number, part in enumerate(parts))


def with_equations(text: str) -> str:
    """Returns Markdown whose LaTeX is MathML, which browsers draw without a script."""
    convert = latex2mathml.converter.convert
    text = DISPLAY.sub(lambda match: convert(match[1].strip(), display="block"), text)
    return INLINE.sub(lambda match: convert(match[1]), text)


def outside_links(uri: str, markdown: str) -> set[str]:
    """Returns what a page links to that is not of the documentation, as paths from the project's root."""
    targets = {_in_project(uri, match[1]) for match in LINK.finditer(CODE.sub("", markdown))}
    return {target for target in targets if not _is_page(target) and (ROOT / target).exists()}


def notebook_page(path: Path) -> str:
    """Returns a notebook as Markdown: its texts, code and outputs."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f'<img alt="output" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">')
            elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
                parts.append(f"```text\n{text}\n```")
    parts.insert(1, f"[{path.name}]({path.name}) is this page as a notebook.")
    return "\n\n".join(parts) + "\n"


def _in_project(uri: str, link: str) -> str:
    """Returns what a link of a page means, as a path from the project's root."""
    folder = "" if uri in ELSEWHERE else posixpath.join("docs", posixpath.dirname(uri))
    return posixpath.normpath(posixpath.join(folder, link))


def _is_page(target: str) -> bool:
    in_docs = target.startswith("docs/") and not (ROOT / target).is_dir()
    return in_docs or target in ELSEWHERE.values()


def _on_site(uri: str, link: str) -> str:
    """Returns the link of a page on the site."""
    target = _in_project(uri, link)
    pages = {source: page for page, source in ELSEWHERE.items()}
    if uri != NOTEBOOK_PAGE:
        pages[f"docs/{NOTEBOOK}"] = NOTEBOOK_PAGE
    place = pages.get(target) or (target.removeprefix("docs/") if _is_page(target) else _source(target))
    return posixpath.relpath(place, posixpath.dirname(uri) or ".")


def _source(target: str) -> str:
    path = ROOT / target
    return f"source/{target}/index.md" if path.is_dir() else f"source/{target}.md"


def _add_source(files: Files, config, target: str) -> None:
    """Adds a file of the project as a page, or a folder as a list of what is in it."""
    uri, path = _source(target), ROOT / target
    if files.get_file_from_path(uri) is not None:
        return
    if path.is_file():
        text = path.read_text()
        content = text if path.suffix == ".md" else f"# {target}\n\n````text\n{text}\n````\n"
        files.append(File.generated(config, uri, content=NOT_SEARCHED + content))
        return
    listed = sorted(one for one in path.iterdir() if not one.name.startswith((".", "__")) and one.suffix != ".npz")
    lines = [f"- [{one.name}]({one.name}{'/index' if one.is_dir() else ''}.md)" for one in listed]
    files.append(File.generated(config, uri, content=f"{NOT_SEARCHED}# {target}\n\n" + "\n".join(lines) + "\n"))
    for one in listed:
        _add_source(files, config, os.path.join(target, one.name))
