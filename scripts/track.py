"""Track a face: a video or photos in, a motion file or a Live Link Face table out that drives without its video."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar import endings
from invertavatar.flattened import flattened
from invertavatar.scripts.console import (
    check_inputs,
    check_neutral,
    check_outputs,
    check_saved_motion,
    error_sentences,
    is_picture,
    is_sequence,
    load_pipeline,
    new_app,
    numbered,
    run,
)
from invertavatar.scripts.options import DriverOptions, WritingOptions

if TYPE_CHECKING:
    import numpy as np

    from invertavatar.tracking.motion import Motion
    from invertavatar.tracking.tracker import FaceTracker, Track

NUM_STRONGEST = 5  # expressions named in the report
DOT_COLOUR = (80, 255, 120)


@flattened
def track(
    inputs: Annotated[list[Path], typer.Argument(help="Videos, photos, tables; each becomes a motion of its own.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Motion file (.safetensors) or Live Link Face table (.csv); without it, only a report.",
        ),
    ] = None,
    landmarks_video: Annotated[
        Path | None, typer.Option(help="Video (a picture for a photo) with the landmarks drawn, to look at.")
    ] = None,
    *,
    driver: DriverOptions,
    face_index: Annotated[int, typer.Option(min=0, help="Which face, 0 is the largest.")] = 0,
    common: WritingOptions,
) -> None:
    """Track the face in videos or photos and save its motion.

    Example: invertavatar track talk.mp4 -o talk.safetensors --landmarks-video preview.mp4
    """
    check_request(inputs, output, landmarks_video)
    motions = numbered(output, len(inputs)) if output else []
    previews = numbered(landmarks_video, len(inputs)) if landmarks_video else []
    check_inputs(inputs)
    check_outputs(motions + previews, inputs, common.overwrite)

    with error_sentences(common.debug, common.quiet):
        check_neutral(driver.neutral_frame)
        options = {
            "face_index": face_index,
            "fps": driver.fps,
            "max_frames": driver.max_frames,
            "neutral_frame": driver.neutral_frame,
        }
        pipe = load_pipeline(common.model, common.device, common.quiet)
        for k, source in enumerate(inputs):
            motion = pipe.track(source, **options)
            if motions:
                motion.save(motions[k])
            if previews:
                draw_preview(pipe.face_tracker, source, motion, previews[k], face_index, common.quiet)
            if not common.quiet:
                print(report(source, motion))


def check_request(inputs: list[Path], output: Path | None, landmarks_video: Path | None) -> None:
    """Refuse what cannot be meant, before anything slow begins.

    Raises:
        typer.TyperException: With one sentence that says what to change.
    """
    check_saved_motion(output)
    if not landmarks_video:
        return
    if any(map(endings.is_motion, inputs)):
        raise typer.TyperException("A motion file has no pictures to draw landmarks on; leave --landmarks-video out.")
    if not is_sequence(landmarks_video) and landmarks_video.suffix.lower() not in endings.MOVIES + endings.PICTURES:
        known = ", ".join(endings.MOVIES + endings.PICTURES)
        raise typer.TyperException(
            f"{landmarks_video.name} is of no kind that can be written; end its name in {known}."
        )
    from invertavatar.media import is_photo

    moving = is_picture(landmarks_video) and landmarks_video.suffix.lower() in endings.MOVIES  # a .webp is either
    if not moving and is_picture(landmarks_video) != all(map(is_photo, inputs)):
        raise typer.TyperException(f"{landmarks_video.name} does not suit: a picture for photos, a video for videos.")


def report(source: Path, motion: "Motion") -> str:
    """What was seen, in three lines: how much, where the head looked, what the face did."""
    from invertavatar.camera import angles_from_rotation
    from invertavatar.head.arkit import ARKIT_NAMES

    rate = float(motion.fps)
    missing = f", {motion.num_missing} without a face (the last pose is held)" if motion.num_missing else ""
    angles = angles_from_rotation(motion.rotation)  # [T, 3]
    ranges = (
        f"{name} {low:.0f} to {high:.0f}"
        for name, low, high in zip(
            ("yaw", "pitch", "roll"), angles.amin(0).tolist(), angles.amax(0).tolist(), strict=True
        )
    )
    peaks, axes = motion.expression.amax(0).topk(NUM_STRONGEST)
    strongest = (f"{ARKIT_NAMES[axis]} {peak:.2f}" for peak, axis in zip(peaks.tolist(), axes.tolist(), strict=True))
    return (
        f"{source.name}: {motion.num_frames} frames, {motion.num_frames / rate:.1f} s at {rate:g} fps{missing}\n"
        f"  degrees: {', '.join(ranges)}\n"
        f"  strongest: {', '.join(strongest)}"
    )


def draw_preview(
    tracker: "FaceTracker", source: Path, motion: "Motion", path: Path, face_index: int, quiet: bool
) -> None:
    """Write the source with its landmarks drawn; the video is tracked once more, so that no pictures are kept."""
    from itertools import islice, tee

    from tqdm import tqdm

    from invertavatar.media import VideoReader, VideoWriter, is_photo, load_image, save_image

    if is_photo(source):
        picture = load_image(source)
        save_image(path, with_landmarks(picture, tracker.detect(picture, name=source.name, face_index=face_index)))
        return
    with VideoReader(source, fps=motion.fps) as video, VideoWriter(path, motion.fps, audio_from=source) as writer:
        frames, pictures = tee(islice(video, motion.num_frames))
        tracks = tracker.detect_video(frames, float(motion.fps), face_index=face_index)
        progress = tqdm(tracks, desc="drawing", total=motion.num_frames, disable=quiet)
        for picture, found in zip(pictures, progress, strict=False):
            writer.write(with_landmarks(picture, found))


def with_landmarks(picture: "np.ndarray", track: "Track | None") -> "np.ndarray":
    """A copy of the picture [H, W, 3] uint8 with a dot at each landmark; as it is where no face was found."""
    import cv2
    import numpy as np

    drawn = picture.copy()
    if track is not None:
        radius = max(1, round(track.scale / 150))
        for x, y in np.asarray(track.landmarks)[:, :2].round().astype(int).tolist():
            cv2.circle(drawn, (x, y), radius, DOT_COLOUR, cv2.FILLED, cv2.LINE_AA)
    return drawn


if __name__ == "__main__":
    app = new_app()
    app.command()(track)
    run(app)
