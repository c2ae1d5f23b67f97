"""Photos -> avatar: build, refine, sample, save, load and forget one."""

import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np

from ... import endings
from ...avatar import Avatar
from ...errors import InvertAvatarError
from ...tracking.tracker import FaceTracker
from .. import arguments, building, model, people, settings, style, views, visitors
from ..endpoints import HEAVY, OWN, listen, workspace
from ..people import Person
from ..progress import Job
from ..style import SHOWN, banner, explained, listed, status


def check_photos(photos: object, face_index: object = 0) -> tuple[list[tuple[np.ndarray, str]], str]:
    """See what is found in each photo, before anything is built."""
    found, good, bad = [], [], []  # pictures [S, S, 3] uint8 with names, sentences
    for portrait, sentence in people.read_photos(*chosen(photos, face_index), model.finest()) if photos else ():
        if portrait is None:
            bad.append(sentence)
        else:
            found.append((people.understood(portrait, model.head_model()), portrait.name))
            good.append(sentence)
    return found, listed(good, "✓") + listed(bad, "✗")


def chosen(photos: object, face_index: object) -> tuple[list[str], FaceTracker, int, float]:
    """What `people.read_photos` takes: the files of a gallery, and which of the faces."""
    files = arguments.files("photos", photos, most=100)
    return files, model.tracker(), arguments.whole("the face", face_index, *arguments.FACES), settings.MAX_SECONDS


def reconstruct(ticket: str | None, photos: object, consent: object = False, face_index: object = 0) -> Iterator[tuple]:
    """Build an avatar of one person from one or more photos."""
    if not arguments.switch("the consent", consent):
        raise InvertAvatarError("Please confirm first that the person in the photos agreed to this.")
    yield from joined(ticket, None, photos, face_index)


def update(ticket: str | None, photos: object, face_index: object = 0) -> Iterator[tuple]:
    """Refine the avatar with those of the photos that are not in it yet."""
    yield from joined(ticket, visitors.VISITORS.person(ticket), photos, face_index)


def joined(ticket: str | None, person: Person | None, photos: object, face_index: object) -> Iterator[tuple]:
    """Both of the above: yields ticket, banner, status, comparison and turntable."""
    start, same = time.perf_counter(), gr.skip()
    files, _, face, longest = chosen(photos, face_index)
    job = Job(building.join(person, files, face, longest))
    for report in job:
        yield same, same, status(report.text, report.fraction), same, same
    person, comparison, left_out = job.result
    note = " ".join([f"{person.title}, in {time.perf_counter() - start:.1f} s.", *left_out])
    done = (visitors.VISITORS.keep(person, ticket), banner(person), status(note), comparison)
    yield *done, same
    yield *done, views.turntable(person)  # all of it once more: a client of the API gets the last


def sample(ticket: str | None, seed: object = 0, variety: object = 1.0) -> tuple:
    """Draw a person who does not exist, one for each seed."""
    seed = arguments.whole("the seed", seed, *arguments.SEEDS)
    avatar = model.sample(seed, arguments.number("the variety", variety, 0, 1, default=1.0))
    person = Person(avatar, f"A person who does not exist (seed {seed})")
    strip = views.turntable(person)
    return visitors.VISITORS.keep(person, ticket), banner(person), status(f"{person.title}."), [], strip


def save(ticket: str | None) -> Iterator[str]:
    """The avatar as one file. It is biometric data: keep it as you would keep the photos."""
    avatar = visitors.VISITORS.person(ticket).avatar
    with workspace() as folder:
        people.saved(avatar, Path(folder) / "avatar.zip")
        yield str(Path(folder) / "avatar.zip")


def load(ticket: str | None, file: object) -> tuple:
    """Take up an avatar that was saved before: here, or as a folder that was zipped since."""
    files = arguments.files("avatars", file, most=1)
    if not files:
        raise InvertAvatarError("Choose an avatar.zip that was saved here before, or the zipped folder of an avatar.")
    layout = model.load().pipe.avatar_layout
    avatar = Avatar.from_pretrained(files[0], layout=layout, max_bytes=settings.MAX_AVATAR_BYTES)
    person = people.built(avatar)
    strip = views.turntable(person)  # which refuses the avatar of another model
    return visitors.VISITORS.keep(person, ticket), banner(person), status(f"Loaded. {person.title}."), [], strip


def forget(ticket: str | None) -> tuple:
    """Drop the avatar."""
    visitors.VISITORS.forget(ticket)
    return None, banner(None), status("The avatar is forgotten."), [], None


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
                [str(settings.EXAMPLES / f"{name}_1.jpg") for name in settings.EXAMPLE_PEOPLE],
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


def example_person(event: gr.SelectData) -> list[str]:
    """The photos of an example person."""
    return [str(settings.EXAMPLES / f"{settings.EXAMPLE_PEOPLE[event.index]}_{number}.jpg") for number in range(1, 5)]
