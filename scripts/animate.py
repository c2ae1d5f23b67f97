"""Animate a portrait: photos of one person and a driving video in, a video of the avatar out."""

import os
import re
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

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
from invertavatar.scripts.distributed import process_group
from invertavatar.scripts.options import DriverOptions, FaceOption, SmoothOption, StrengthOption, WritingOptions

BACKGROUNDS = ("original", "gray", "white", "black", "blur", "transparent")


@dataclass(frozen=True)
class PersonOptions:
    """Whose avatar, if not of these photos, and whether it is kept."""

    avatar: Annotated[Path | None, typer.Option(help="Folder or .zip of a saved avatar, instead of photos.")] = None
    save_avatar: Annotated[Path | None, typer.Option(help="Folder to save the avatar in.")] = None
    face_index: FaceOption = 0


@dataclass(frozen=True)
class MotionOptions(DriverOptions):
    """What of a driver moves the avatar."""

    save_motion: Annotated[Path | None, typer.Option(help="File (.safetensors .csv) to save the motion in.")] = None
    region: Annotated[
        Literal["all", "exp", "pose", "lip", "eyes"], typer.Option(help="What of the motion is taken over.")
    ] = "all"
    relative: Annotated[
        bool, typer.Option("--relative/--absolute", help="Move as the driver departs from neutral, or as it stands.")
    ] = True
    motion_scale: StrengthOption = 1.0
    smooth: SmoothOption = 0.0
    follow: Annotated[bool, typer.Option("--follow", help="Let the head also move in the picture.")] = False
    driving_face_index: Annotated[int, typer.Option(min=0, help="Which face of the driver.")] = 0


@dataclass(frozen=True)
class LookOptions:
    """From where it is seen, before what, how large."""

    yaw: Annotated[float, typer.Option(min=-90, max=90, help="Degrees added, to the picture's right.")] = 0.0
    pitch: Annotated[float, typer.Option(min=-90, max=90, help="Degrees added, upwards.")] = 0.0
    roll: Annotated[float, typer.Option(min=-180, max=180, help="Degrees added, clockwise.")] = 0.0
    size: Annotated[int, typer.Option(min=64, max=2048, help="Height of the picture in px.")] = 512
    width: Annotated[
        int | None, typer.Option(min=64, max=2048, help="Width of the picture in px; its height by default.")
    ] = None
    framing: Annotated[
        Literal["photo", "head", "bust", "crop"],
        typer.Option(help="As much as photos show, the head, all there is of the person, or the networks' own square."),
    ] = "photo"
    into: Annotated[
        str | None,
        typer.Option(
            help='Photo or video of the person in which the head is replaced, in full size; "photo" is the first photo.'
        ),
    ] = None
    background: Annotated[
        str, typer.Option(help=f"{', '.join(BACKGROUNDS)}, a colour such as #3366cc, or a picture.")
    ] = "gray"
    side_by_side: Annotated[bool, typer.Option("--side-by-side", help="Photo and driver beside the result.")] = False
    mark: Annotated[bool, typer.Option("--mark/--no-mark", help='Write "synthetic" into a corner of the result.')] = (
        False
    )


@dataclass(frozen=True)
class SoundOptions:
    """What is heard, and who speaks."""

    audio: Annotated[
        Path | None, typer.Option(help="Sound or video file that lends its sound; a still lasts as long as it.")
    ] = None
    speech: Annotated[
        Path | None,
        typer.Option(help="Sound or video file whose voice moves the lips; with --driving, which moves the rest."),
    ] = None
    language: Annotated[str, typer.Option(help="Of the speech; other than en with a --speech-model.")] = "en"
    speech_model: Annotated[
        str | None, typer.Option(help="Folder or Hub id of a phoneme model; without it English is heard.")
    ] = None
    head_motion: Annotated[
        float, typer.Option(min=0, max=1, help="Strength of the small head motion that goes with --speech.")
    ] = 0.5
    blinks: Annotated[bool, typer.Option("--blinks/--no-blinks", help="Whether one who speaks blinks.")] = True
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the driver's sound out.")] = False
    seed: Annotated[int, typer.Option(help="For what is random.")] = 0


@flattened
def animate(
    photos: Annotated[list[Path] | None, typer.Argument(help="Photos of one person; a folder or a video too.")] = None,
    driving: Annotated[
        list[Path] | None,
        typer.Option(
            "--driving",
            "-d",
            help="Video, photo, motion (.safetensors), table of ARKit scores (.csv .json). Repeat it for more.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=".mp4 .mov .webm .gif .webp, name_%05d.png, a folder; or a picture."),
    ] = None,
    *,
    person: PersonOptions,
    moves: MotionOptions,
    look: LookOptions,
    sound: SoundOptions,
    common: WritingOptions,
) -> None:
    """Animate a portrait with a video, a photo, a recorded motion or a voice.

    Example: invertavatar animate photo1.jpg photo2.jpg --driving talk.mp4 -o out.mp4

    A voice: invertavatar animate photo.jpg --speech talk.wav [--driving head.mp4 --region pose] -o out.mp4

    Several processes share the frames: accelerate launch --multi_gpu --num_processes 4 scripts/animate.py ...
    """
    photos, drivers = photos or [], driving or ([sound.speech] if sound.speech else [])
    check_request(photos, drivers, output, person.avatar, look.background)
    check_sound(sound.audio, output, sound.no_audio)
    check_speech(sound.speech, drivers if driving else [], moves.region, moves.neutral_frame)
    check_saved_motion(moves.save_motion)
    movies = numbered(output, len(drivers))
    motions = numbered(moves.save_motion, len(drivers)) if moves.save_motion else []
    scene = check_into(look.into, photos, output, moves.follow)
    inputs = [*photos, *drivers, *(path for path in (person.avatar, sound.audio, sound.speech, scene) if path)]
    check_inputs(inputs)
    check_outputs([*movies, *motions, *([person.save_avatar] if person.save_avatar else [])], inputs, common.overwrite)

    with error_sentences(common.debug, common.quiet), process_group(common.device) as group:
        import torch

        from invertavatar import Avatar
        from invertavatar.media import load_images
        from invertavatar.media.sound_length import sound_seconds
        from invertavatar.speech.recognisers import recogniser_for
        from invertavatar.steps.movie import About, motion_of, save_movie, shot
        from invertavatar.tracking.motion import Motion

        check_neutral(moves.neutral_frame)
        if sound.speech:
            sound_seconds(sound.speech)
            if sound.speech_model is None:
                recogniser_for(sound.language)
        if sound.audio:
            sound_seconds(sound.audio)
        torch.manual_seed(sound.seed)
        quiet = common.quiet or not group.is_main_process
        pipe = load_pipeline(common.model, common.device, quiet)
        portrait = load_images(photos)[0][0] if look.side_by_side and photos else None
        started = time.perf_counter()
        if person.avatar:
            who = Avatar.from_pretrained(person.avatar)
        else:
            reconstruct = partial(pipe.reconstruct, image=photos, face_index=person.face_index)
            who = group.broadcast("avatar", reconstruct, Avatar.save_pretrained, Avatar.from_pretrained)
        if person.save_avatar and group.is_main_process:
            who.save_pretrained(person.save_avatar)
        if not quiet:
            print(f"avatar: {time.perf_counter() - started:.1f} s")

        timing = {"fps": moves.fps, "max_frames": moves.max_frames, "neutral_frame": moves.neutral_frame}
        voice = ("language", "speech_model", "head_motion", "blinks", "seed") if sound.speech else ()
        voice = {name: getattr(sound, name) for name in voice}
        for k, (driver, movie) in enumerate(zip(drivers, movies, strict=True)):
            started = time.perf_counter()
            track = partial(
                motion_of, pipe, driver if driving else None, sound.speech, region=moves.region, **timing, **voice
            )
            track = partial(track, face_index=moves.driving_face_index)
            motion = group.broadcast(f"motion_{k}.safetensors", track, Motion.save, Motion.load)
            if motions and group.is_main_process:
                motion.save(motions[k])
            tracked = time.perf_counter()
            taken = shot(
                pipe,
                who,
                motion,
                scene,
                spoken=sound.speech is not None,
                driven=bool(driving),
                relative=moves.relative,
                region=moves.region,
                motion_scale=moves.motion_scale,
                smooth=moves.smooth,
                follow_translation=moves.follow,
                yaw=look.yaw,
                pitch=look.pitch,
                roll=look.roll,
                height=look.size,
                width=look.width,
                framing=look.framing,
                background=look.background,
            )
            frames = group.render(f"frames_{k}", taken.stream, taken.num_frames)
            if not group.is_main_process:
                continue
            heard = {"speech": sound.speech, "audio": sound.audio, "no_audio": sound.no_audio}
            seen = {"beside": portrait, "side_by_side": look.side_by_side, "mark": look.mark}
            saved = save_movie(movie, taken, frames, About(driver, max_frames=moves.max_frames, **heard, **seen))
            if not quiet:
                seconds, rate, count = time.perf_counter() - tracked, float(taken.fps), saved.num_frames
                print(
                    f"{movie}: {count} frames of {saved.width}x{saved.height}, {count / rate:.1f} s at "
                    f"{rate:g} fps; tracked in {tracked - started:.1f} s, rendered in {seconds:.1f} s "
                    f"({count / seconds:.1f} frames a second)"
                )


def check_request(
    photos: list[Path], drivers: list[Path], output: Path | None, avatar: Path | None, background: str
) -> None:
    """Refuse what cannot be meant, before anything slow begins.

    Raises:
        typer.TyperException: With one sentence that says what to change.
    """
    if bool(photos) == bool(avatar):
        raise typer.TyperException("Give either photos of a person or --avatar FOLDER (or its .zip).")
    if not drivers or output is None:
        missing = "--driving FILE or --speech FILE" if not drivers else "--output FILE"
        raise typer.TyperException(
            f"{missing} is missing; for example: animate photo.jpg --driving talk.mp4 -o out.mp4"
        )
    if not is_sequence(output) and output.suffix.lower() not in endings.MOVIES + endings.PICTURES:
        known = ", ".join(endings.MOVIES + endings.PICTURES)
        raise typer.TyperException(f"{output.name} is of no kind that can be written; end its name in {known}.")
    from invertavatar.media import is_photo

    if is_picture(output) and output.suffix.lower() not in endings.MOVIES and not all(map(is_photo, drivers)):
        raise typer.TyperException(
            f"{output.name} holds one picture only, and a video is driving; name a video, or {output.stem}_%05d.png."
        )
    if (
        background == "transparent"
        and not is_sequence(output)
        and output.suffix.lower() not in endings.TRANSPARENT_MOVIES
    ):
        raise typer.TyperException(f"{output.name} cannot be transparent; name a .webm or a .png.")
    colour = re.fullmatch(r"#[0-9a-fA-F]{6}", background)
    if background not in BACKGROUNDS and not colour and not os.path.isfile(background):
        raise typer.TyperException(
            f"The background {background} is no picture file; name one, a colour such as #3366cc or one of "
            f"{', '.join(BACKGROUNDS)}."
        )


def check_sound(audio: Path | None, output: Path, no_audio: bool) -> None:
    """Refuse a sound that the output cannot hold or that is not wanted.

    Raises:
        typer.TyperException: With one sentence that says what to change.
    """
    if audio and no_audio:
        raise typer.TyperException("--audio lends a sound and --no-audio leaves it out; give one of them.")
    if audio and output.suffix.lower() not in endings.MOVIES_WITH_SOUND:
        raise typer.TyperException(
            f"{output.name} cannot hold the sound of --audio; name a {', '.join(endings.MOVIES_WITH_SOUND)}."
        )


def check_speech(speech: Path | None, driving: list[Path], region: str, neutral_frame: str | None) -> None:
    """Refuse what cannot be meant together with a speech.

    Raises:
        typer.TyperException: With one sentence that says what to change.
    """
    if speech and driving and region == "lip":
        raise typer.TyperException("--speech moves the lips, so --driving cannot: --region is pose, eyes, exp or all.")
    if speech and not driving and neutral_frame is not None:
        raise typer.TyperException("A speech is at rest where it is silent; leave --neutral-frame out.")


def check_into(into: str | None, photos: list[Path], output: Path, follow: bool) -> Path | None:
    """The photo or video that heads are put into.

    Raises:
        typer.TyperException: With one sentence that says what to change.
    """
    if into is None:
        return None
    if follow:
        raise typer.TyperException(
            "--follow moves the head in the picture, and --into keeps it on its body; leave one."
        )
    if into != "photo":
        return Path(into)
    if not photos or not photos[0].is_file():
        raise typer.TyperException("--into photo means the first of the photos, and none is given as a file; name one.")
    return photos[0]


if __name__ == "__main__":
    app = new_app()
    app.command()(animate)
    run(app)
