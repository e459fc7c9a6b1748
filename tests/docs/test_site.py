"""The documentation as a site: every link leads somewhere, no page asks another host for anything, equations are drawn."""

import html.parser
import os
import re
import subprocess
import sys

import pytest
from commands import ROOT
from scripts import load_module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(html.parser.HTMLParser):
    """What a browser loads for a page by itself."""

    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.urls.append(attributes.get("src") or "")
        if tag == "link" and attributes.get("rel") in ("stylesheet", "preconnect", "icon", "preload"):
            self.urls.append(attributes.get("href") or "")


def test_no_page_loads_anything_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.urls
        foreign = [url for url in loaded.urls if url.startswith(("http:", "https:", "//"))]
        assert not foreign, (page, foreign)
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", style.read_text())


@pytest.mark.parametrize("method", ["pseudoseg", "dars", "esl", "bap_nal"])
def test_a_method_has_a_figure_equations_and_a_recipe(site, method):
    text = (site / f"methods/{method}.html").read_text()
    for heading in ("idea", "equations", "when-to-take-it", "recipe"):
        assert f'<h2 id="{heading}">' in text
    assert text.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') >= 2
    assert "$$" not in text and "\\frac" not in text
    assert f"pictures/method_{method}.png" in text


def test_files_of_the_project_are_on_the_site(site):
    assert "train.num_steps = 500" in (site / "source/gin_configs/recipes/shapes/base.gin.html").read_text()
    index = (site / "source/gin_configs/recipes/index.html").read_text()
    assert 'href="shapes/index.html"' in index
    assert "supervised" in (site / "index.html").read_text()  # README


def test_code_is_no_equation():
    hooks = load_module(ROOT / "tools/site/hooks.py")
    text = "cost `$HOME` and $x_1$\n```\n$PWD $y$\n```\n"
    page = type("Page", (), {"file": type("File", (), {"src_uri": "a.md"})})
    found = hooks.on_page_markdown(text, page, None, None)
    assert "`$HOME`" in found and "$PWD $y$" in found and found.count("<math") == 1


def test_every_page_is_in_the_navigation(site):
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in navigation
