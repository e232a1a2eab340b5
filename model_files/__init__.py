"""Model files on the disk: fetched whole or not at all, and never outside the folder that they belong in."""
