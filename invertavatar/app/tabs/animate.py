"""Avatar and drivers -> films."""

from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from ...flattened import flattened
from .. import films, settings, views, visitors
from ..endpoints import HEAVY, OWN, listen, workspace
from ..film_request import FilmRequest, checked
from ..progress import Job
from ..style import explained, status


@flattened
def animate(ticket: str | None, request: FilmRequest) -> Iterator[tuple]:
    """Drive the avatar by videos, photos, saved motions or tables of ARKit scores; each gives a result.

    A speech moves the mouth: alone, or beside each of these. With `into_photo` or `into` the head moves in a whole
    photo or video, to which frame, size and background belong.
    """
    person = visitors.VISITORS.person(ticket)
    sources, film = checked(request, person)
    with workspace() as folder:
        results, notes, frame = [], [], None
        for number, source in enumerate(sources, 1):
            name = Path(source).name + (f" ({number} of {len(sources)})" if len(sources) > 1 else "")
            target = Path(folder) / str(number)
            target.mkdir()
            job = Job(films.animate(person, source, target, film))
            for report in job:
                frame = frame if report.frame is None else films.opaque(report.frame)
                preview = gr.skip() if report.frame is None else frame
                yield preview, status(f"{name}: {report.text}", report.fraction), gr.skip(), gr.skip()
            file, note = job.result
            results.append(str(file))
            notes.append(note)
            files = sorted(str(file) for file in Path(folder).rglob("*.*"))
            done = " ".join(["Finished." if number == len(sources) else f"{number} finished.", *filter(None, notes)])
            yield frame, status(done), results, files


def cancel() -> tuple[None, str]:
    """Stop an animation where it stands."""
    return None, status("Cancelled.")


def animate_tab(ticket: gr.State, photos: gr.Gallery) -> None:
    """Drivers in, films out."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            drivers = gr.File(
                label="Videos or photos that drive",
                file_count="multiple",
                height=170,  # of any file type: the content decides, and a sentence lists what may drive
                elem_id="drivers",
            )
            explained("Also motions saved here (.safetensors), Live Link Face and Audio2Face recordings (.csv, .json).")
            with gr.Row():
                clips = [
                    gr.Button(f"Example clip {n + 1}", size="sm", min_width=120, elem_id=settings.EXAMPLE_CLIPS[n])
                    for n in (0, 1)
                ]
            with gr.Accordion("Record yourself", open=False):
                # Without a mirror, which would need ffmpeg's own program.
                camera = gr.WebcamOptions(mirror=False)
                webcam = gr.Video(show_label=False, sources=["webcam"], include_audio=True, webcam_options=camera)
            with gr.Accordion("Speech", open=False, elem_id="speech_panel"):
                explained("A voice moves the mouth: alone, or beside what is chosen above, which then moves the rest.")
                speech = gr.Audio(
                    label="Speech in English",
                    sources=["upload", "microphone"],
                    type="filepath",
                    editable=False,  # which would need ffmpeg's own program
                    buttons=[],
                    elem_id="speech",
                )
                head_motion = gr.Slider(
                    *(0, 1, 0.5),
                    step=0.05,
                    label="Head motion",
                    info="Of one who speaks, where nothing else moves the head.",
                    elem_id="head_motion",
                )
            region = gr.Radio(
                [("Everything", "all"), ("Expression", "exp"), ("Pose", "pose"), ("Mouth", "lip"), ("Eyes", "eyes")],
                value="all",
                label="What moves",
                elem_id="region",
            )
            with gr.Accordion("Frame and background", open=False, elem_id="frame_panel"):
                framing = gr.Radio(
                    [("As the photos", "photo"), ("Head", "head"), ("Bust", "bust")],
                    value="photo",
                    label="Frame",
                    elem_id="framing",
                )
                size = gr.Radio(list(settings.FILM_SIZES), value=settings.STILL_SIZE, label="Pixels", elem_id="size")
                background = gr.Dropdown(
                    list(views.BACKGROUNDS),
                    value="gray",
                    label="Background",
                    info="Or a colour such as #3366cc.",
                    allow_custom_value=True,
                )
                picture = gr.Image(
                    label="Or a picture behind",
                    height=140,
                    sources=["upload", "clipboard"],
                    type="filepath",
                    image_mode=None,
                )
            with gr.Accordion("Back into a photo or video", open=False, elem_id="into_panel"):
                explained(
                    "The head moves in the whole picture of the person, at its full size; frame, pixels and background "
                    "are those of the picture."
                )
                into_photo = gr.Checkbox(False, label="Into the first photo", elem_id="into_photo")
                into = gr.File(
                    label="Another photo or a video",
                    file_types=["image", "video"],
                    height=170,
                    elem_id="into",
                )
            with gr.Accordion("Strength and neutral face", open=False, elem_id="motion_panel"):
                strength = gr.Slider(0, 3, 1, step=0.05, label="Strength")
                smoothing = gr.Slider(0, 1, 0, step=0.05, label="Smoothing")
                relative = gr.Checkbox(
                    True, label="Relative to the driver's own neutral face", info="A photo is taken as it is."
                )
                neutral_frame = gr.Textbox(
                    "",
                    label="Neutral frame",
                    info="By its number (12) or time (0.5s). Empty: the median of a video, 0 in a table of scores.",
                    max_length=20,
                    elem_id="neutral_frame",
                )
            with gr.Accordion("Sound, comparison, mark", open=False, elem_id="extras_panel"):
                explained("Another sound instead of the driver's or the speech's; a photo lasts as long as it.")
                sound = gr.File(
                    label="Sound, or a video with sound", file_types=["audio", "video"], height=170, elem_id="sound"
                )
                beside = gr.Checkbox(False, label="Photo and driver beside the result")
                mark = gr.Checkbox(True, label="Mark the result as synthetic")
            with gr.Row():
                start = gr.Button("Animate", variant="primary", elem_id="animate", min_width=120)
                stop = gr.Button("Cancel", variant="stop", elem_id="cancel", min_width=120)
        with gr.Column(scale=3, min_width=320):
            limit = f"Up to {settings.MAX_SECONDS:.0f} s at a time"
            note = gr.HTML(status(f"{limit}; sound and frame rate are the driver's."))
            preview = gr.Image(
                label="Preview", interactive=False, format="jpeg", height=300, buttons=[], elem_id="preview"
            )
            results = gr.Gallery(
                label="Results",
                columns=2,
                fit_columns=False,
                height="auto",
                buttons=["download", "fullscreen"],
                elem_classes="quiet snug",
                elem_id="results",
            )
            files = gr.File(
                label="Download: film and its motion",
                file_count="multiple",
                interactive=False,
                elem_classes="quiet",
                elem_id="files",
            )
    inputs = [ticket, drivers, webcam, region, relative, strength, smoothing, background, picture, size, beside, mark]
    inputs += [neutral_frame, sound, speech, framing, into_photo, into, photos, head_motion]
    job = listen(start.click, animate, inputs, [preview, note, results, files], **HEAVY)
    listen(stop.click, cancel, None, [preview, note], cancels=[job], queue=False)
    for clip, name in zip(clips, settings.EXAMPLE_CLIPS, strict=True):
        file = [str(settings.EXAMPLES / f"{name}.mp4")]
        clip.click(lambda file=file: file, None, drivers, api_name=f"example_{name}", **OWN)
