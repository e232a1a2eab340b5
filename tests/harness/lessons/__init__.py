"""Graphs described in a few lines; what comes with the pack is made from them."""
