"""A live avatar: a webcam or a video file in, a window, a virtual camera or a file out."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar import endings
from invertavatar.flattened import flattened
from invertavatar.scripts.console import check_inputs, check_outputs, error_sentences, load_pipeline, new_app, run
from invertavatar.scripts.options import SmoothOption, StrengthOption, TextureOption, WritingOptions

if TYPE_CHECKING:
    from invertavatar.live import FastRenderer, FullRenderer, Live, Shown

BAKED_SUFFIX = ".glb"


@dataclass(frozen=True)
class OutputOptions:
    """Where it is shown, and how long."""

    window: Annotated[bool, typer.Option("--window/--no-window", help="Show it in a window.")] = True
    virtual_camera: Annotated[
        bool, typer.Option("--virtual-camera", help="Give it to other programs as a camera (pyvirtualcam).")
    ] = False
    record: Annotated[Path | None, typer.Option(help="Video file to record in as well, such as out.mp4.")] = None
    mark: Annotated[bool, typer.Option("--mark/--no-mark", help='Write "synthetic" into a corner.')] = True
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long; else with q or Ctrl-C.")] = None


@dataclass(frozen=True)
class LookOptions:
    """What is drawn, and by what."""

    size: Annotated[int, typer.Option(min=64, max=2048, help="Side of the picture in px.")] = 512
    renderer: Annotated[
        Literal["fast", "full"], typer.Option(help="The baked avatar on the CPU, or the full renderer (for a GPU).")
    ] = "fast"
    background: Annotated[
        str, typer.Option(help="original, blur, gray, white, black, green, a colour such as #3366cc, or a picture.")
    ] = "gray"
    texture_size: TextureOption = 1024


@dataclass(frozen=True)
class MotionOptions:
    """How the face is followed."""

    strength: StrengthOption = 1.0
    smooth: SmoothOption = 0.2
    mirror: Annotated[bool, typer.Option("--mirror/--no-mirror", help="Move as a mirror would.")] = False


@flattened
def live(
    avatar: Annotated[Path, typer.Argument(help="A saved avatar (folder or .zip), or a baked one (.glb).")],
    camera: Annotated[str, typer.Option(help="Number of the camera, or a video file that stands for it.")] = "0",
    *,
    outputs: OutputOptions,
    look: LookOptions,
    moves: MotionOptions,
    common: WritingOptions,
) -> None:
    """Let an avatar follow a face while it moves.

    Look straight ahead with a calm face for the first second: that is taken as neutral. Keys in the window: n takes
    the next second as neutral, m mirrors, q quits.

    Example: invertavatar live me/ --camera 0 --virtual-camera
    """
    film = None if camera.isdecimal() else Path(camera)
    check_inputs([avatar, *([film] if film else [])])
    check_request(avatar, look.renderer, outputs.record)
    check_outputs([outputs.record] if outputs.record else [], [avatar, *([film] if film else [])], common.overwrite)

    with error_sentences(common.debug, common.quiet), ExitStack() as closing:
        from invertavatar.live import CameraSource, FilmSource, Live
        from invertavatar.live.driver import LiveDriver
        from invertavatar.live.outputs import Recording, VirtualCamera, Window
        from invertavatar.media import mark_synthetic
        from invertavatar.tracking.tracker import FaceTracker

        # What the system lacks is said before anything slow begins.
        shown_in = Window() if outputs.window else None
        if shown_in:
            closing.callback(shown_in.close)
        source = FilmSource(film) if film else CameraSource(int(camera))
        sent_to = VirtualCamera(look.size, source.fps) if outputs.virtual_camera else None
        if sent_to:
            closing.callback(sent_to.close)
        render = renderer_of(avatar, look, common)
        render(render.rest)  # a first frame may take seconds, in which no picture shall be dropped
        kept_in = Recording(outputs.record, source.fps) if outputs.record else None
        if kept_in:
            closing.push(lambda kind, *_: kept_in.close(fine=kind is None or kind is KeyboardInterrupt))
        if not common.quiet:
            where = [f"virtual camera {sent_to.name}"] if sent_to else []
            where += [str(outputs.record)] if outputs.record else []
            print(f"{source.name} drives {avatar}{', into ' + ', '.join(where) if where else ''}; Ctrl-C ends it.")
        driver = LiveDriver(render.rest, render.head_model, moves.strength, moves.smooth, moves.mirror)
        tracker = closing.enter_context(FaceTracker.from_pretrained())
        session = Live(source, tracker, driver, render)
        frames = iter(session)
        closing.callback(frames.close)
        frame = None
        try:
            for shown in frames:
                if shown.frame is not None:
                    frame = mark_synthetic(shown.frame) if outputs.mark else shown.frame
                    if sent_to:
                        sent_to.show(frame)
                    if kept_in:
                        kept_in.show(frame, shown.seconds)
                if shown_in and frame is not None:
                    shown_in.show(frame, status(session, shown))
                session.done(shown)
                key = shown_in.key() if shown_in else None
                if key == "n":
                    driver.calibrate()
                elif key == "m":
                    driver.mirror = not driver.mirror
                if key == "q" or (outputs.seconds is not None and shown.seconds >= outputs.seconds):
                    break
        except KeyboardInterrupt:
            pass
        if not common.quiet:
            print(session.report())


def check_request(avatar: Path, renderer: str, record: Path | None) -> None:
    """Refuse what cannot be meant, before anything slow begins.

    Raises:
        typer.TyperException: With one sentence that says what to change.
    """
    if record and record.suffix.lower() not in endings.MOVIES:
        known = ", ".join(endings.MOVIES)
        raise typer.TyperException(f"{record.name} is of no kind that can be recorded; end its name in {known}.")
    if avatar.suffix.lower() == BAKED_SUFFIX and renderer == "full":
        raise typer.TyperException(
            f"{avatar.name} is baked, which the fast renderer draws; for --renderer full give the avatar's folder."
        )


def renderer_of(avatar: Path, look: LookOptions, common: WritingOptions) -> "FastRenderer | FullRenderer":
    """What draws the frames of an avatar's file."""
    from invertavatar import Avatar
    from invertavatar.baking.baked_avatar import BakedAvatar
    from invertavatar.errors import InvertAvatarError
    from invertavatar.live import FastRenderer, FullRenderer

    if look.background == "transparent":
        raise InvertAvatarError("A camera has no transparency: give a background, such as green.")
    if avatar.suffix.lower() == BAKED_SUFFIX:
        return FastRenderer(BakedAvatar.load(avatar), look.size, look.background)
    pipe = load_pipeline(common.model, common.device, common.quiet)
    person = Avatar.from_pretrained(avatar)
    if look.renderer == "full":
        return FullRenderer(pipe, person, look.size, look.background)
    return FastRenderer(pipe.bake(person, look.texture_size), look.size, look.background)


def status(session: "Live", shown: "Shown") -> str:
    """The line over the frame."""
    latency = 1000 * session.shown[-1][1] if session.shown else 0
    state = "no face" if not shown.tracked else "look ahead, calmly" if shown.calibrating else "following"
    return f"{state}  {session.rate:.0f} frames/s  {latency:.0f} ms"


if __name__ == "__main__":
    app = new_app()
    app.command()(live)
    run(app)
