"""Everything that is kept between runs, by content and within a bound of bytes: what a changed weight need not compute
again.
"""

from ...ipadapter.cache import ContentCache

MIB = 2**20

FEATURES = ContentCache(256 * MIB)  # what vision encoders saw in reference pictures
FACES = ContentCache(64 * MIB)  # what face models found in them
TOKENS = ContentCache(64 * MIB)  # image tokens: features after an adapter's projection
KEYS_VALUES = ContentCache(512 * MIB)  # keys and values of image tokens, for every site of a model
CONTENT_CACHES = (FEATURES, FACES, TOKENS, KEYS_VALUES)


def forget() -> None:
    """Empty every cache."""
    for cache in CONTENT_CACHES:
        cache.clear()
