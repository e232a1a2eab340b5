"""Patches and wrappers that are attached to a model, and their work at every step of sampling, which must be cheap."""
