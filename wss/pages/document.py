"""One HTML file with everything in it: templates, pictures, charts. The only file that imports Jinja2.

Every text is escaped by the template engine. A page loads nothing and runs no script, and its policy forbids both.
"""

import base64
import importlib.util
import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wss.errors import UserError
from wss.files import write_text
from wss.visualization.charts import require_matplotlib, svg_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_PICTURE, LARGEST_SHEET = 400, 1800  # pixels of the longer side
QUALITY = 82  # of WebP


def require_pages() -> None:
    """Checks what would show only after the work.

    Raises:
        UserError: Jinja2 or matplotlib is not installed.
    """
    if not has_pages():
        raise UserError("Jinja2 or matplotlib is not installed, and pages need both: pip install 'wss[report]'")


def has_pages() -> bool:
    """Returns whether what pages need is installed."""
    return all(importlib.util.find_spec(name) for name in ("jinja2", "matplotlib"))


def write_page(path: str | os.PathLike, template: str, **content: Any) -> None:
    """Writes a page, whole or not at all.

    Args:
        path: The HTML file.
        template: Name of a file in `templates/`.
        **content: Values of the template; texts in them are escaped.

    Raises:
        UserError: Jinja2 or matplotlib is not installed.
        WriteError: The file cannot be written.
    """
    require_pages()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wss.pages", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, color=color)
    text = environment.get_template(template).render(chart=_charts(), **content)
    # A lone surrogate, as the name of a file may have, is no UTF-8.
    write_text(path, text.encode(errors="replace").decode())


def picture(image: np.ndarray, largest: int = LARGEST_PICTURE) -> str:
    """Returns a picture as the address of an <img>.

    Args:
        image: The picture, uint8 [H, W, 3].
        largest: Pixels of the longer side; what is larger is reduced.
    """
    encoded, shown = io.BytesIO(), Image.fromarray(image)
    shown.thumbnail((largest, largest))
    shown.save(encoded, format="WebP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()


def percent(value: float | None, digits: int = 1) -> str:
    """Returns a share, 0 .. 1, in percent as text; "-" for None and NaN."""
    return "-" if value is None or np.isnan(value) else f"{100 * value:.{digits}f}"


def color(rgb: tuple[int, int, int]) -> str:
    """Returns a colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _charts() -> "Callable[[Figure], Any]":
    """Returns a function for templates that turns a chart into an element, each with ids of its own."""
    from markupsafe import Markup

    require_matplotlib()
    number = 0

    def element(figure: "Figure") -> Markup:
        nonlocal number
        number += 1
        return Markup(svg_of(figure, f"chart{number}"))  # matplotlib escapes the texts in it

    return element
