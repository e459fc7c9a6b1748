"""Package of wss: `pip install -e .` (add `-c constraints.txt` for the versions that were tested)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

CONVERT = ["ijson>=3.3", "pycocotools>=2.0.8"]  # COCO's JSON and masks
BEAM = ["apache-beam>=2.70"]
DEV = [
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "ruff>=0.6",
    "mypy>=1.11",
    "import-linter>=2.1",
]
REPORT = ["matplotlib>=3.9", "jinja2>=3.1"]  # charts, pages
EXPORT = ["tf2onnx>=1.17", "onnx>=1.20", "onnxruntime>=1.23", "ai-edge-litert>=2.1"]
DEMO = ["gradio>=6"]
VIDEO = ["av>=14"]
HUB = ["keras-hub>=0.32"]  # encoders; brings keras >= 3.15, TensorFlow 2.21 and its text package
DOCS = ["mkdocs-material>=9.6", "latex2mathml>=3.77"]
HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "wss" / "__init__.py").read_text()).group(1)

setup(
    name="wss",
    version=VERSION,
    description="Semantic segmentation from few masks: PseudoSeg on TensorFlow 2 / Keras 3",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    # Installed, the recipes and the converters lie in the package; see wss/project.py.
    packages=[*find_packages(include=["wss", "wss.*"]), "wss.gin_configs", "wss.datasets"],
    package_dir={"wss.gin_configs": "gin_configs", "wss.datasets": "datasets"},
    package_data={
        "wss.data": ["published_splits.json"],
        "wss.pages": ["templates/*"],
        "wss.gin_configs": ["**/*.gin", "**/*.npz"],
    },
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "keras>=3.12,<4",
        "tensorflow-datasets>=4.9.9",
        "tensorboard>=2.20",
        "numpy>=1.26",
        "scipy>=1.13",
        "absl-py>=2.1",
        "etils[epath]>=1.7",
        "importlib_resources>=6.0",
        "gin-config>=0.5",
        "h5py>=3.11",
        "pillow>=10.1",
        "tqdm>=4.66",
    ],
    extras_require={
        "convert": CONVERT,
        "beam": BEAM,
        "report": REPORT,
        "export": EXPORT,
        "demo": DEMO,
        "video": VIDEO,
        "docs": DOCS,
        "hub": HUB,
        "dev": [*DEV, *CONVERT, *BEAM, *REPORT, *EXPORT, *DEMO, *VIDEO, *DOCS, *HUB],
    },
    entry_points={
        "console_scripts": [
            "wss-plan = wss.plan:console_main",
            "wss-compare = wss.compare:console_main",
            "wss-train = wss.train:console_main",
            "wss-eval = wss.eval:console_main",
            "wss-vis = wss.vis:console_main",
            "wss-report = wss.report:console_main",
            "wss-export = wss.export:console_main",
            "wss-demo = wss.demo:console_main",
            "wss-label = wss.label:console_main",
        ]
    },
)
