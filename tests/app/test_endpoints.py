"""Every endpoint of the app, as `gradio_client` sees it, and what it says to bad uploads."""

import shutil
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import trimesh
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from invertavatar import Avatar, Motion
from invertavatar.app import doorkeeper, model, settings, visitors
from invertavatar.media import load_image, probe
from tests.app.conftest import EXAMPLES, ORBIT_RATE, SIZES

ENDPOINTS = {
    *("/check_photos", "/reconstruct", "/update", "/sample", "/save", "/load", "/forget"),
    *("/animate", "/cancel", "/render", "/depth", "/orbit", "/export_mesh", "/bake"),
}


def gallery(*paths) -> list[dict]:
    kinds = {".mp4": "video"}
    return [{kinds.get(Path(path).suffix, "image"): handle_file(path), "caption": None} for path in paths]


def example(name: str) -> str:
    return str(EXAMPLES / f"{name}.jpg")


def built(client, *names):
    return client.predict(photos=gallery(*map(example, names)), consent=True, api_name="/reconstruct")


def animated(client, *paths, **options):
    settings = {
        "size": SIZES[0],
        "drivers": [handle_file(path) for path in paths],
        "webcam": None,
        "sound": None,
    } | options
    return client.predict(**settings, background_picture=None, api_name="/animate")


def refused(client, endpoint, **arguments) -> str:
    with pytest.raises(AppError) as error:
        client.predict(api_name=endpoint, **arguments)
    sentence = str(error.value)
    assert "Traceback" not in sentence
    return sentence


def picture(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def test_the_public_endpoints_are_these(client):
    assert set(client.view_api(return_format="dict", print_info=False)["named_endpoints"]) == ENDPOINTS


# Avatar


def test_an_avatar_is_built_refined_saved_and_loaded(client, tmp_path):
    built(client, "anna_1")
    _, status, comparison, _ = client.predict(photos=gallery(*map(example, ("anna_1", "anna_2"))), api_name="/update")
    assert "Built from 2 photos" in status
    captions = [row["caption"] for row in comparison]
    assert [caption.split(":")[0] for caption in captions] == ["anna_1.jpg", "anna_2.jpg"]
    assert [caption.count("→") for caption in captions] == [1, 0]  # the new photo has no before
    assert all(50 < float(caption.split()[-2]) <= 100 for caption in captions)

    saved = client.predict(api_name="/save")
    with zipfile.ZipFile(saved) as archive:
        archive.extractall(tmp_path)
    assert Avatar.from_pretrained(tmp_path).num_images == 2

    client.predict(api_name="/forget")
    assert "no avatar yet" in refused(client, "/save")
    banner, *_ = client.predict(file=handle_file(saved), api_name="/load")
    assert "Built from 2 photos" in banner


def test_what_the_app_builds_is_what_the_pipeline_builds(client, tiny_pipeline, tmp_path):
    built(client, "ben_1")
    with zipfile.ZipFile(client.predict(api_name="/save")) as archive:
        archive.extractall(tmp_path)
    avatar = tiny_pipeline.reconstruct(example("ben_1"))
    avatar.save_pretrained(tmp_path / "direct")
    assert (tmp_path / "avatar.safetensors").read_bytes() == (tmp_path / "direct/avatar.safetensors").read_bytes()


def test_the_same_photo_joins_only_once(client):
    built(client, "anna_1")
    assert "in the avatar already" in refused(client, "/update", photos=gallery(example("anna_1")))


def test_nothing_is_built_without_consent(client):
    assert "agreed" in refused(client, "/reconstruct", photos=gallery(example("anna_1")), consent=False)


def test_a_seed_is_a_person(client):
    first, second, again = (client.predict(seed=seed, api_name="/sample")[3] for seed in (1, 2, 1))
    assert np.array_equal(picture(first), picture(again))
    assert not np.array_equal(picture(first), picture(second))


def test_a_short_video_lends_photos(client, files):
    result = client.predict(photos=gallery(files("two.mp4")), consent=True, api_name="/reconstruct")
    assert "Built from 2 photos" in result[1]


# Bad and unusual photos


BAD_PHOTOS = {
    "no_face.png": "No face found in no_face.png",
    "notes.jpg": "notes.jpg is not a picture",
    "empty.jpg": "empty.jpg is empty",
    "no_face.mp4": "No face found in no_face.mp4",
}


def test_each_bad_photo_is_left_out_with_a_sentence_of_its_own(client, files):
    found, said = client.predict(photos=gallery(example("anna_1"), *map(files, BAD_PHOTOS)), api_name="/check_photos")
    assert len(found) == 1
    assert "✓ anna_1.jpg" in said
    assert all(f"✗ {sentence}" in said for sentence in BAD_PHOTOS.values())


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_of_a_bad_photo_alone_nothing_is_built(client, files, name):
    assert BAD_PHOTOS[name] in refused(client, "/reconstruct", photos=gallery(files(name)), consent=True)


def test_a_heic_photo_is_a_photo(client, files):
    found, said = client.predict(photos=gallery(files("phone.heic")), api_name="/check_photos")
    assert len(found) == 1
    assert "✓ phone.heic" in said


def test_a_text_file_is_no_photo(client, files):
    assert "Invalid file type" in refused(client, "/reconstruct", photos=gallery(files("notes.txt")), consent=True)


def test_without_photos_the_sentence_says_to_drop_some(client):
    assert "Drop one or more photos" in refused(client, "/reconstruct", photos=[], consent=True)


def test_a_file_over_the_limit_is_refused_while_it_is_uploaded(client, files):
    with pytest.raises(Exception, match=r"(?i)maximum|too large|413|exceed"):
        animated(client, files("large.mp4"))


# Animate


def test_each_driver_gives_a_film_with_its_sound_and_a_motion_to_use_again(client, files):
    client.predict(seed=3, api_name="/sample")
    preview, status, results, downloads = animated(client, files("short.mp4"), files("face.csv"), example("ben_2"))
    assert picture(preview).shape == (SIZES[0], SIZES[0], 3)
    assert "Finished" in status
    assert len(results) == 3
    named = {Path(path).name: path for path in downloads}
    assert set(named) == {"short_avatar.mp4", "short_motion.safetensors", "face_avatar.mp4", "ben_2_avatar.png"}
    film = probe(named["short_avatar.mp4"])
    assert (film.num_frames, film.fps, film.size, film.has_audio) == (10, 25, (SIZES[0],) * 2, True)
    assert Motion.load(named["short_motion.safetensors"]).num_frames == 10
    again = animated(client, named["short_motion.safetensors"])[3]
    assert probe(again[0]).num_frames == 10


def test_beside_the_result_stand_photo_and_driver_and_the_mark_can_be_left_out(client, files):
    built(client, "anna_1")
    films = [
        animated(client, example("ben_2"), beside=beside, mark=mark)[3][0]
        for beside, mark in ((True, True), (False, True), (False, False))
    ]
    wide, marked, plain = map(picture, films)
    assert wide.shape[1] == 3 * plain.shape[1]
    changed = np.argwhere((marked != plain).any(-1))
    assert changed.min(0)[0] > SIZES[0] / 2  # the mark is in the lower part only


def test_a_transparent_background_gives_a_film_with_alpha(client, files):
    client.predict(seed=3, api_name="/sample")
    film = animated(client, files("face.csv"), background="transparent")[3][0]
    assert (Path(film).suffix, probe(film).pix_fmt) == (".webm", "yuva420p")


def test_of_a_4k_clip_at_60_fps_30_are_rendered_and_the_page_says_so(client, files):
    client.predict(seed=3, api_name="/sample")
    _, status, _, downloads = animated(client, files("uhd.mp4"))
    assert "60 frames a second of uhd.mp4 30 are rendered" in status
    assert probe(downloads[0]).fps == 30


def test_a_table_and_a_photo_take_a_sound_and_the_photo_lasts_as_long(client, files):
    client.predict(seed=3, api_name="/sample")
    clip = handle_file(files("short.mp4"))
    downloads = animated(client, files("face.json"), example("ben_2"), sound=clip)[3]
    table, still = (probe(path) for path in sorted(downloads, reverse=True))
    assert table.has_audio and still.has_audio
    assert table.num_frames == 10 and still.duration == pytest.approx(0.4, abs=0.05)
    with pytest.raises(AppError, match="holds no sound"):
        animated(client, files("face.csv"), sound=handle_file(files("mute.mp4")))


def test_a_neutral_frame_is_that_of_the_motion_that_comes_along(client, files):
    client.predict(seed=3, api_name="/sample")
    motion = animated(client, files("short.mp4"), neutral_frame="4")[3]
    motion = Motion.load(next(path for path in motion if path.endswith(".safetensors")))
    assert (motion.known_neutral.expression == motion.expression[4]).all()
    for frame, sentence in {"30": "no frame 30", "soon": "soon is neither"}.items():
        with pytest.raises(AppError, match=sentence):
            animated(client, files("short.mp4"), neutral_frame=frame)


def test_a_speech_drives_alone_and_what_cannot_be_meant_with_it_is_a_sentence(client, files):
    client.predict(seed=3, api_name="/sample")
    speech = handle_file(files("voice.wav"))
    turns = []
    for head_motion in (0, 1):
        made = {Path(path).name: path for path in animated(client, speech=speech, head_motion=head_motion)[3]}
        assert probe(made["voice_avatar.mp4"]).has_audio
        rotation = Motion.load(made["voice_motion.safetensors"]).rotation
        turns.append((rotation - rotation[0]).abs().max())
    assert turns[0] == 0 < turns[1]
    with pytest.raises(AppError, match="The speech moves the mouth"):
        animated(client, files("face.csv"), speech=speech, region="lip")
    with pytest.raises(AppError, match="leave the neutral frame empty"):
        animated(client, speech=speech, neutral_frame="0")
    with pytest.raises(AppError, match="holds no sound"):
        animated(client, speech=handle_file(files("mute.mp4")))


def test_the_frame_is_chosen(client):
    client.predict(seed=3, api_name="/sample")
    head, bust = (
        picture(animated(client, example("anna_2"), framing=framing, mark=False)[3][0]) for framing in ("head", "bust")
    )
    assert head.shape == bust.shape
    assert np.abs(head - bust).mean() > 1


def test_a_head_goes_back_into_the_first_photo_or_another_and_only_into_the_persons(client):
    built(client, "anna_1")
    first, mine = gallery(example("anna_1")), load_image(example("anna_1"))
    film = animated(client, example("anna_2"), into_photo=True, photos=first, mark=False)[3][0]
    assert picture(film).shape == mine.shape
    changed = np.abs(picture(film) - mine).max(-1) > 1
    assert 0.1 < changed.mean() < 0.9  # what is far from the head stays
    other = animated(client, example("anna_2"), into=handle_file(example("anna_3")))[3][0]
    assert picture(other).shape == load_image(example("anna_3")).shape
    for sent, sentence in (
        ({"photos": first, "into": handle_file(example("anna_3"))}, "not into both"),
        ({"photos": []}, "There is no first photo"),
        ({"photos": gallery(example("ben_1"))}, "ben_1.jpg, is not one that this avatar was built from"),
    ):
        with pytest.raises(AppError, match=sentence):
            animated(client, example("anna_2"), into_photo=True, **sent)


def test_a_bad_driver_is_refused_with_a_sentence_and_the_app_goes_on(client, files):
    client.predict(seed=3, api_name="/sample")
    for name, sentence in {
        "no_face.mp4": "No face found in any frame of no_face.mp4",
        "empty.mp4": "empty.mp4 is empty",
        "long.mp4": "long.mp4 lasts 7 s, and this app takes 5 s",
        "broken.csv": "broken.csv",
    }.items():
        with pytest.raises(AppError, match=sentence):
            animated(client, files(name))
    assert animated(client, example("ben_2"))[2]


def test_without_avatar_or_driver_the_sentence_says_what_to_do(client, files):
    with pytest.raises(AppError, match="no avatar yet"):
        animated(client, files("short.mp4"))
    client.predict(seed=3, api_name="/sample")
    with pytest.raises(AppError, match="Choose what drives"):
        animated(client)


def test_a_background_is_never_a_path_of_the_server(client):
    client.predict(seed=3, api_name="/sample")
    assert "is no background" in refused(client, "/render", background=example("anna_1"))
    assert "is no background" in refused(client, "/orbit", background=example("anna_1"), size=SIZES[0])


# Explore


def test_a_still_follows_pose_and_expression(client):
    client.predict(seed=3, api_name="/sample")
    still, again, turned, open_, near = (
        picture(client.predict(**options, size=SIZES[0], api_name=f"/{name}"))
        for name, options in (
            ("render", {}),
            ("render", {}),
            ("render", {"yaw": 25}),
            ("render", {"expression": {"jawOpen": 0.8}}),
            ("depth", {}),
        )
    )
    assert np.array_equal(still, again)
    assert np.abs(still - turned).mean() > 1
    assert np.abs(still - open_).max() > 10
    assert (near[0, 0] == near[0, 0, 0]).all()
    assert near[SIZES[0] // 2, SIZES[0] // 2, 0] > near[0, 0, 0]


def test_the_body_turns_with_the_head_only_when_asked_to(client):
    built(client, "anna_1")
    frontal, whole_frontal, head, whole = (
        picture(client.predict(yaw=yaw, turn_body=turn_body, size=SIZES[0], api_name="/render"))
        for yaw, turn_body in ((0, False), (0, True), (25, False), (25, True))
    )
    assert np.array_equal(frontal, whole_frontal)
    assert np.abs(head - whole).max() > 10


def test_an_unknown_expression_is_a_sentence(client):
    client.predict(seed=3, api_name="/sample")
    assert "no expression axis grin" in refused(client, "/render", expression={"grin": 1})


def test_the_orbit_is_a_film(client):
    client.predict(seed=3, api_name="/sample")
    film, status = client.predict(expression={"jawOpen": 0.3}, size=SIZES[0], api_name="/orbit")
    assert "Finished" in status
    assert probe(film["video"] if isinstance(film, dict) else film).num_frames == 3.5 * ORBIT_RATE + 1


def test_the_mesh_is_there_to_look_at_and_to_download(client):
    client.predict(seed=3, api_name="/sample")
    shown, downloads, status = client.predict(kind="obj", api_name="/export_mesh")
    assert len(trimesh.load(shown, force="mesh").faces) == int(status.split(" triangles")[0].split(">")[-1])
    assert {Path(path).name for path in downloads} == {"head.obj", "head.mtl", "head.png"}


# Visitors


def test_two_visitors_never_see_each_others_avatar(client, server):
    other = Client(str(server), verbose=False)
    built(client, "anna_1")
    assert "no avatar yet" in refused(other, "/render")
    built(other, "ben_1")
    one, two = (picture(visitor.predict(size=SIZES[0], api_name="/render")) for visitor in (client, other))
    assert np.abs(one - two).mean() > 5
    again = picture(client.predict(size=SIZES[0], api_name="/render"))
    assert np.array_equal(one, again)


def test_what_nobody_foresaw_is_one_general_sentence_and_the_app_goes_on(client, monkeypatch, caplog):
    client.predict(seed=3, api_name="/sample")
    with monkeypatch.context() as patch:
        patch.setattr(model, "pictures", lambda *_, **__: 1 / 0)
        sentence = refused(client, "/render")
    assert "Something went wrong on the server" in sentence
    assert "division" not in sentence
    assert "ZeroDivisionError" in caplog.text  # the log has it
    assert client.predict(size=SIZES[0], api_name="/render")


@pytest.mark.parametrize(
    ("content", "sentence"), [("text", "or a damaged one"), ("other_files", "no avatar"), ("damaged", "is damaged")]
)
def test_only_an_avatar_is_loaded_as_one(client, files, tmp_path, content, sentence):
    file = tmp_path / "avatar.zip"
    if content == "text":
        file = files("notes.zip")
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("../evil", "x")
            if content == "damaged":
                archive.writestr("avatar.json", "{}")
                archive.writestr("avatar.safetensors", "x")
    assert sentence in refused(client, "/load", file=handle_file(str(file)))


def gone(scratch: Path) -> bool:
    """Whether the folders of all jobs disappear within some seconds."""
    deadline = time.time() + 5
    while (left := list(scratch.glob("invertavatar_*"))) and time.time() < deadline:
        time.sleep(0.05)
    return not left


def test_a_job_that_was_done_leaves_no_file_in_the_servers_temporary_folder(client, server, files):
    client.predict(seed=3, api_name="/sample")
    animated(client, files("face.csv"))
    client.predict(api_name="/save")
    assert gone(server.scratch)


def test_photos_are_read_as_they_are(files):
    assert np.abs(load_image(files("phone.heic")).astype(float) - load_image(example("anna_1"))).mean() < 4


# Over HTTP, past what the page would send


def test_whatever_a_client_sends_is_answered_in_a_sentence(client):
    for endpoint, sent in (
        ("/render", {"yaw": "abc"}),
        ("/render", {"zoom": 1e300}),
        ("/render", {"background": []}),
        ("/depth", {"size": 4096}),
        ("/orbit", {"expression": [1]}),
        ("/sample", {"seed": 10**25}),
        ("/sample", {"variety": []}),
        ("/export_mesh", {"kind": "exe"}),
        ("/load", {"file": {"path": 5}}),
        ("/check_photos", {"photos": 5}),
        ("/check_photos", {"photos": [{"image": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}}]}),
    ):
        sentence = refused(client, endpoint, **sent)
        assert "verbose error reporting" not in sentence, (endpoint, sent)  # what is said of errors nobody worded
        assert "Something went wrong" not in sentence, (endpoint, sent)
        assert len(sentence) < 600, (endpoint, sent)


def test_a_visitor_whose_avatar_had_to_make_room_is_told_so(client, server, monkeypatch):
    monkeypatch.setattr(visitors.VISITORS, "most", 1)
    client.predict(seed=1, api_name="/sample")
    Client(str(server), verbose=False).predict(seed=2, api_name="/sample")
    assert len(visitors.VISITORS) == 1
    assert "no longer kept here" in refused(client, "/render")


def test_a_zipped_avatar_folder_is_loaded(client, tiny_avatar, tmp_path):
    tiny_avatar.save_pretrained(tmp_path / "anna")
    zipped = shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path, "anna")  # as file managers do
    banner, *_ = client.predict(file=handle_file(zipped), api_name="/load")
    assert "Built from 2 photos" in banner


def test_a_visitor_may_not_crowd_the_queue_and_nobody_goes_past_it(client, server, monkeypatch):
    number = client.config["dependencies"][-1]["id"]
    body = {"data": [], "fn_index": number, "session_hash": "one"}
    monkeypatch.setattr(settings, "JOBS_OF_A_VISITOR", 0)
    answer = httpx.post(f"{server}gradio_api/queue/join", json=body, timeout=60)
    assert (answer.status_code, answer.json()["detail"].split(".")[0]) == (503, "0 of your jobs are waiting")
    with pytest.raises(Exception, match="Queue is full"):  # how gradio_client says it
        client.predict(seed=1, api_name="/sample")
    assert httpx.post(f"{server}gradio_api/run/sample", json={"data": [1, 1.0]}, timeout=60).status_code >= 400


def test_a_request_of_megabytes_that_uploads_nothing_is_refused(server):
    address = f"{server}gradio_api/queue/join"
    answer = httpx.post(address, json={"data": ["x" * doorkeeper.BODY_BYTES]}, timeout=60)
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "This request is larger than 1 MB. Send less at a time.",
    )
    unsaid = httpx.post(address, content=iter([b'{"data": ["', b"x" * 2_000_000, b'"]}']), timeout=60)
    assert unsaid.status_code >= 400
