"""The endings of files, in one table; nothing large is imported here, so that a command's `--help` comes at once.

What is read is told by its content where it can be (`media.kinds`): these endings say which files a folder offers and a
dialog shows, and how something new is written.
"""

from pathlib import Path

# Read
PHOTOS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp", ".heic", ".heif", ".hif"),
    *(".avif", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".jp2", ".tga", ".psd"),
)
VIDEOS = (
    *(".mp4", ".mov", ".m4v", ".qt", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".m2t"),
    *(".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".ogg"),
)
SCORE_TABLES = (".csv", ".tsv", ".txt", ".json")  # of ARKit scores
SAVED_MOTION = ".safetensors"
MOTIONS = (SAVED_MOTION, *SCORE_TABLES)
JOB_TABLES = (".csv", ".jsonl", ".ndjson", ".parquet")  # of batches
TRAINED_ON_CLIPS = (".mp4", ".mov", ".webm")
TRAINED_ON = (*TRAINED_ON_CLIPS, ".jpg", ".jpeg", ".png", ".webp")

# Written
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MOVIES = (".mp4", ".mov", ".webm", ".gif", ".webp")  # a .webp holds one picture of a photo, many of a video
MOVIES_WITH_SOUND = (".mp4", ".mov", ".webm")
TRANSPARENT_MOVIES = (".webm", ".png", ".webp")
WRITTEN_MOTIONS = (SAVED_MOTION, ".csv")
MESHES = (".glb", ".obj", ".ply")


def is_motion(path: str | Path) -> bool:
    """Whether a file is a recorded motion, or a table of scores, rather than pictures."""
    return Path(path).suffix.lower() in MOTIONS
