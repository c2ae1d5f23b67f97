"""How the page looks: its lasting sentences, its CSS, and the pieces of HTML that handlers fill in."""

import html
from typing import Any

import gradio as gr

from . import people
from .people import Person

TITLE = (
    "# InvertAvatar\nPhotos of a person become a 3D head that moves like a video, a photo, a voice, a recording or the "
    "sliders."
)
NOT_YET = "No avatar yet: build one on the Avatar tab, from photos or from an example person."
CONSENT = "The person in the photos agreed to this, and I will say of what I show that it is synthetic."
AGREES = (
    "*Agrees*: 100 % less the mean colour difference from the photo, inside the person's outline at 256 pixels. It "
    "does not say whether it is the same person."
)
KEPT = (
    "What you upload and make here is deleted within {hours} hours; nothing is sent elsewhere. An avatar file is "
    "biometric data: keep it as you would keep the photos."
)
LIVE = (
    "The avatar as a light 3D model that follows your webcam, a recording, sliders or the mouse. Your own browser does "
    "the work: the camera's pictures stay in it."
)
SHOWN: dict[str, Any] = {
    "interactive": False,
    "buttons": ["download", "fullscreen"],
}  # of a picture
CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.banner { display: flex; align-items: center; gap: 8px; flex-wrap: wrap; padding: 8px 12px; min-height: 56px;
  border: 1px solid var(--border-color-primary); border-radius: 10px; background: var(--background-fill-primary); }
.banner img { width: 40px; height: 40px; border-radius: 8px; margin: 0; }
.status { color: var(--body-text-color-subdued); min-height: 1.5em; }
.status progress { display: block; width: 100%; height: 6px; margin-top: 6px; border: 0; border-radius: 3px;
  appearance: none; overflow: hidden; background: var(--border-color-primary); }
.status progress::-webkit-progress-bar { background: var(--border-color-primary); }
.status progress::-webkit-progress-value { background: var(--color-accent); }
.status progress::-moz-progress-bar { background: var(--color-accent); }
.found { font-size: var(--text-sm); color: var(--body-text-color); margin-top: 2px; overflow-wrap: anywhere; }
.quiet:has(.empty) { display: none !important; }  /* a result that is not there yet takes no room */
.quiet:has(.empty) + .explanation { display: none !important; }
.explanation, .explanation * { font-size: var(--text-sm) !important; color: var(--body-text-color-subdued) !important; }
/* a label hides nobody's hair */
.quiet .grid-wrap, #photos .grid-wrap, #turntable { padding-top: 36px !important; }
.offstage { position: absolute !important; width: 1px; height: 1px; overflow: hidden; opacity: 0; }
.snug .grid-wrap { min-height: 0 !important; max-height: none !important; }
#comparison .thumbnail-item { aspect-ratio: 2; }
.snug .grid-container, #photos .grid-container {
  grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)) !important; }
.live { width: 100%; height: min(86vh, 860px); border: 0; border-radius: 18px; }
@media (max-width: 760px) { .live { height: 1100px; } }
@media (max-width: 640px) {
  #comparison .grid-container { grid-template-columns: 1fr !important; }
  #found .grid-container { grid-template-columns: 1fr 1fr !important; }
  #still { height: auto !important; aspect-ratio: 1; } }
"""


def status(text: str, fraction: float | None = None) -> str:
    """A line of text, with a bar under it for the share that is done."""
    bar = "" if fraction is None else f'<progress value="{fraction:.3f}" max="1"></progress>'
    return f'<div class="status" role="status">{html.escape(text)}{bar}</div>'


def listed(sentences: list[str], sign: str) -> str:
    """A list of sentences."""
    return "".join(f'<div class="found">{sign} {html.escape(sentence)}</div>' for sentence in sentences)


def banner(person: Person | None) -> str:
    """What stands above the tabs: whose avatar is in use."""
    if person is None:
        return f'<div class="banner">{NOT_YET}</div>'
    faces = "".join(f'<img alt="" src="data:image/jpeg;base64,{face}">' for face in people.thumbnails(person))
    return f'<div class="banner">{faces}<span>{html.escape(person.title)}</span></div>'


def explained(text: str) -> gr.Markdown:
    """Small print above the fields that it explains."""
    return gr.Markdown(text, elem_classes="explanation")
