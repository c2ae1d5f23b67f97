"""The page: four tabs under a banner, its queue, and what it needs of `launch`."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr
from starlette.middleware import Middleware

from . import live_page, model, settings, style, uploads, visitors
from .doorkeeper import Doorkeeper
from .endpoints import HEAVY, OWN, listen
from .tabs.animate import animate_tab
from .tabs.avatar import avatar_tab
from .tabs.explore import explore_tab
from .tabs.live import live_tab

if TYPE_CHECKING:
    from fastapi import Request
    from gradio.data_classes import PredictBodyInternal

logger = logging.getLogger(__name__)

Answer = Literal["success", "error", "queue_full", "validator_error"]  # of the queue to a job


def build() -> gr.Blocks:
    """The page; the model may come later."""
    kept = (settings.LIFETIME, settings.LIFETIME)
    with gr.Blocks(title="InvertAvatar", analytics_enabled=False, delete_cache=kept) as page:
        ticket = gr.State(None, time_to_live=2 * settings.LIFETIME, delete_callback=visitors.VISITORS.forget)
        gr.Markdown(style.TITLE)
        who = gr.HTML(style.banner(None))
        with gr.Tab("Avatar"):
            changes, photos = avatar_tab(ticket, who)
        with gr.Tab("Animate") as animated:
            animate_tab(ticket, photos)
        with gr.Tab("Explore") as explored:
            explore_tab(ticket, changes)
        with gr.Tab("Live"):
            live_tab(ticket, changes)
        for tab in (animated, explored):
            listen(tab.select, prepare, ticket, None, **HEAVY, **OWN)
        gr.Markdown(style.KEPT.format(hours=2 * settings.LIFETIME // 3600))
    return page


def prepare(ticket: str | None) -> None:
    """The baked avatar of whoever opens the tab, so that sliders and previews are answered at once."""
    if ticket is not None:
        model.baked(visitors.VISITORS.person(ticket).avatar)


def queued(page: gr.Blocks, most: int) -> gr.Blocks:
    """The page with its queue: so many jobs may wait, few of them one visitor's, and nobody goes past it."""
    page.queue(max_size=most, api_open=False)
    join, preprocess = page._queue.push, page.preprocess_data

    async def push(
        body: "PredictBodyInternal", request: "Request", username: str | None
    ) -> tuple[bool, str | list[dict], Answer]:
        queues = page._queue.event_queue_per_concurrency_id.values()
        waiting = sum(event.session_hash == body.session_hash for queue in queues for event in queue.queue)
        if waiting >= settings.JOBS_OF_A_VISITOR:
            sentence = f"{waiting} of your jobs are waiting. Let one of them finish, or cancel it, before the next."
            return False, sentence, "queue_full"
        if len(page._queue) >= most:
            return False, f"{len(page._queue)} jobs are waiting, which is all that may. Try again soon.", "queue_full"
        return await join(body, request, username)

    async def preprocess_data(*arguments, **options) -> list:
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
    fonts: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return {
        "theme": gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", radius_size="md", **fonts),
        "css": style.CSS,
        "max_file_size": settings.MAX_UPLOAD,
        "allowed_paths": [str(settings.EXAMPLES)],
        "footer_links": ["api", "settings"],
        "ssr_mode": False,
        "state_session_capacity": settings.SESSIONS_PER_AVATAR * visitors.VISITORS.most,
        "app_kwargs": {"middleware": [Middleware(Doorkeeper, **door)], "routes": [live_page.route()]},
    }


def tidy() -> None:
    """Once a minute, forget the avatars that nobody used for long."""
    while True:
        time.sleep(60)
        visitors.VISITORS.tidy()
