"""A live avatar on this machine: a camera's pictures are tracked on one core while the other draws the avatar.

`sources` give pictures, `driver` makes motion of what is tracked in them, `renderers` draw it, `session` runs all of it
side by side, and `outputs` show what comes out.
"""

from .renderers import FastRenderer, FullRenderer
from .session import Live, Shown
from .sources import CameraSource, FilmSource

__all__ = ["CameraSource", "FastRenderer", "FilmSource", "FullRenderer", "Live", "Shown"]
