"""What a visitor wants of a film, and whether it can be had."""

from dataclasses import dataclass

from ..errors import InvertAvatarError
from ..rendering.framing import FRAMINGS
from ..tracking.motion import ANIMATION_REGIONS
from ..tracking.neutral_frame import check_neutral_frame
from . import arguments, settings, uploads, views
from .films import Film
from .people import Person


@dataclass(frozen=True)
class FilmRequest:
    """What the Animate tab, or a client, sends: files and options, nothing of it looked at yet."""

    drivers: object  # paths of files
    webcam: object = None  # the path of a recording
    region: object = "all"
    relative_motion: object = True
    strength: object = 1.0
    smoothing: object = 0.0
    background: object = "gray"
    background_picture: object = None
    size: object = settings.STILL_SIZE
    beside: object = False
    mark: object = True
    neutral_frame: object = ""
    sound: object = None
    speech: object = None
    framing: object = "photo"
    into_photo: object = False
    into: object = None
    photos: object = None
    head_motion: object = 0.5


def checked(request: FilmRequest, person: Person) -> tuple[list[str], Film]:
    """The paths of what drives, each of which gives a film, and how these are made.

    Raises:
        InvertAvatarError: Something is missing, out of its range, too large or too long, or excludes something else.
    """
    longest = settings.MAX_SECONDS
    sources = arguments.files("drivers", request.drivers, settings.MAX_DRIVERS)
    sources += arguments.files("recordings", request.webcam, most=1)
    speech = next(iter(arguments.files("speeches", request.speech, most=1)), None)
    if not sources and not speech:
        raise InvertAvatarError(
            "Choose what drives the avatar: a video, a photo, a saved motion, an example clip or a speech."
        )
    options = {
        "animation_region": arguments.choice("what moves", request.region, ANIMATION_REGIONS, "all"),
        "relative_motion": arguments.switch("the relative motion", request.relative_motion, default=True),
        "motion_scale": arguments.number("the strength", request.strength, 0, 3, default=1.0),
        "smooth": arguments.number("the smoothing", request.smoothing, 0, 1),
        "background": views.checked_background(request.background, request.background_picture),
        "height": arguments.size(request.size, settings.STILL_SIZE),
        "framing": arguments.choice("the frame", request.framing, FRAMINGS, "photo"),
        "into": views.checked_into(person, request.into_photo, request.photos, request.into, longest),
    }
    head_motion = arguments.number("the head motion", request.head_motion, 0, 1, default=0.5)
    beside = arguments.switch("beside", request.beside)
    mark = arguments.switch("the mark", request.mark, default=True)
    neutral_frame = arguments.text("the neutral frame", request.neutral_frame) or None
    if neutral_frame:
        check_neutral_frame(neutral_frame)
    if speech:
        arguments.check_speech(bool(sources), options["animation_region"], neutral_frame)
    sound = next(iter(arguments.files("sounds", request.sound, most=1)), None)
    if sound:
        uploads.check_sound(sound, longest)
    for source in sources:
        uploads.check(source, longest)
    if speech:
        uploads.check_sound(speech, longest)
        sources = sources or [speech]
    return sources, Film(options, longest, beside, mark, neutral_frame, sound, speech, head_motion)
