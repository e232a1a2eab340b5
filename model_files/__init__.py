"""Downloads of model files: a file gets its name when it is complete and checked, and lands in its own folder only."""
