"""The first thing to run: an animated video and a contact sheet from the bundled example people."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import error_sentences, load_pipeline, new_app, run
from invertavatar.scripts.options import DebugOption, DeviceOption, ModelOption

EXAMPLES = Path(__file__).resolve().parents[1] / "assets" / "examples"
EXPRESSIONS = {
    "smile": {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
    "mouth open": {"jawOpen": 0.6},
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.5},
    "look aside": {"eyeLookOutLeft": 0.9, "eyeLookInRight": 0.9},
}
SHEET_SIZE = 256


def demo(
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Photos of one person; a bundled example person by default.")
    ] = None,
    driving: Annotated[Path, typer.Option("--driving", "-d", help="Driving video.")] = EXAMPLES / "talk_a.mp4",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("outputs"),
    max_frames: Annotated[int | None, typer.Option(min=8, help="Animate no more frames than this.")] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    debug: DebugOption = False,
) -> None:
    """Build an avatar, animate it with a talking head, look at it from both sides, and write demo.mp4 and demo.png."""
    with error_sentences(debug):
        from invertavatar.media import VideoReader, VideoWriter, contact_sheet, load_images, save_image, side_by_side

        photos = photos or [EXAMPLES / f"anna_{k}.jpg" for k in range(1, 5)]
        pipe = load_pipeline(model, device, quiet=False)
        pictures, names = load_images([str(photo) for photo in photos])

        started = time.perf_counter()
        avatar = pipe.reconstruct(photos)
        print(f"avatar from {avatar.num_images} photo(s) in {time.perf_counter() - started:.1f} s")

        motion = pipe.track(driving, max_frames=max_frames)
        started = time.perf_counter()
        kept = []
        with (
            VideoReader(driving) as driver,
            VideoWriter(output / "demo.mp4", motion.fps, audio_from=driving) as writer,
        ):
            frames = pipe.animate_stream(avatar, motion=motion)
            for k, (seen, frame) in enumerate(zip(driver, frames, strict=False)):
                writer.write(side_by_side(seen, frame, height=frame.shape[0]))
                if k % (motion.num_frames // 4) == motion.num_frames // 8 and len(kept) < 8:
                    kept += [seen, frame]
        seconds = time.perf_counter() - started
        print(f"{output / 'demo.mp4'}: {motion.num_frames} frames, {motion.num_frames / seconds:.1f} a second")

        yaws = (-40, -20, 20, 40)
        views = pipe.render(avatar, yaw=yaws, output_type="np")
        faces = [pipe.render(avatar, expression=scores, output_type="np")[0] for scores in EXPRESSIONS.values()]
        rendered = [(picture * 255).round().astype("uint8") for picture in (*views, *faces)]
        labels = [*names[:4], *[""] * (4 - len(names[:4])), *["driver", "avatar"] * (len(kept) // 2)]
        labels += [f"yaw {yaw}" for yaw in yaws] + list(EXPRESSIONS)
        blank = [pictures[0][:1, :1] * 0 + 128] * (4 - len(pictures[:4]))
        sheet = contact_sheet([*pictures[:4], *blank, *kept, *rendered], 4, labels, SHEET_SIZE)
        save_image(output / "demo.png", sheet)
        print(f"{output / 'demo.png'}: photos, four moments, four views, four expressions")


if __name__ == "__main__":
    app = new_app()
    app.command()(demo)
    run(app)
