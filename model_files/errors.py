"""The error of downloads, with a message for users."""


class DownloadError(ValueError):
    """A file was not fetched, and does not exist under its name; the message has the file, the cause and what to do."""
