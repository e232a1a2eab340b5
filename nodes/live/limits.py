"""Limits of a description from the page."""

BODY = 12 << 20  # bytes of a request; a drawing of 8 MB is 11 MB as base64
PARTS = 64  # nodes of one description: each computes every column of the picture, 20 ms on a laptop for all 64
DEPTH = 24  # nodes in a chain of inputs
TEXT = 20_000  # characters of a text; a schedule of 1,000 points has fewer
PICTURE_PIXELS = 4 << 20  # 2048 x 2048
LONGEST = 512  # pixels of the longer side of masks; larger canvases are drawn smaller
MASK_FLOATS = 1 << 25  # of all regions together: 128 MB
KEPT = 64  # drawings in the cache, about 60 kB each
