"""Whatever is sent to an endpoint in the place of any parameter, the answer is a result or one sentence."""

import inspect
import math

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from invertavatar.app import films, model, people, settings, uploads, views, visitors
from invertavatar.app.endpoints import in_sentences
from invertavatar.app.tabs import animate, avatar, explore
from invertavatar.app.visitors import Visitors
from invertavatar.errors import InvertAvatarError
from tests.app.conftest import EXAMPLES

NAN, INF = math.nan, math.inf
PHOTO = str(EXAMPLES / "anna_1.jpg")
deep = []
for _ in range(5000):
    deep = [deep]

ANYTHING = [
    "",
    "abc",
    "x" * 1_000_000,
    "5",
    "../no/such/file",
    "\0",
    [],
    [1] * 100_000,
    [None],
    deep,
    {},
    {"a": 1},
]
NUMBERS = [NAN, INF, -INF, 1e300, -1e300, 10**30, -(10**30), 10**5000, 2**64, -1, 0.5, True, False, 1j]
HOSTILE = [*ANYTHING, *NUMBERS, None, b"bytes", object()]

# What each parameter takes of the hostile: all else has to be refused.
TAKEN = {
    "yaw": [-1, 0.5, None],
    "pitch": [-1, 0.5, None],
    "roll": [-1, 0.5, None],
    "zoom": [0.5, None],
    "size": [None],
    "seed": [None],
    "variety": [0.5, None],
    "face_index": [None],
    "strength": [0.5, None],
    "smoothing": [0.5, None],
    "turn_body": [True, False, None],
    "relative_motion": [True, False, None],
    "beside": [True, False, None],
    "mark": [True, False, None],
    "consent": [True],
    "background": [None],
    "background_picture": [None, []],
    "region": [None],
    "kind": [None],
    "expression": [None, {}],
    "webcam": [None, []],
    "neutral_frame": ["", "5", 0.5, None],
    "sound": [None, []],
    "speech": [None, []],
    "head_motion": [0.5, None],
    "framing": [None],
    "into_photo": [False, None],  # the visitor has no photo in the avatar
    "into": [None, []],
    "drivers": [],
    "photos": [],
    "file": [],
}
GOOD = {"photos": [(PHOTO, None)], "consent": True, "drivers": [PHOTO], "file": None, "expression": {"jawOpen": 0.3}}
ENDPOINTS = {
    "check_photos": ("photos", "face_index"),
    "reconstruct": ("photos", "consent", "face_index"),
    "update": ("photos", "face_index"),
    "sample": ("seed", "variety"),
    "load": ("file",),
    "animate": (
        *("drivers", "webcam", "region", "relative_motion", "strength", "smoothing", "background"),
        *("background_picture", "size", "beside", "mark", "neutral_frame", "sound", "speech", "head_motion"),
        *("framing", "into_photo", "into"),
    ),
    "render": ("yaw", "pitch", "roll", "zoom", "background", "expression", "size", "turn_body"),
    "depth": ("yaw", "pitch", "roll", "zoom", "expression", "size", "turn_body"),
    "orbit": ("expression", "background", "size", "mark"),
    "export_mesh": ("expression", "kind"),
}


class Reached(InvertAvatarError):
    """Raised by a stand-in for what costs: the arguments were taken."""


def reached(*arguments, **options):
    """A stand-in that looks at what it is given as the model would."""
    assert 64 <= options.get("height", 64) <= 1024
    for name in ("yaw", "pitch", "roll", "zoom"):
        assert isinstance(options.get(name, 0.0), float)
    assert all(isinstance(score, float) for score in options.get("expression", {}).values())
    raise Reached("reached")


@pytest.fixture
def ticket(tiny_pipeline, tiny_avatar, monkeypatch):
    """Of a visitor with an avatar; nothing that takes time is done for them."""
    monkeypatch.setattr(model, "load", lambda: model.Model(tiny_pipeline, tiny_pipeline.recorder))
    for name in ("pictures", "baked", "sample", "fuse"):
        monkeypatch.setattr(model, name, reached)
    monkeypatch.setattr(films, "animate", lambda *_: iter(reached() or ()))
    monkeypatch.setattr(films, "orbit", lambda *_: iter(reached() or ()))
    monkeypatch.setattr(people, "prepare_portrait", reached)
    monkeypatch.setattr(visitors, "VISITORS", Visitors(4, 10**9, 3600))
    return visitors.VISITORS.keep(people.built(tiny_avatar))


def answer(name: str, ticket: str, **arguments) -> str:
    """What an endpoint says: a sentence, or "" for a result."""
    handler = next(getattr(tab, name) for tab in (avatar, animate, explore) if hasattr(tab, name))
    known = inspect.signature(handler).parameters
    given = {parameter: value for parameter, value in GOOD.items() if parameter in known} | arguments
    if "ticket" in known:
        given = {"ticket": ticket} | given
    bound = inspect.signature(handler).bind(**given)
    bound.apply_defaults()
    try:
        result = in_sentences(handler)(*bound.args)
        if inspect.isgenerator(result):
            result = list(result)
    except gr.Error as error:
        return error.message
    return str(result) if name == "check_photos" and "✗" in str(result) else ""


@pytest.mark.parametrize(("name", "parameter"), [(name, p) for name, ps in ENDPOINTS.items() for p in ps])
def test_hostile_values_of_a_parameter_end_in_a_sentence(name, parameter, ticket):
    for value in HOSTILE:
        sentence = answer(name, ticket, **{parameter: value})
        taken = any(value is other or (type(value) is type(other) and value == other) for other in TAKEN[parameter])
        assert "Something went wrong" not in sentence, (value, sentence)
        assert len(sentence) < 500 and "\n" not in sentence.strip()
        if not taken and not (name == "check_photos" and not value):
            assert sentence not in ("", "reached"), value
            assert sentence.endswith("."), sentence


@pytest.mark.parametrize("name", ENDPOINTS)
def test_good_values_reach_the_model(name, ticket):
    files = {"load": {"file": PHOTO}}.get(name, {})
    assert answer(name, ticket, **files) != "" or name == "load"
    if name not in ("check_photos", "load", "reconstruct", "update"):
        assert answer(name, ticket) == "reached"


@pytest.mark.parametrize(
    "expression",
    [
        {"grin": 1},
        {"jawOpen": "wide"},
        {"jawOpen": NAN},
        {"jawOpen": None, "grin" * 10_000: 1},
        {"jawOpen": 1e30},
        {"jawOpen": [1]},
        {"jawOpen": True},
        {5: 5},
        {f"x{k}": 1 for k in range(100_000)},
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_expression_of_unknown_axes_or_scores_is_a_sentence(expression, ticket):
    for name in ("render", "depth", "orbit", "export_mesh"):
        sentence = answer(name, ticket, expression=expression)
        assert sentence not in ("", "reached") and "Something went wrong" not in sentence
        assert len(sentence) < 300


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *(("size", 4096), ("size", 1025), ("size", 63), ("size", 0), ("yaw", 181), ("pitch", -91), ("roll", 1e6)),
        *(("zoom", 0), ("zoom", 1e9), ("background", "#12345"), ("background", "purple"), ("background", PHOTO)),
    ],
)
def test_what_is_out_of_range_is_refused_before_it_is_rendered(parameter, value, ticket):
    assert answer("render", ticket, **{parameter: value}) not in ("", "reached")


@pytest.mark.parametrize("region", ["mouth", "ALL", "exp ", ["exp"], 0])
def test_an_unknown_region_is_a_sentence_that_names_those_there_are(region, ticket):
    assert "is one of all, exp, pose, lip, eyes" in answer("animate", ticket, region=region)


@pytest.mark.parametrize("seed", [-1, 2**64, 10**40, 0.5, NAN, "7"])
def test_a_seed_that_is_none_is_a_sentence_of_the_pipeline_too(seed, ticket, tiny_pipeline):
    assert "The seed is a whole number from 0 to 18446744073709551615" in answer("sample", ticket, seed=seed)
    with pytest.raises(InvertAvatarError, match="A seed is a whole number"):
        tiny_pipeline.sample(seed)
    assert tiny_pipeline.sample(2**64 - 1).num_images == 0


def test_too_many_files_are_refused_and_named(ticket):
    assert "These are 9 drivers, and this app takes 8" in answer("animate", ticket, drivers=[PHOTO] * 9)
    assert "These are 101 photos, and this app takes 100" in answer("update", ticket, photos=[(PHOTO, None)] * 101)


def test_a_picture_that_unpacks_to_gigabytes_is_refused_unread(ticket, tmp_path, monkeypatch):
    bomb = tmp_path / "bomb.png"
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(bomb)
    assert bomb.stat().st_size < 200_000
    monkeypatch.setattr(people, "load_images", lambda *_: pytest.fail("it was read"))
    monkeypatch.setattr(views, "load_image", lambda *_: pytest.fail("it was read"))
    sentence = "bomb.png has 81 megapixels, and this app takes 64"
    assert sentence in answer("update", ticket, photos=[(str(bomb), None)])
    assert sentence in answer("animate", ticket, drivers=[str(bomb)])
    assert sentence in answer("animate", ticket, background_picture=str(bomb))


def test_a_long_video_is_no_photo_and_a_large_table_no_driver(ticket, tmp_path, files, monkeypatch):
    monkeypatch.setattr(settings, "MAX_SECONDS", 5.0)
    for name, given in (
        ("update", {"photos": [(files("long.mp4"), None)]}),
        ("animate", {"drivers": [files("long.mp4")]}),
    ):
        assert "long.mp4 lasts 7 s, and this app takes 5 s" in answer(name, ticket, **given)
    table = tmp_path / "huge.csv"
    table.write_bytes(bytes(uploads.TABLE_BYTES + 1))
    assert "huge.csv has 20 MB, and this app takes motions of 20 MB" in answer("animate", ticket, drivers=[str(table)])
