"""Package of wss: `pip install -e .` (add `-c constraints.txt` for the versions that were tested)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

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
    packages=find_packages(include=["wss", "wss.*"]),
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "keras>=3.12,<4",
        "tensorflow-datasets>=4.9.9",
        "tensorboard>=2.20",
        "numpy>=1.26",
        "absl-py>=2.1",
        "gin-config>=0.5",
        "h5py>=3.11",
        "pillow>=10.1",
        "tqdm>=4.66",
    ],
    extras_require={"dev": ["pytest>=8", "pytest-timeout>=2.3", "hypothesis>=6.100", "ruff>=0.6", "mypy>=1.11"]},
    entry_points={
        "console_scripts": [
            "wss-train = wss.train:console_main",
            "wss-eval = wss.eval:console_main",
            "wss-vis = wss.vis:console_main",
        ]
    },
)
