"""Colours for classes that bring none: legible on photos and on grey, for the colour-blind too.

The first twelve were searched for the largest CIELAB distance between any two, as people with normal sight, protanopes and
deuteranopes see them (Machado et al. 2009, Vienot et al. 1999). They are 20 or more from any grey, not dark or pale. The
others follow one by one, each as far from all before it as can be. `tests/data/test_class_colors.py` measures them.
"""

import numpy as np

BACKGROUND = (0, 0, 0)
# Red, green and blue in hexadecimal digits, 16 colours a line.
_HEX = (
    "ff4b4b2d00ff5aa5ffffe100965a96875affc3f078f0c3ff004ba500c378e196004b690f693c2d004b5a5ab4c32d2db4"
    "f04be1a5f0a54b3c781e1ed23c964b0087c378967869d23c4b870078d269872dff1e5ad20069b4e1f05a4b4b0f967896"
    "5ac396b4b4ff00a53cff2d2d96695a6987b4b40fe196ff963c5a78780096f096d2873c96872d69e187e1c396697878ff"
    "0fe187785a3ce178ffe1d25a6987e100872d96c3e1d2d21ee1a55ab4f0ff2d00e16996b4ffa53ce1a5963c3cb4871e00"
    "4b5ac30078965ae1ff2d5a96964b0f87ff0fffc3961e4bd28769b42d78d2780fffe1785ab4786978961e691e873c1ec3"
    "963c2d2d6978e1e1879696d20f3ce1ffb46987b40fe1a5785a96a5d2f069e1001ef02df078a578874bb42da54b781e78"
    "4b874bb4692d5a3c1eb4a53c3c694b009669960f870f5a87b41eb4692d5a874bffa5e178870069a578d296d2e1b4a5ff"
    "8700c3965a87c3e14bb45aa5e1b400a55ae1a53c3c694ba55ae196a5873cf0875a692da52d3c9678b4d24bb469692d69"
    "695a87b43c2da5b4f0ff3c3c78b4871e962dd25ac36978a55a5ae178c3d24b96c3b496b4ffb487875aa596001e3c873c"
    "962dc3e1c35a1e69d2d25a00c387f05a69c35a1ea51e875ab40f87d2e13c1e3cd22d87f07800e14bf09600e1f0b40ff0"
    "d296c3a587e1ffa54bb478a52dd21e5ab4e1d2e169f0c3f0d200c3e15ab42d3cc35a00f00096d278d24b00ff8778a55a"
    "ffc378e169ff5ad28796c3f05a2df0963ce11e2dd25ae169c3a54bb4b4690f781ec3962d87a5879696c3a5c3ff963c78"
    "e15a3cc396f03c5af0d2d23c3c693c965a1ee1f0962d5aa5ffb44b5a0fb4c35a4bc35affc35af0872d967878d2962d0f"
    "96ff5ae100697869d2a5b4e11e4b69d2f04b875ac3a50fa57896ffc3c37869c35a969669781eb4b4a578ffe178b4695a"
    "3ca5d2c30f1e96964b963cd2781e9687ffa5c3875a78ff4bb4d2870078a54b0fe1f0962d9696f0695a2d4b87968778f0"
    "69691e693c78b4960f963cf069ff785a5a1ea5871e9687f05a3cd2d2f00f007887c30fffd278d2785a0fff6969c3a587"
)
_COLORS = np.frombuffer(bytes.fromhex(_HEX), np.uint8).reshape(-1, 3)
MAX_COLORS = len(_COLORS)


def default_colors(count: int, has_background: bool = True) -> list[tuple[int, int, int]]:
    """Returns a colour for each of up to 256 classes, all different; a background is black.

    Args:
        count: Number of classes, the background included.
        has_background: Whether class 0 is everything else.
    """
    first = [BACKGROUND] if has_background else []
    return [*first, *((red, green, blue) for red, green, blue in _COLORS.tolist())][:count]
