"""How handlers become endpoints of the page and of `gradio_client`: their queue, their errors as sentences."""

import functools
import inspect
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from ..errors import InvertAvatarError
from . import model

logger = logging.getLogger(__name__)

HEAVY: dict[str, Any] = {"concurrency_id": "gpu", "concurrency_limit": 1, "show_progress": "hidden"}
STILL: dict[str, Any] = {
    "concurrency_id": "still",
    "concurrency_limit": 1,
    "show_progress": "hidden",
}  # waits for no film
OWN: dict[str, Any] = {"api_visibility": "private"}  # of the page alone: what it does is public under another name


def listen(
    event: Callable[..., Dependency] | list[Callable[..., Dependency]],
    handler: Callable,
    inputs: Block | Sequence[Block] | None,
    outputs: Block | Sequence[Block] | None,
    **options,
) -> Dependency:
    """Attach a handler as an endpoint of its name, with its errors as sentences."""
    options = {"api_name": handler.__name__, "inputs": inputs, "outputs": outputs} | options
    attach = functools.partial(gr.on, event) if isinstance(event, list) else event
    return attach(fn=in_sentences(handler), **options)


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
    def plain(*arguments) -> object:
        try:
            return handler(*arguments)
        except Exception as error:
            raise explain(error) from error

    @functools.wraps(handler)
    def streaming(*arguments) -> Iterator:
        try:
            yield from handler(*arguments)
        except Exception as error:
            raise explain(error) from error
        finally:
            model.hand_back_memory()

    return streaming if inspect.isgeneratorfunction(inspect.unwrap(handler)) else plain


def workspace() -> tempfile.TemporaryDirectory:
    """A folder for one job; Gradio takes a copy of what a handler yields, which expires by itself."""
    return tempfile.TemporaryDirectory(prefix="invertavatar_")
