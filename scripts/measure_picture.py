"""Measure what a person sees first: colours, the border of a head that is put back, what it costs."""

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import error_sentences, load_pipeline, new_app, run
from invertavatar.scripts.demo import EXAMPLES
from invertavatar.scripts.make_figures import PEOPLE
from invertavatar.scripts.options import DebugOption, DeviceOption, ModelOption

if TYPE_CHECKING:
    import numpy as np

    from invertavatar import Avatar, InvertAvatarPipeline, Motion

SIZES = (512, 1024)
LARGE = 3840  # pixels of a photo of 4K
IN_A_ROW = 6  # frames for the flicker


def measure_picture(
    driving: Annotated[Path, typer.Option("--driving", "-d", help="Driving video.")] = EXAMPLES / "talk_a.mp4",
    step: Annotated[int, typer.Option(min=1, help="Every so many-th frame.")] = 10,
    sheet: Annotated[Path | None, typer.Option(help="Contact sheet of the pasted frames.")] = None,
    people: Annotated[list[str] | None, typer.Option(help="Of the example people; all by default.")] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    debug: DebugOption = False,
) -> None:
    """Colours of the face against the photo's, the seam and the flicker around a head in its photo, seconds and memory.

    Colours are those of an avatar of the first photo, all else of one of four, in grey levels of 255. The border is
    where rendered head and photo blend; seam: the mean difference of neighbouring rows there, over that in the photo as
    it was. Flicker: the mean change there from one frame to the next. Seconds are those of one processor; memory is the
    most that was held so far.
    """
    with error_sentences(debug):
        import numpy as np

        from invertavatar.media import contact_sheet, load_image, save_image

        pipe = load_pipeline(model, device, quiet=True)
        motion, cells, labels = pipe.track(str(driving)), [], []
        print("person  mean          deviation     seam           flicker  at rest")
        for person in people or PEOPLE:
            photo = load_image(EXAMPLES / f"{person}_1.jpg")
            avatar = pipe.reconstruct([EXAMPLES / f"{person}_{k}.jpg" for k in range(1, 5)])
            mean, deviation = colours(pipe, pipe.reconstruct(photo), photo)
            frames, in_a_row, border, still = pasted(pipe, avatar, photo, motion, step)
            steps = [np.abs(np.diff(x.astype(float), axis=0))[border[1:]] for x in (photo, *frames)]
            changes = [np.abs(b.astype(float) - a)[border] for a, b in pairwise(in_a_row)]
            seam = "none in it"  # where the photo ends before the border
            if border.any():
                seam = f"{np.mean(steps[1:]):.2f} / {np.mean(steps[0]):.2f} {np.mean(changes):8.3f}"
            print(
                f"{person:7s} {mean[0]:5.1f} ({mean[1]:+.2f} %) {deviation[0]:4.1f} ({deviation[1]:+.2f} %) "
                f"{seam:22s} {still:8.3f}",
                flush=True,
            )
            cells += [photo, *frames]
            labels += [person, *(str(step * k) for k in range(len(frames)))]
        if sheet:
            save_image(sheet, contact_sheet(cells, len(frames) + 1, labels, 256))
        costs(pipe, avatar, photo, motion)


def colours(pipe: "InvertAvatarPipeline", avatar: "Avatar", photo: "np.ndarray") -> tuple[tuple, tuple]:
    """Mean and deviation of the face in the first photo, each with the frame's difference in percent."""
    import numpy as np

    from invertavatar.evaluation.protocols import face_region
    from invertavatar.tracking.portrait import prepare_portrait

    portrait = prepare_portrait(photo, pipe.face_tracker)
    face = face_region(portrait)
    (frame,) = pipe.animate_stream(avatar, motion=unmoved(avatar), framing="crop", height=len(face))
    own, drawn = (x[face].astype(float) for x in (portrait.picture, frame))
    numbers = []
    for measure in (np.mean, lambda x: x.std(0).mean()):
        numbers.append((measure(own), 100 * (measure(drawn) / measure(own) - 1)))
    return tuple(numbers)


def unmoved(avatar: "Avatar") -> "Motion":
    """A motion that leaves the person as in the first photo."""
    from dataclasses import replace

    return replace(avatar.still, known_neutral=avatar.still)


def pasted(
    pipe: "InvertAvatarPipeline", avatar: "Avatar", photo: "np.ndarray", motion: "Motion", step: int
) -> "tuple[list[np.ndarray], list[np.ndarray], np.ndarray, float]":
    """Frames of a head in its photo, and some in a row; [H, W] where they blend; and by how much a head at rest differs
    from the photo.
    """
    import numpy as np

    from invertavatar.steps.pasted import prepare, read_scene

    scene = read_scene(pipe, avatar, photo, 0)
    features = pipe.canonical_features(avatar, pipe.generator.paste.largest)
    plate = prepare(pipe, avatar, features, scene.frames, scene.tracks[0], scene.own).plate
    border = np.zeros(photo.shape[:2], bool)
    border[plate.rows, plate.columns] = ((plate.blend > 0.02) & (plate.blend < 0.98))[..., 0]
    frames = list(pipe.animate_stream(avatar, motion=motion, into=photo, frames=slice(0, None, step)))
    in_a_row = list(pipe.animate_stream(avatar, motion=motion, into=photo, frames=slice(step, step + IN_A_ROW)))
    (same,) = pipe.animate_stream(avatar, motion=unmoved(avatar), into=photo)
    return frames, in_a_row, border, float(np.abs(same.astype(float) - photo).mean())


def costs(pipe: "InvertAvatarPipeline", avatar: "Avatar", photo: "np.ndarray", motion: "Motion") -> None:
    """Seconds of a processor for a frame, and megabytes at most, for frames of each size and for a photo of 4K."""
    import cv2

    from invertavatar.scripts.measures import peak_memory

    frames = 4
    large = cv2.resize(photo, (LARGE, LARGE), interpolation=cv2.INTER_CUBIC)
    cases = [(f"{height} px", {"height": height}) for height in SIZES]
    cases += [(f"into a photo of {len(x)} px", {"into": x}) for x in (photo, large)]
    for label, options in cases:
        stream = pipe.animate_stream(avatar, motion=motion, frames=slice(0, frames + 1), **options)
        next(stream)  # what is made ready once
        started = time.process_time()
        for _ in stream:
            pass
        seconds = (time.process_time() - started) / frames
        print(f"{label:26s} {seconds:.2f} s a frame, {peak_memory() / 2**20:.0f} MB")


if __name__ == "__main__":
    app = new_app()
    app.command()(measure_picture)
    run(app)
