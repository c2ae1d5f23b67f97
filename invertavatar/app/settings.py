"""What the app allows and how large its pictures are; `app.py` changes some of it by its options.

Read as `settings.NAME` while the app runs, so that a change counts everywhere.
"""

from pathlib import Path

from . import model

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"
EXAMPLE_PEOPLE, EXAMPLE_CLIPS = ("anna", "ben", "clara", "dan", "eva", "finn"), ("talk_a", "talk_b")
LIFETIME = 3600  # seconds that a visitor's files and avatar are kept
SESSIONS_PER_AVATAR = 4  # pages of which Gradio remembers anything, half a megabyte each: few of them have an avatar
MAX_UPLOAD = "200mb"
MAX_AVATAR_BYTES = 100_000_000  # of an uploaded avatar, unpacked
MAX_SECONDS = 60.0  # of a driver; --max-seconds changes it
MAX_DRIVERS = 8  # in one go: what a visitor starts, all others wait for
JOBS_OF_A_VISITOR = 4  # that may wait at a time

STILL_SIZE = 512
LIVE_SIZE = 256 if model.DEVICE == "cpu" else 512  # while a slider moves
FILM_SIZES = (256, 512, 768)
