"""Compatibility only: older names, forms and methods of nodes, which saved workflows and other packs still use."""
