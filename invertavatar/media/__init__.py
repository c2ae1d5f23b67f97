"""Pictures and videos in and out: the only place that touches ffmpeg (through PyAV) or a picture format."""

from .images import MIN_SIDE, ImageSource, load_image, save_image
from .info import MediaInfo, probe
from .kinds import check_driver, is_photo, kind_of
from .layout import contact_sheet, side_by_side
from .mark import mark_synthetic
from .photos import load_images
from .video import VideoReader, as_rate
from .writer import VideoWriter

__all__ = [
    "MIN_SIDE",
    "ImageSource",
    "MediaInfo",
    "VideoReader",
    "VideoWriter",
    "as_rate",
    "check_driver",
    "contact_sheet",
    "is_photo",
    "kind_of",
    "load_image",
    "load_images",
    "mark_synthetic",
    "probe",
    "save_image",
    "side_by_side",
]
