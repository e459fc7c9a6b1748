"""A program for each file: it segments one photo, with no more than the file's own runtime, NumPy and Pillow."""

from wss.exports.formats.base import Format, Shape

_PROGRAM = """\
\"\"\"Segments a photo by {file}: python {name} photo.jpg\"\"\"

{standard}

{imports}

FILE = str(Path(__file__).with_name("{file}"))
photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB"){resized}
photos = np.asarray(photo)[None]{repeated}
{body}
mask = Image.fromarray(classes[0].astype(np.uint8))
mask.putpalette([value for one in about["classes"] for value in one["color"]])
mask.save("mask.png")
for one in about["classes"]:
    print(f"{{one['name']}}: {{np.mean(classes == one['id']):.1%}}")
"""


def example(format_: Format, shape: Shape) -> str:
    """Returns the program for a format.

    Args:
        format_: The format.
        shape: What the file takes.
    """
    standard = ["import json", "import sys", *(["import zipfile"] if "zipfile." in format_.example else [])]
    return _PROGRAM.format(
        file=format_.file,
        name=example_name(format_),
        standard="\n".join([*standard, "from pathlib import Path"]),
        imports="\n".join(["import numpy as np", *format_.imports, "from PIL import Image, ImageOps"]),
        resized="" if shape.size is None else f".resize({shape.size[::-1]})",
        repeated="" if shape.batch in (1, None) else f".repeat({shape.batch}, axis=0)",
        body=format_.example,
    )


def example_name(format_: Format) -> str:
    """Returns the name of the program's file."""
    return f"example_{format_.name}.py"
