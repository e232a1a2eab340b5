"""Cheap at every step: what is attached to a model, and what it does while the model samples."""
