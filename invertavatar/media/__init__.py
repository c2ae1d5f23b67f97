"""Pictures and videos in and out: the only place that touches ffmpeg (through PyAV) or a picture format."""

from .images import MIN_SIDE, ImageSource, load_image, load_images, save_image
from .layout import contact_sheet, side_by_side
from .mark import mark_synthetic
from .video import MediaInfo, VideoReader, as_rate, probe
from .writer import VideoWriter

__all__ = [
    "MIN_SIDE",
    "ImageSource",
    "MediaInfo",
    "VideoReader",
    "VideoWriter",
    "as_rate",
    "contact_sheet",
    "load_image",
    "load_images",
    "mark_synthetic",
    "probe",
    "save_image",
    "side_by_side",
]
