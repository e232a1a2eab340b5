"""The caches between runs, by content and with a bound of bytes, so that a changed weight needs no new computation."""

from ...ipadapter.cache import ContentCache

MIB = 2**20

FEATURES = ContentCache(256 * MIB)  # outputs of vision encoders and face parsers for reference pictures
FACES = ContentCache(64 * MIB)  # faces detected in reference pictures
TOKENS = ContentCache(64 * MIB)  # image tokens: features after an adapter's projection
KEYS_VALUES = ContentCache(512 * MIB)  # keys and values of image tokens, for every site of a model
CONTENT_CACHES = (FEATURES, FACES, TOKENS, KEYS_VALUES)


def forget() -> None:
    """Empty every cache."""
    for cache in CONTENT_CACHES:
        cache.clear()
