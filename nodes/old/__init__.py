"""Compatibility only: what saved workflows and other packs still carry of earlier nodes."""
