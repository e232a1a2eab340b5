"""A package, so that pytest closes what all files share (conftest.py) before it goes on to others."""
