"""The avatar follows the visitor's own camera, in the visitor's own browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from .. import live_page, model, style, visitors
from ..endpoints import HEAVY, OWN, listen, workspace
from ..style import explained, status


def bake(ticket: str | None) -> Iterator[tuple[str | dict, str]]:
    """The avatar as a .glb for browsers, 3D programs and capture programs: textured, rigged, with ARKit's 52 shapes."""
    person = visitors.VISITORS.person(ticket)
    yield gr.skip(), status("Baking the avatar: some seconds.")
    baked = model.baked(person.avatar)
    with workspace() as folder:
        baked.save(Path(folder) / "avatar.glb")
        yield str(Path(folder) / "avatar.glb"), status("Ready: allow the camera, or point with the mouse.")


def live_tab(ticket: gr.State, changes: list) -> None:
    """The avatar follows the visitor's own camera, in the visitor's own browser."""
    explained(style.LIVE)
    start = gr.Button("Go live", variant="primary", elem_id="go_live")
    note = gr.HTML(live_hint(None))
    shown = gr.HTML()
    glb = gr.File(label="Download the avatar (.glb)", interactive=False, visible=False)
    baked = listen(start.click, bake, ticket, [glb, note], **HEAVY)
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", **OWN}
    look = baked.success(lambda file: live_page.frame(file), glb, shown, **quick)
    look.then(lambda: gr.update(visible=True), None, glb, **quick)
    for change in changes:  # another avatar, or none: what is shown is an old one
        outputs = [shown, note, glb]
        change.success(
            lambda ticket: ("", live_hint(ticket), gr.update(value=None, visible=False)), ticket, outputs, **quick
        )


def live_hint(ticket: str | None) -> str:
    """What to do on the tab."""
    return status(style.NOT_YET if ticket is None else "Ready to go live; some seconds to bake the avatar first.")
