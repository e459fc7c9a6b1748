"""The page: photos in, pictures and numbers out. The only file that imports Gradio."""

import contextlib
import csv
import html
import importlib.util
import io
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wss.data.photos import SUFFIXES
from wss.errors import UserError, first_line
from wss.viewer.segmenter import Segmented, Segmenter
from wss.visualization.picture_files import save_index_png, save_png

HOUR = 3600
RESULTS = "results"
LEGEND = """
<style>
.wss-classes { width: 100%; border-collapse: collapse; }
.wss-classes td, .wss-classes th { padding: 2px 8px 2px 0; text-align: left; }
.wss-classes td:last-child, .wss-classes th:last-child { text-align: right; }
.wss-color { display: inline-block; width: 1em; height: 1em; border: 1px solid #888; vertical-align: -0.1em; }
</style>
"""


def require_page() -> None:
    """Checks that Gradio is installed.

    Raises:
        UserError: It is not.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError("Gradio is not installed, and the page needs it: pip install 'wss[demo]'")


class Page:
    """What the page does with photos; its pictures lie in a folder that goes with it.

    Args:
        segmenter: The run.
        max_photos: Largest number of photos at once.
    """

    def __init__(self, segmenter: Segmenter, *, max_photos: int):
        self._segmenter, self._max_photos = segmenter, max_photos
        # Of this user alone; Gradio keeps here what it is given, too.
        self._temporary = tempfile.TemporaryDirectory(prefix="wss-demo-")
        (Path(self.folder) / RESULTS).mkdir()

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_) -> None:
        self._temporary.cleanup()

    @property
    def folder(self) -> str:
        """The folder of what is given to the page, and of its pictures."""
        return self._temporary.name

    @property
    def info(self):
        """The data set of the run."""
        return self._segmenter.run.info

    def segment(self, files: Sequence[str] | None) -> tuple[list[dict], list[tuple[str, str]], str, str | None]:
        """Segments photos.

        Args:
            files: Paths of what was given to the page.

        Returns:
            What `show` takes, the overlays with their names, lines on what was not read, and a ZIP of everything.
        """
        results, problems = [], []
        # By name: each lies in a folder of its own.
        files = sorted(files or [], key=lambda file: Path(file).name)
        photos = [file for file in files if Path(file).suffix.lower() in SUFFIXES]
        if len(others := [Path(file).name for file in files if file not in photos]) > 1:
            problems.append(f"{len(others)} files are no photos, such as {others[0]}")
        elif others:
            problems.append(f"{others[0]}: no photo; expected {', '.join(SUFFIXES)}")
        if not files:
            problems.append("no photo was given")
        if len(photos) > self._max_photos:
            problems.append(f"{len(photos)} photos were given, the first {self._max_photos} are shown")
        folder = self._new_folder()
        for number, file in enumerate(photos[: self._max_photos]):
            name = Path(file).name
            try:
                found = self._segmenter(Path(file))
                results.append(self._written(found, name, folder / str(number)))
            except UserError as error:
                problems.append(str(error).replace(str(file), name))
            except Exception as error:  # one photo must not end the page for the others
                problems.append(f"{name}: not segmented ({type(error).__name__}: {first_line(error)})")
        archive = self._archive(results, folder / "segmented.zip") if results else None
        said = "<br>".join(html.escape(line) for line in problems)
        return results, [(one["pictures"][1][0], one["name"]) for one in results], said, archive

    def show(self, results: Sequence[dict], number: int) -> tuple[list[tuple[str, str]], str, str]:
        """Returns the pictures of one photo, its classes as HTML, and its mask."""
        one = results[number]
        return one["pictures"], self.classes(one), one["mask"]

    def classes(self, one: dict | None = None) -> str:
        """Returns the classes with their colours, and with their shares of a photo, as HTML."""
        shares = one["shares"] if one else [None] * self.info.num_classes
        rows = []
        for name, color, share in zip(self.info.class_names, self.info.colors, shares, strict=True):
            square = f'<span class="wss-color" style="background: rgb{tuple(color)}"></span>'
            area = "" if share is None else f"{share:.1%}"
            rows.append((share or 0.0, f"<tr><td>{square} {html.escape(name)}</td><td>{area}</td></tr>"))
        if one:
            rows.sort(key=lambda row: -row[0])
        title = (
            f"{html.escape(one['name'])}: {one['size']} pixels, confidence {one['confidence']:.0%}"
            if one
            else "Classes"
        )
        head = "<tr><th>class</th><th>area</th></tr>" if one else ""
        return f'{LEGEND}<p>{title}</p><table class="wss-classes">{head}{"".join(row for _, row in rows)}</table>'

    def _new_folder(self) -> Path:
        """Returns a folder for pictures; those of an hour ago go."""
        place = Path(self.folder) / RESULTS
        for old in place.iterdir():
            if time.time() - old.stat().st_mtime > HOUR:
                shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=place))

    def _written(self, found: Segmented, name: str, folder: Path) -> dict[str, Any]:
        pictures = []
        for title, picture in found.pictures:
            path = folder / f"{_as_file(title)}.png"
            save_png(path, picture)
            pictures.append((str(path), title))
        mask = folder / "mask_of_class_ids.png"
        save_index_png(mask, found.mask, self.info)
        return {
            "name": name,
            "size": f"{found.size[1]} x {found.size[0]}",
            "shares": list(found.shares),
            "confidence": found.confidence,
            "pictures": pictures,
            "mask": str(mask),
        }

    def _archive(self, results: Sequence[dict], path: Path) -> str:
        """Writes every picture of every photo, and a table of the areas."""
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["photo", "confidence", *self.info.class_names])
        with zipfile.ZipFile(path, "w") as archive:
            for number, one in enumerate(results):
                stem = f"{number:03}_{_as_file(Path(one['name']).stem)}"
                writer.writerow([one["name"], f"{one['confidence']:.4f}", *(f"{share:.6f}" for share in one["shares"])])
                for file in [one["mask"], *(picture for picture, _ in one["pictures"])]:
                    archive.write(file, f"{stem}/{Path(file).name}")
            archive.writestr("areas.csv", table.getvalue())
        return str(path)


def build(page: Page, *, title: str):
    """Returns the Gradio page."""
    # Gradio reads these as it is imported, or later.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(Path(page.folder) / "given")
    import gradio as gr

    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(HOUR, HOUR)) as blocks:
        results = gr.State([])
        fit: dict = {"height": "max-content", "object_fit": "contain"}
        gr.Markdown(f"# {html.escape(title)}")
        with gr.Row():
            with gr.Column(scale=1):
                files = gr.File(label="photos", file_count="multiple", type="filepath", elem_id="photos")
                folder = gr.UploadButton("a folder", file_count="directory", type="filepath", elem_id="folder")
                run = gr.Button("segment", variant="primary", elem_id="segment")
                problems = gr.HTML(elem_id="problems")
                classes = gr.HTML(page.classes(), elem_id="classes")
            with gr.Column(scale=3):
                overview = gr.Gallery(label="photos", columns=4, allow_preview=False, elem_id="overview", **fit)
                details = gr.Gallery(label="one photo", columns=3, elem_id="details", **fit)
                with gr.Row():
                    mask = gr.DownloadButton("mask of this photo (PNG)", elem_id="mask")
                    everything = gr.DownloadButton("all pictures (ZIP)", elem_id="everything")

        def segment(given):
            found, overlays, said, archive = page.segment(given)
            shown = page.show(found, 0) if found else ([], page.classes(), None)
            return found, overlays, said, archive, *shown

        def choose(found, event: gr.SelectData):
            if not Path(found[event.index]["mask"]).exists():
                raise gr.Error("these pictures are gone after an hour; segment the photos again", print_exception=False)
            return page.show(found, event.index)

        outputs = [results, overview, problems, everything, details, classes, mask]
        network: dict = {"concurrency_limit": 1, "concurrency_id": "network", "api_visibility": "private"}
        files.upload(segment, files, outputs, **network)
        folder.upload(segment, folder, outputs, **network)
        run.click(lambda chosen, of_folder: segment(chosen or of_folder), [files, folder], outputs, **network)
        overview.select(choose, results, [details, classes, mask], api_visibility="private")
    return blocks


def serve(blocks, *, host: str, port: int, max_megabytes: int) -> None:
    """Serves a page until Ctrl-C or SIGTERM.

    Raises:
        UserError: The port is in use, the address is none of this machine, or the page cannot be reached there.
    """
    import gradio as gr

    # Fonts of the machine: the page asks no other host for anything.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    blocks.queue(max_size=32)
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else first_line(error)
        raise UserError(f"--host={host} --port={port}: cannot be served ({reason}); give another") from error
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with without_proxies():  # Gradio asks its own address, which no proxy knows
        try:
            blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                max_file_size=f"{max_megabytes}mb",
                theme=theme,
                footer_links=[],
                show_error=True,
                quiet=True,
                prevent_thread_lock=True,
            )
        except Exception as error:  # whatever its server and its client raise
            raise UserError(f"--host={host} --port={port}: cannot be served ({first_line(error)})") from error
    print(f"serving on http://{host}:{port}; Ctrl-C ends it", flush=True)
    blocks.block_thread()


@contextlib.contextmanager
def without_proxies() -> Iterator[None]:
    """Hides proxies that the environment names."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.lower().endswith("_proxy")}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _as_file(text: str) -> str:
    """Returns a text as part of a file's name."""
    return "".join(one if one.isalnum() or one in "-_" else "_" for one in text)[:80] or "_"
