"""The app: photos -> avatar, avatar and driver -> video, avatar and sliders -> pictures. One page, four tabs.

It runs locally (`make app`), as a Space and on ZeroGPU as it stands. First the handlers as plain functions, each an
endpoint for `gradio_client`, then the page; what they ask for is done in `invertavatar.app`. A handler that takes long
is a generator: it stops where it stands when its visitor cancels or leaves, and takes its files along.
"""

import argparse
import contextlib
import functools
import inspect
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from invertavatar import InvertAvatarError, endings
from invertavatar.app import arguments, building, films, live, model, people, style, uploads, views
from invertavatar.app.doorkeeper import Doorkeeper
from invertavatar.app.progress import Job
from invertavatar.app.style import banner, listed, status
from invertavatar.app.visitors import Visitors
from invertavatar.avatar import Avatar
from invertavatar.rendering.framing import FRAMINGS
from invertavatar.tracking import sliders
from invertavatar.tracking.motion import ANIMATION_REGIONS, check_neutral_frame

logger = logging.getLogger("invertavatar.app")

EXAMPLES = Path(__file__).resolve().parent / "assets" / "examples"
EXAMPLE_PEOPLE, EXAMPLE_CLIPS = ("anna", "ben", "clara", "dan", "eva", "finn"), ("talk_a", "talk_b")
LIFETIME = 3600  # seconds that a visitor's files and avatar are kept
VISITORS = Visitors(most=64, most_bytes=1_000_000_000, lifetime=LIFETIME)  # --max-avatars changes it
SESSIONS_PER_AVATAR = 4  # pages of which Gradio remembers anything, half a megabyte each: few of them have an avatar
CACHE_VARIABLE = "GRADIO_TEMP_DIR"  # names the folder of uploads and results in the environment
MAX_UPLOAD = "200mb"
MAX_AVATAR_BYTES = 100_000_000  # of an uploaded avatar, unpacked
MAX_SECONDS = 60.0  # of a driver; --max-seconds changes it
MAX_DRIVERS = 8  # in one go: what a visitor starts, all others wait for
JOBS_OF_A_VISITOR = 4  # that may wait at a time

STILL_SIZE = 512
LIVE_SIZE = 256 if model.DEVICE == "cpu" else 512  # while a slider moves
FILM_SIZES = (256, 512, 768)
MESH_KINDS = ("glb", "obj", "ply")


# What handlers share


def in_sentences(handler: Callable) -> Callable:
    """What goes wrong reaches the visitor as one sentence; the log has the traceback of what nobody foresaw."""

    def explain(error: Exception) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        sentence = str(error)
        if not isinstance(error, InvertAvatarError):
            logger.error("%s failed", handler.__name__, exc_info=error)
            sentence = "Something went wrong on the server. Nothing was changed; try again, or with another file."
        return gr.Error(sentence, duration=None, print_exception=False)

    @functools.wraps(handler)
    def plain(*arguments):
        try:
            return handler(*arguments)
        except Exception as error:
            raise explain(error) from error

    @functools.wraps(handler)
    def streaming(*arguments):
        try:
            yield from handler(*arguments)
        except Exception as error:
            raise explain(error) from error
        finally:
            model.hand_back_memory()

    return streaming if inspect.isgeneratorfunction(handler) else plain


def workspace() -> tempfile.TemporaryDirectory:
    """A folder for one job; Gradio takes a copy of what a handler yields, which expires by itself."""
    return tempfile.TemporaryDirectory(prefix="invertavatar_")


# Tab 1: avatar


def check_photos(photos, face_index=0):
    """See what is found in each photo, before anything is built."""
    found, good, bad = [], [], []
    for portrait, sentence in people.read_photos(*chosen(photos, face_index), model.finest()) if photos else ():
        if portrait is None:
            bad.append(sentence)
        else:
            found.append((people.understood(portrait, model.head_model()), portrait.name))
            good.append(sentence)
    return found, listed(good, "✓") + listed(bad, "✗")


def chosen(photos, face_index) -> tuple:
    """What `people.read_photos` takes: the files of a gallery, and which of the faces."""
    files = arguments.files("photos", photos, most=100)
    return files, model.tracker(), arguments.whole("the face", face_index, *arguments.FACES), MAX_SECONDS


def reconstruct(ticket, photos, consent=False, face_index=0):
    """Build an avatar of one person from one or more photos."""
    if not arguments.switch("the consent", consent):
        raise InvertAvatarError("Please confirm first that the person in the photos agreed to this.")
    yield from joined(ticket, None, photos, face_index)


def update(ticket, photos, face_index=0):
    """Refine the avatar with those of the photos that are not in it yet."""
    yield from joined(ticket, VISITORS.person(ticket), photos, face_index)


def joined(ticket, person, photos, face_index):
    """Both of the above: yields ticket, banner, status, comparison and turntable."""
    start, same = time.perf_counter(), gr.skip()
    files, _, face, longest = chosen(photos, face_index)
    job = Job(building.join(person, files, face, longest))
    for report in job:
        yield same, same, status(report.text, report.fraction), same, same
    person, comparison, left_out = job.result
    note = " ".join([f"{person.title}, in {time.perf_counter() - start:.1f} s.", *left_out])
    done = (VISITORS.keep(person, ticket), banner(person), status(note), comparison)
    yield *done, same
    yield *done, views.turntable(person)  # all of it once more: a client of the API gets the last


def sample(ticket, seed=0, variety=1.0):
    """Draw a person who does not exist, one for each seed."""
    seed = arguments.whole("the seed", seed, *arguments.SEEDS)
    avatar = model.sample(seed, arguments.number("the variety", variety, 0, 1, default=1.0))
    person = people.Person(avatar, f"A person who does not exist (seed {seed})")
    strip = views.turntable(person)
    return VISITORS.keep(person, ticket), banner(person), status(f"{person.title}."), [], strip


def save(ticket):
    """The avatar as one file. It is biometric data: keep it as you would keep the photos."""
    avatar = VISITORS.person(ticket).avatar
    with workspace() as folder:
        people.saved(avatar, Path(folder) / "avatar.zip")
        yield str(Path(folder) / "avatar.zip")


def load(ticket, file):
    """Take up an avatar that was saved before: here, or as a folder that was zipped since."""
    files = arguments.files("avatars", file, most=1)
    if not files:
        raise InvertAvatarError("Choose an avatar.zip that was saved here before, or the zipped folder of an avatar.")
    avatar = Avatar.from_pretrained(files[0], layout=model.load().pipe.avatar_layout, max_bytes=MAX_AVATAR_BYTES)
    person = people.built(avatar)
    strip = views.turntable(person)  # which refuses the avatar of another model
    return VISITORS.keep(person, ticket), banner(person), status(f"Loaded. {person.title}."), [], strip


def forget(ticket):
    """Drop the avatar."""
    VISITORS.forget(ticket)
    return None, banner(None), status("The avatar is forgotten."), [], None


# Tab 2: animate


def animate(
    ticket,
    drivers,
    webcam=None,
    region="all",
    relative_motion=True,
    strength=1.0,
    smoothing=0.0,
    background="gray",
    background_picture=None,
    size=STILL_SIZE,
    beside=False,
    mark=True,
    neutral_frame="",
    sound=None,
    speech=None,
    framing="photo",
    into_photo=False,
    into=None,
    photos=None,
    head_motion=0.5,
):
    """Drive the avatar by videos, photos, saved motions or tables of ARKit scores; each gives a result.

    A speech moves the mouth: alone, or beside each of these. With `into_photo` or `into` the head moves in a whole
    photo or video, to which frame, size and background belong.
    """
    person = VISITORS.person(ticket)
    sources = arguments.files("drivers", drivers, MAX_DRIVERS) + arguments.files("recordings", webcam, most=1)
    speech = next(iter(arguments.files("speeches", speech, most=1)), None)
    if not sources and not speech:
        raise InvertAvatarError(
            "Choose what drives the avatar: a video, a photo, a saved motion, an example clip or a speech."
        )
    options = {
        "animation_region": arguments.choice("what moves", region, ANIMATION_REGIONS, "all"),
        "relative_motion": arguments.switch("the relative motion", relative_motion, default=True),
        "motion_scale": arguments.number("the strength", strength, 0, 3, default=1.0),
        "smooth": arguments.number("the smoothing", smoothing, 0, 1),
        "background": views.checked_background(background, background_picture),
        "height": arguments.size(size, STILL_SIZE),
        "framing": arguments.choice("the frame", framing, FRAMINGS, "photo"),
        "into": views.checked_into(person, into_photo, photos, into, MAX_SECONDS),
    }
    head_motion = arguments.number("the head motion", head_motion, 0, 1, default=0.5)
    beside, mark = arguments.switch("beside", beside), arguments.switch("the mark", mark, default=True)
    neutral_frame = arguments.text("the neutral frame", neutral_frame) or None
    if neutral_frame:
        check_neutral_frame(neutral_frame)
    if speech:
        arguments.check_speech(bool(sources), options["animation_region"], neutral_frame)
    sound = next(iter(arguments.files("sounds", sound, most=1)), None)
    if sound:
        uploads.check_sound(sound, MAX_SECONDS)
    for source in sources:
        uploads.check(source, MAX_SECONDS)
    if speech:
        uploads.check_sound(speech, MAX_SECONDS)
        sources = sources or [speech]
    with workspace() as folder:
        results, notes, frame = [], [], None
        for number, source in enumerate(sources, 1):
            name = Path(source).name + (f" ({number} of {len(sources)})" if len(sources) > 1 else "")
            target = Path(folder) / str(number)
            target.mkdir()
            film_options = (options, MAX_SECONDS, beside, mark, neutral_frame, sound, speech, head_motion)
            job = Job(films.animate(person, source, target, *film_options))
            for report in job:
                frame = frame if report.frame is None else films.opaque(report.frame)
                preview = gr.skip() if report.frame is None else frame
                yield preview, status(f"{name}: {report.text}", report.fraction), gr.skip(), gr.skip()
            film, note = job.result
            results.append(str(film))
            notes.append(note)
            files = sorted(str(file) for file in Path(folder).rglob("*.*"))
            done = " ".join(["Finished." if number == len(sources) else f"{number} finished.", *filter(None, notes)])
            yield frame, status(done), results, files


def cancel():
    """Stop an animation where it stands."""
    return None, status("Cancelled.")


# Tab 3: explore


def render(
    ticket, yaw=0, pitch=0, roll=0, zoom=1, background="gray", expression=None, size=STILL_SIZE, turn_body=False
):
    """A still from any side, with any expression ({ARKit name: 0..1}); the head turns on its neck, or all of it."""
    behind = views.checked_background(background)
    return pictured(ticket, yaw, pitch, roll, zoom, expression, size, turn_body, background=behind)[0][0]


def depth(ticket, yaw=0, pitch=0, roll=0, zoom=1, expression=None, size=STILL_SIZE, turn_body=False):
    """How near each point is, as a grey picture: near is bright, black is nothing."""
    return views.depth_picture(pictured(ticket, yaw, pitch, roll, zoom, expression, size, turn_body)[1][0])


def pictured(ticket, yaw, pitch, roll, zoom, expression, size, turn_body, **options):
    """Both of the above: picture and depth, one of each."""
    options |= arguments.camera(yaw, pitch, roll, zoom)
    options |= {"expression": arguments.expression(expression), "height": arguments.size(size, STILL_SIZE)}
    options |= {"turn_body": arguments.switch("turn_body", turn_body)}
    return model.pictures(VISITORS.person(ticket).avatar, **options)


def orbit(ticket, expression=None, background="gray", size=LIVE_SIZE, mark=True):
    """A video that looks at the avatar from both sides, from below and from above."""
    person, scores = VISITORS.person(ticket), arguments.expression(expression)
    behind, side = views.checked_background(background), arguments.size(size, LIVE_SIZE)
    mark = arguments.switch("the mark", mark, default=True)
    with workspace() as folder:
        job = Job(films.orbit(person, Path(folder), scores, behind, side, mark))
        for report in job:
            yield gr.skip(), status(report.text, report.fraction)
        yield str(job.result), status("Finished.")


def export_mesh(ticket, expression=None, kind="glb"):
    """The head as a textured mesh: a .glb to look at, and the file that was asked for (an .obj has three).

    A .glb can be animated: 52 morph targets named as ARKit's, neck, jaw and eye joints.
    """
    person, scores = VISITORS.person(ticket), arguments.expression(expression)
    kind = arguments.choice("the file", kind, MESH_KINDS, "glb")
    yield gr.skip(), gr.skip(), status("Baking the texture: some seconds.")
    head = model.baked(person.avatar)
    mesh = head.with_expression(scores) if scores else head
    with workspace() as folder:
        files = {suffix: Path(folder) / suffix / f"head.{suffix}" for suffix in {"glb", kind}}
        for file in files.values():
            file.parent.mkdir()
            mesh.save(file)
        wanted = [str(file) for file in sorted(files[kind].parent.iterdir())]
        yield str(files["glb"]), wanted, status(f"{len(head.mesh.triangles)} triangles, in metres, y up.")


def slide(ticket, settled, show, background, together, turn_body, *values):
    """The live still while a slider moves: of the baked avatar, or small where that is faster than a full one."""
    if ticket is None or list(values) == settled:  # a last movement may be answered after the slider was let go
        return gr.skip(), gr.skip()
    head = model.baked_already(VISITORS.person(ticket).avatar)
    if show == "Picture" and head is not None:
        scores = sliders.expression_of(values[4:], together)
        options = arguments.camera(*values[:4]) | {"turn_body": arguments.switch("turn_body", turn_body)}
        behind = views.checked_background(background)
        return head.still(
            expression=arguments.expression(scores), background=behind, size=STILL_SIZE, **options
        ), scores
    return still(ticket, show, background, together, turn_body, values, LIVE_SIZE)


def prepare(ticket):
    """The baked avatar of whoever opens the tab, so that sliders and previews are answered at once."""
    if ticket is not None:
        model.baked(VISITORS.person(ticket).avatar)


def settle(ticket, show, background, together, turn_body, *values):
    """The still in full size once a slider rests; and what it shows, for the other handlers."""
    if ticket is None:
        return None, {}, None
    return *still(ticket, show, background, together, turn_body, values, STILL_SIZE), list(values)


def still(ticket, show, background, together, turn_body, values, size):
    """Both of the above: picture and expression."""
    camera, expression = values[:4], sliders.expression_of(values[4:], together)
    if show == "Depth":
        return depth(ticket, *camera, expression, size, turn_body), expression
    return render(ticket, *camera, background, expression, size, turn_body), expression


# Tab 4: live


def bake(ticket):
    """The avatar as a .glb for browsers, 3D programs and capture programs: textured, rigged, with ARKit's 52 shapes."""
    person = VISITORS.person(ticket)
    yield gr.skip(), status("Baking the avatar: some seconds.")
    baked = model.baked(person.avatar)
    with workspace() as folder:
        baked.save(Path(folder) / "avatar.glb")
        yield str(Path(folder) / "avatar.glb"), status("Ready: allow the camera, or point with the mouse.")


# The page

HEAVY = {"concurrency_id": "gpu", "concurrency_limit": 1, "show_progress": "hidden"}
STILL = {"concurrency_id": "still", "concurrency_limit": 1, "show_progress": "hidden"}  # does not wait for films
OWN = {"api_visibility": "private"}  # of the page alone: what it does is public under another name
SHOWN = {"interactive": False, "buttons": ["download", "fullscreen"]}


def build() -> gr.Blocks:
    """The page; the model may come later."""
    with gr.Blocks(title="InvertAvatar", analytics_enabled=False, delete_cache=(LIFETIME, LIFETIME)) as page:
        ticket = gr.State(None, time_to_live=2 * LIFETIME, delete_callback=VISITORS.forget)
        gr.Markdown(style.TITLE)
        who = gr.HTML(banner(None))
        with gr.Tab("Avatar"):
            changes, photos = avatar_tab(ticket, who)
        with gr.Tab("Animate") as tab:
            animate_tab(ticket, photos, tab)
        with gr.Tab("Explore") as tab:
            explore_tab(ticket, changes, tab)
        with gr.Tab("Live"):
            live_tab(ticket, changes)
        gr.Markdown(style.KEPT.format(hours=2 * LIFETIME // 3600))
    return page


def explained(text: str) -> gr.Markdown:
    """Small print above the fields that it explains."""
    return gr.Markdown(text, elem_classes="explanation")


def listen(event, handler: Callable, inputs, outputs, **options):
    """Attach a handler as an endpoint of its name, with its errors as sentences."""
    options = {"api_name": handler.__name__, "inputs": inputs, "outputs": outputs} | options
    attach = functools.partial(gr.on, event) if isinstance(event, list) else event
    return attach(fn=in_sentences(handler), **options)


def avatar_tab(ticket: gr.State, who: gr.HTML) -> tuple[list, gr.Gallery]:
    """Photos in, avatar out; returns the events after which there is another avatar, or none, and the photos."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            photos = gr.Gallery(
                label="Photos of one person",
                file_types=[*endings.PHOTOS, *endings.VIDEOS],
                sources=["upload", "webcam", "clipboard"],
                interactive=True,
                columns=4,
                fit_columns=False,
                height=200,
                object_fit="cover",
                buttons=["fullscreen"],
                elem_id="photos",
            )
            example_people = gr.Gallery(
                [str(EXAMPLES / f"{name}_1.jpg") for name in EXAMPLE_PEOPLE],
                show_label=False,
                columns=6,
                height="auto",
                allow_preview=False,
                object_fit="cover",
                buttons=[],
                interactive=False,
                elem_classes="snug",
                elem_id="people",
            )
            explained("Or a short video, or an example person with a click; nobody of them exists.")
            consent = gr.Checkbox(label=style.CONSENT, elem_id="consent")
            with gr.Row():
                build_button = gr.Button("Build avatar", variant="primary", elem_id="build", min_width=120)
                add_button = gr.Button("Add photos", elem_id="add", min_width=120)
            with gr.Accordion("Save, load, sample, more", open=False, elem_id="more"):
                with gr.Row():
                    save_button = gr.Button("Save avatar", elem_id="save", min_width=120)
                    load_button = gr.UploadButton("Load avatar", file_types=[".zip"], elem_id="load", min_width=120)
                    forget_button = gr.Button("Forget avatar", variant="stop", elem_id="forget", min_width=120)
                saved = gr.DownloadButton("Saved avatar", elem_classes="offstage", elem_id="saved")
                with gr.Row():
                    seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=90)
                    variety = gr.Slider(0, 1, 1, label="Variety", min_width=120)
                sample_button = gr.Button("Sample a person who does not exist", elem_id="sample")
                face_index = gr.Number(
                    0, label="Which face, where a photo shows several (0 is the largest)", precision=0, minimum=0
                )
        with gr.Column(scale=3, min_width=320):
            note = gr.HTML(status("Drop photos, confirm, build. Photos from other sides make the avatar better."))
            found = gr.Gallery(
                label="What was found",
                columns=4,
                fit_columns=False,
                height="auto",
                buttons=[],
                elem_classes="quiet snug",
                elem_id="found",
            )
            sentences = gr.HTML()
            comparison = gr.Gallery(
                label="Photo, and the avatar in its pose",
                columns=2,
                height="auto",
                object_fit="contain",
                buttons=[],
                elem_classes="quiet snug",
                elem_id="comparison",
            )
            explained(style.AGREES)
            strip = gr.Image(label="From five sides", format="jpeg", elem_classes="quiet", elem_id="turntable", **SHOWN)
    outputs = [ticket, who, note, comparison, strip]
    listen(photos.change, check_photos, [photos, face_index], [found, sentences], concurrency_limit=2)
    chosen = listen(example_people.select, example_person, None, photos, **OWN)
    listen(chosen.then, check_photos, [photos, face_index], [found, sentences], **OWN)
    saving = listen(save_button.click, save, ticket, saved)
    saving.success(None, js="() => setTimeout(() => document.querySelector('#saved').click(), 300)", **OWN)
    changes = [
        listen(build_button.click, reconstruct, [ticket, photos, consent, face_index], outputs, **HEAVY),
        listen(add_button.click, update, [ticket, photos, face_index], outputs, **HEAVY),
        listen(sample_button.click, sample, [ticket, seed, variety], outputs, **HEAVY),
        listen(load_button.upload, load, [ticket, load_button], outputs, **HEAVY),
        listen(forget_button.click, forget, ticket, outputs),
    ]
    return changes, photos


def example_person(event: gr.SelectData):
    """The photos of an example person."""
    return [str(EXAMPLES / f"{EXAMPLE_PEOPLE[event.index]}_{number}.jpg") for number in range(1, 5)]


def animate_tab(ticket: gr.State, photos: gr.Gallery, tab: gr.Tab) -> None:
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
                    gr.Button(f"Example clip {n + 1}", size="sm", min_width=120, elem_id=EXAMPLE_CLIPS[n])
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
                size = gr.Radio(list(FILM_SIZES), value=STILL_SIZE, label="Pixels", elem_id="size")
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
            note = gr.HTML(status(f"Up to {MAX_SECONDS:.0f} s at a time; sound and frame rate are the driver's."))
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
    listen(tab.select, prepare, ticket, None, **HEAVY, **OWN)
    for clip, name in zip(clips, EXAMPLE_CLIPS, strict=True):
        file = [str(EXAMPLES / f"{name}.mp4")]
        clip.click(lambda file=file: file, None, drivers, api_name=f"example_{name}", **OWN)


def explore_tab(ticket: gr.State, changes: list, tab: gr.Tab) -> None:
    """Sliders in, pictures out."""
    settled = gr.State(None, time_to_live=LIFETIME)
    expression = gr.JSON({}, visible=False)  # what the sliders say, for the handlers that make files
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            picture = gr.Image(label="Avatar", format="png", height=512, elem_id="still", **SHOWN)
            with gr.Row():
                show = gr.Radio(["Picture", "Depth"], value="Picture", label="Show", min_width=140, elem_id="show")
                background = gr.Dropdown(
                    list(views.BACKGROUNDS), value="gray", label="Background", allow_custom_value=True, min_width=140
                )
            with gr.Accordion("Orbit video", open=False, elem_id="orbit_panel"):
                with gr.Row():
                    orbit_size = gr.Radio(list(FILM_SIZES[:2]), value=LIVE_SIZE, label="Pixels", min_width=120)
                    orbit_mark = gr.Checkbox(True, label="Mark as synthetic", min_width=120)
                orbit_button = gr.Button("Render the orbit", elem_id="orbit")
                orbit_note = gr.HTML()
                film = gr.Video(
                    label="Orbit", interactive=False, loop=True, autoplay=True, height=320, buttons=["download"]
                )
            with gr.Accordion("Mesh", open=False, elem_id="mesh_panel"):
                kind = gr.Radio(list(MESH_KINDS), value="glb", label="File", min_width=120)
                mesh_button = gr.Button("Make the mesh", elem_id="mesh")
                mesh_note = gr.HTML()
                viewer = gr.Model3D(label="Mesh", interactive=False, height=320, elem_id="viewer")
                mesh_files = gr.File(
                    label="Download",
                    file_count="multiple",
                    interactive=False,
                    elem_classes="quiet",
                    elem_id="mesh_files",
                )
        with gr.Column(scale=2, min_width=320):
            with gr.Row():
                presets = [gr.Button(name, size="sm", min_width=80) for name in sliders.PRESETS]
            with gr.Row():
                yaw = gr.Slider(-60, 60, 0, step=1, label="Yaw", min_width=180, elem_id="yaw")
                pitch = gr.Slider(-40, 40, 0, step=1, label="Pitch", min_width=180)
                roll = gr.Slider(-45, 45, 0, step=1, label="Roll", min_width=180)
                zoom = gr.Slider(0.5, 3, 1, step=0.05, label="Zoom", min_width=180)
            turn_body = gr.Checkbox(False, label="Turn the body too", elem_id="turn_body")
            together = gr.Checkbox(True, label="Both sides of the face move together", elem_id="together")
            scores = {}
            for group, names in sliders.GROUPS.items():
                with gr.Accordion(group, open=group == "Eyes"), gr.Row():
                    for name in names:
                        look = {"label": sliders.label(name, True), "visible": not sliders.hidden(name, True)}
                        scores[name] = gr.Slider(0, 1, 0, step=0.01, min_width=180, elem_id=name, **look)

    camera, faces = [yaw, pitch, roll, zoom], [scores[name] for name in sliders.SLIDERS]
    seen = [show, background, together, turn_body, *camera, *faces]
    live = {"trigger_mode": "always_last", **STILL, **OWN}
    listen([s.input for s in camera + faces], slide, [ticket, settled, *seen], [picture, expression], **live)
    settling = {"inputs": [ticket, *seen], "outputs": [picture, expression, settled], **live}
    listen(
        [s.release for s in camera + faces] + [c.input for c in (show, background, together, turn_body)],
        settle,
        **settling,
    )
    for change in changes:
        listen(change.success, settle, **settling)
    listen(tab.select, prepare, ticket, None, **HEAVY, **OWN)
    listen(together.input, sides, together, faces, queue=False, **OWN)
    for button, name in zip(presets, sliders.PRESETS, strict=True):
        chosen = button.click(functools.partial(preset, name), None, [together, *faces], api_name="preset", **OWN)
        looked = listen(chosen.then, settle, **settling)
        listen(looked.then, sides, together, faces, queue=False, **OWN)

    size, endpoint = gr.Number(STILL_SIZE, visible=False), gr.Button(visible=False)
    listen(endpoint.click, render, [ticket, *camera, background, expression, size, turn_body], picture, **STILL)
    listen(endpoint.click, depth, [ticket, *camera, expression, size, turn_body], picture, **STILL)
    listen(
        orbit_button.click, orbit, [ticket, expression, background, orbit_size, orbit_mark], [film, orbit_note], **HEAVY
    )
    glb = gr.File(visible=False)
    outputs = [glb, mesh_files, mesh_note]
    made = listen(mesh_button.click, export_mesh, [ticket, expression, kind], outputs, **HEAVY)
    # What a generator yields last reaches the page twice, and at the second time Gradio's viewer drops the first.
    made.success(lambda file: file, glb, viewer, queue=False, show_progress="hidden", **OWN)


def live_tab(ticket: gr.State, changes: list) -> None:
    """The avatar follows the visitor's own camera, in the visitor's own browser."""
    explained(style.LIVE)
    start = gr.Button("Go live", variant="primary", elem_id="go_live")
    note = gr.HTML(live_hint(None))
    shown = gr.HTML()
    glb = gr.File(label="Download the avatar (.glb)", interactive=False, visible=False)
    baked = listen(start.click, bake, ticket, [glb, note], **HEAVY)
    quick = {"queue": False, "show_progress": "hidden", **OWN}
    look = baked.success(lambda file: live.frame(file), glb, shown, **quick)
    look.then(lambda: gr.update(visible=True), None, glb, **quick)
    for change in changes:  # another avatar, or none: what is shown is an old one
        outputs = [shown, note, glb]
        change.success(
            lambda ticket: ("", live_hint(ticket), gr.update(value=None, visible=False)), ticket, outputs, **quick
        )


def live_hint(ticket):
    """What to do on the tab."""
    return status(style.NOT_YET if ticket is None else "Ready to go live; some seconds to bake the avatar first.")


def preset(name):
    """The sliders of an expression; each side by itself."""
    return [False, *(sliders.PRESETS[name].get(slider, 0.0) for slider in sliders.SLIDERS)]


def sides(together):
    """One slider for both sides of the face, or one for each."""
    return [
        gr.update(label=sliders.label(name, together), visible=not sliders.hidden(name, together))
        for name in sliders.SLIDERS
    ]


def queued(page: gr.Blocks, most: int) -> gr.Blocks:
    """The page with its queue: so many jobs may wait, few of them one visitor's, and nobody goes past it."""
    page.queue(max_size=most, api_open=False)
    join, preprocess = page._queue.push, page.preprocess_data

    async def push(body, request, username):
        queues = page._queue.event_queue_per_concurrency_id.values()
        waiting = sum(event.session_hash == body.session_hash for queue in queues for event in queue.queue)
        if waiting >= JOBS_OF_A_VISITOR:
            sentence = f"{waiting} of your jobs are waiting. Let one of them finish, or cancel it, before the next."
            return False, sentence, "queue_full"
        if len(page._queue) >= most:
            return False, f"{len(page._queue)} jobs are waiting, which is all that may. Try again soon.", "queue_full"
        return await join(body, request, username)

    async def preprocess_data(*arguments, **options):
        try:
            return await preprocess(*arguments, **options)
        except gr.Error:
            raise
        except Exception as error:
            logger.info("A request was refused.", exc_info=error)
            sentence = (
                'One of the values is not of the kind that is needed here; "Use via API" on the page says which are.'
            )
            raise gr.Error(sentence, duration=None, print_exception=False) from error

    page._queue.push, page.preprocess_data = push, preprocess_data
    return page


def launch_options(page: gr.Blocks) -> dict:
    """What the page needs of `launch`: its look, with no font fetched from anywhere, and its limits."""
    spared = {path for block in page.blocks.values() for path in getattr(block, "keep_in_cache", ())}
    door = {"folder": Path(page.GRADIO_CACHE), "disk_bytes": uploads.DISK_BYTES, "spared": spared}
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return {
        "theme": gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", radius_size="md", **fonts),
        "css": style.CSS,
        "max_file_size": MAX_UPLOAD,
        "allowed_paths": [str(EXAMPLES)],
        "footer_links": ["api", "settings"],
        "ssr_mode": False,
        "state_session_capacity": SESSIONS_PER_AVATAR * VISITORS.most,
        "app_kwargs": {"middleware": [Middleware(Doorkeeper, **door)], "routes": [live.route()]},
    }


def tidy() -> None:
    """Once a minute, forget the avatars that nobody used for long."""
    while True:
        time.sleep(60)
        VISITORS.tidy()


def main() -> None:
    """Start the page; the model is loaded meanwhile."""
    global MAX_SECONDS
    parser = argparse.ArgumentParser(description="InvertAvatar in the browser: the page opens at the printed address.")
    parser.add_argument(
        "--host", help="Address to listen on; 0.0.0.0 lets other machines in. By default only this one."
    )
    parser.add_argument("--port", type=int, help="By default the first free one from 7860 on.")
    parser.add_argument("--share", action="store_true", help="Also a public link, through Gradio's servers.")
    parser.add_argument("--model", help="Folder or Hub id of the model; by default the one that is shipped.")
    parser.add_argument(
        "--max-queue", type=int, default=16, help="Jobs that may wait, beyond which one is refused (16)."
    )
    parser.add_argument("--max-seconds", type=float, default=MAX_SECONDS, help="Longest driver in seconds (60).")
    parser.add_argument(
        "--max-avatars", type=int, default=VISITORS.most, help="Avatars kept at a time, of some 15 MB each (64)."
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    if options.model:
        os.environ[model.MODEL_VARIABLE] = options.model
    MAX_SECONDS, VISITORS.most = options.max_seconds, options.max_avatars
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a polite kill cleans up too
    with contextlib.ExitStack() as until_the_end:
        if CACHE_VARIABLE not in os.environ:  # a folder of the app's own: what is oldest in it makes room
            os.environ[CACHE_VARIABLE] = until_the_end.enter_context(workspace())
        page = queued(build(), options.max_queue)
        address = {"server_name": options.host, "server_port": options.port, "share": options.share}
        page.launch(**address, prevent_thread_lock=True, **launch_options(page))
        # Not before: Gradio gives up on a page that takes three seconds to answer first.
        threading.Thread(target=model.load, daemon=True).start()
        threading.Thread(target=tidy, daemon=True).start()
        page.block_thread()


if model.ON_ZERO_GPU:
    model.load()  # what is put on the GPU here, ZeroGPU hands to its workers

if __name__ == "__main__":
    main()
