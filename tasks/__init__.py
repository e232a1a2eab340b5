"""What `python atelier.py TASK` does. Python's own library only: it runs before any package is installed."""
