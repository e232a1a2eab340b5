"""What can go wrong with a download: messages for the person at the screen."""


class DownloadError(ValueError):
    """A file could not be fetched: the message says which, why and what to do. There is no file of its name then."""
