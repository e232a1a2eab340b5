"""Model files on disk: fetched whole or not at all, and never outside the folder they belong in."""
