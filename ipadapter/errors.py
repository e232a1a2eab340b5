"""The errors for users: a file, a model, a picture or a value that cannot be used."""


class AdapterError(ValueError):
    """An input of the user cannot be used. The message says what was expected, what was found and what to do."""


class CheckpointError(AdapterError):
    """The file is not an image prompt adapter that this package can read."""


class EncoderMismatchError(AdapterError):
    """The vision encoder or its embeds have another width or kind than those that the adapter was trained with."""


class ModelMismatchError(AdapterError):
    """The diffusion model is not of the family that the adapter was trained for."""


class NoAdapterError(ModelMismatchError):
    """No adapter on the disk fits the diffusion model."""


class FaceError(AdapterError):
    """No usable face: the picture has no face, face models are not connected, or the recogniser is the wrong one."""


class SeveralFilesError(FileNotFoundError):
    """No file has the usual name of a model, and the tensors of several could be the model's."""


class FileNameError(AdapterError):
    """The name of a file leads out of its folder, or is no valid file name."""
