"""Avatar and sliders -> pictures, an orbit, a mesh.

Shapes: S side of a picture.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ...flattened import flattened
from ...tracking import sliders
from .. import arguments, films, model, settings, views, visitors
from ..endpoints import HEAVY, OWN, STILL, listen, workspace
from ..progress import Job
from ..style import SHOWN, status

MESH_KINDS = ("glb", "obj", "ply")


@dataclass(frozen=True)
class Angles:
    """From where a person is looked at, in degrees, and how near."""

    yaw: object = 0
    pitch: object = 0
    roll: object = 0
    zoom: object = 1


@flattened
def render(
    ticket: str | None,
    angles: Angles,
    background: object = "gray",
    expression: object = None,
    size: object = settings.STILL_SIZE,
    turn_body: object = False,
) -> np.ndarray:  # [S, S, 3 or 4] uint8
    """A still from any side, with any expression ({ARKit name: 0..1}); the head turns on its neck, or all of it."""
    behind = views.checked_background(background)
    return pictured(ticket, angles, expression, size, turn_body, background=behind)[0][0]


@flattened
def depth(
    ticket: str | None,
    angles: Angles,
    expression: object = None,
    size: object = settings.STILL_SIZE,
    turn_body: object = False,
) -> np.ndarray:  # [S, S, 3] uint8
    """How near each point is, as a grey picture: near is bright, black is nothing."""
    return views.depth_picture(pictured(ticket, angles, expression, size, turn_body)[1][0])


def pictured(
    ticket: str | None, angles: Angles, expression: object, size: object, turn_body: object, **options
) -> tuple[np.ndarray, np.ndarray]:
    """Both of the above: picture uint8 [1, S, S, 3 or 4] and depth [1, S, S], one of each."""
    options |= arguments.camera(angles.yaw, angles.pitch, angles.roll, angles.zoom)
    options |= {"expression": arguments.expression(expression), "height": arguments.size(size, settings.STILL_SIZE)}
    options |= {"turn_body": arguments.switch("turn_body", turn_body)}
    return model.pictures(visitors.VISITORS.person(ticket).avatar, **options)


def orbit(
    ticket: str | None,
    expression: object = None,
    background: object = "gray",
    size: object = settings.LIVE_SIZE,
    mark: object = True,
) -> Iterator[tuple[str | dict, str]]:
    """A video that looks at the avatar from both sides, from below and from above."""
    person, scores = visitors.VISITORS.person(ticket), arguments.expression(expression)
    behind, side = views.checked_background(background), arguments.size(size, settings.LIVE_SIZE)
    mark = arguments.switch("the mark", mark, default=True)
    with workspace() as folder:
        job = Job(films.orbit(person, Path(folder), scores, behind, side, mark))
        for report in job:
            yield gr.skip(), status(report.text, report.fraction)
        yield str(job.result), status("Finished.")


def export_mesh(ticket: str | None, expression: object = None, kind: object = "glb") -> Iterator[tuple]:
    """The head as a textured mesh: a .glb to look at, and the file that was asked for (an .obj has three).

    A .glb can be animated: 52 morph targets named as ARKit's, neck, jaw and eye joints.
    """
    person, scores = visitors.VISITORS.person(ticket), arguments.expression(expression)
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


def slide(
    ticket: str | None,
    settled: list[float] | None,
    show: object,
    background: object,
    together: object,
    turn_body: object,
    *values: float,
) -> tuple[np.ndarray | dict, dict]:
    """The live still while a slider moves: of the baked avatar, or small where that is faster than a full one."""
    if ticket is None or list(values) == settled:  # a last movement may be answered after the slider was let go
        return gr.skip(), gr.skip()
    head = model.baked_already(visitors.VISITORS.person(ticket).avatar)
    if show == "Picture" and head is not None:
        scores = sliders.expression_of(values[4:], bool(together))
        options: dict[str, Any] = arguments.camera(*values[:4]) | {
            "turn_body": arguments.switch("turn_body", turn_body)
        }
        behind = views.checked_background(background)
        return head.still(
            expression=arguments.expression(scores), background=behind, size=settings.STILL_SIZE, **options
        ), scores
    return still(ticket, show, background, together, turn_body, values, settings.LIVE_SIZE)


def settle(
    ticket: str | None, show: object, background: object, together: object, turn_body: object, *values: float
) -> tuple[np.ndarray | None, dict, list[float] | None]:
    """The still in full size once a slider rests; and what it shows, for the other handlers."""
    if ticket is None:
        return None, {}, None
    return *still(ticket, show, background, together, turn_body, values, settings.STILL_SIZE), list(values)


def still(
    ticket: str | None,
    show: object,
    background: object,
    together: object,
    turn_body: object,
    values: Sequence[float],
    size: int,
) -> tuple[np.ndarray, dict[str, float]]:
    """Both of the above: picture and expression."""
    camera, expression = values[:4], sliders.expression_of(values[4:], bool(together))
    if show == "Depth":
        return depth(ticket, *camera, expression, size, turn_body), expression
    return render(ticket, *camera, background, expression, size, turn_body), expression


def explore_tab(ticket: gr.State, changes: list) -> None:
    """Sliders in, pictures out."""
    settled = gr.State(None, time_to_live=settings.LIFETIME)
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
                    sizes = list(settings.FILM_SIZES[:2])
                    orbit_size = gr.Radio(sizes, value=settings.LIVE_SIZE, label="Pixels", min_width=120)
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
    live: dict[str, Any] = {"trigger_mode": "always_last", **STILL, **OWN}
    listen([s.input for s in camera + faces], slide, [ticket, settled, *seen], [picture, expression], **live)
    settling: dict[str, Any] = {"inputs": [ticket, *seen], "outputs": [picture, expression, settled], **live}
    listen(
        [s.release for s in camera + faces] + [c.input for c in (show, background, together, turn_body)],
        settle,
        **settling,
    )
    for change in changes:
        listen(change.success, settle, **settling)
    listen(together.input, sides, together, faces, queue=False, **OWN)
    for button, name in zip(presets, sliders.PRESETS, strict=True):
        chosen = button.click(functools.partial(preset, name), None, [together, *faces], api_name="preset", **OWN)
        looked = listen(chosen.then, settle, **settling)
        listen(looked.then, sides, together, faces, queue=False, **OWN)

    size, endpoint = gr.Number(settings.STILL_SIZE, visible=False), gr.Button(visible=False)
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


def preset(name: str) -> list[bool | float]:
    """The sliders of an expression; each side by itself."""
    return [False, *(sliders.PRESETS[name].get(slider, 0.0) for slider in sliders.SLIDERS)]


def sides(together: object) -> list[dict]:
    """One slider for both sides of the face, or one for each."""
    both = bool(together)
    return [
        gr.update(label=sliders.label(name, both), visible=not sliders.hidden(name, both)) for name in sliders.SLIDERS
    ]
