"""Computed once, when a node runs: references become embeds, tokens, keys and values, and a patched model."""
