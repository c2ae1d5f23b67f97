"""Errors that a user meets. Each message is a whole sentence that names the input and the cure."""


class InvertAvatarError(ValueError):
    """Base of every error this package raises about its input; `str(error)` is one sentence for the user."""


class MediaError(InvertAvatarError):
    """A picture, video or sound cannot be read or written."""


class NoFaceError(InvertAvatarError):
    """No face was found where one is needed."""


class MotionError(InvertAvatarError):
    """A motion file, an ARKit recording or a table of sliders cannot be used."""


class AvatarError(InvertAvatarError):
    """An avatar or its file cannot be used with this pipeline."""
