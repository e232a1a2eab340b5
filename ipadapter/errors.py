"""What can go wrong because of a file, a model or an image: messages for the person at the screen."""


class AdapterError(ValueError):
    """Something the user gave does not fit; the message says what was expected, what was found and what to do."""


class CheckpointError(AdapterError):
    """A file is no image prompt adapter that this package understands."""


class EncoderMismatchError(AdapterError):
    """The vision encoder or its embeds do not have the width that the adapter was trained with."""


class ModelMismatchError(AdapterError):
    """The diffusion model is not of the family that the adapter was trained for."""


class FaceError(AdapterError):
    """No usable face: none in the picture, none given, or of the wrong recogniser."""


class FileNameError(AdapterError):
    """A name that no file inside its folder can have."""
