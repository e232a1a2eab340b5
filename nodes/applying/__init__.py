"""From references to embeds, tokens, keys and values, and a patched model: computed once, when a node runs."""
