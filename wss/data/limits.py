"""The largest images that are read: what declares to be larger is a mistake, and decoding it takes all memory."""

MAX_SIDE = 65_535  # of a JPEG
MAX_PIXELS = 89_478_485  # beyond, Pillow warns of a decompression bomb
MAX_SIZE = (MAX_SIDE, MAX_SIDE)
