"""The command line: help at once, one sentence for bad input, and what it writes."""

import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from invertavatar.scripts import cli, console

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "assets/examples"
PHOTO, SECOND_PHOTO, VIDEO = (str(EXAMPLES / name) for name in ("anna_1.jpg", "anna_2.jpg", "talk_a.mp4"))
LONG = "x" * 260


@pytest.fixture
def invertavatar(capfd, monkeypatch):
    """Calls the program and returns its exit status, stdout and stderr."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def call(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            console.run(cli.app, [str(argument) for argument in arguments])
        printed = capfd.readouterr()
        return exit_.value.code, printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def quick(tiny_pipeline, tmp_path_factory):
    """Options that make little work: a tiny model, small frames and few."""
    model = tmp_path_factory.mktemp("tiny")
    tiny_pipeline.save_pretrained(model)
    return ("--model", str(model), "--size", "128", "--max-frames", "4", "--device", "cpu")


@pytest.fixture
def not_a_video(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("this is text")
    return path


def test_help_imports_neither_torch_nor_the_library():
    program = "import sys; from invertavatar.scripts import cli\ntry: cli.main()\nfinally: print(*sys.modules)"
    command = [sys.executable, "-c", program, "animate", "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    modules = printed.splitlines()[-1].split()
    assert "typer" in modules
    assert {"torch", "numpy", "cv2", "diffusers", "mediapipe"}.isdisjoint(modules)
    library = {name for name in modules if re.match(r"invertavatar\.(?!scripts\b)", name)}
    assert library == {"invertavatar.endings", "invertavatar.flattened"}  # which import nothing large


@pytest.mark.parametrize("name", ["animate.py", "track.py"])
def test_each_program_starts_from_a_plain_clone_in_any_folder(name, tmp_path):
    # -S leaves the editable install out; the packages it needs come by the path.
    command = [sys.executable, "-S", ROOT / "scripts" / name, "--help"]
    environment = {"PYTHONPATH": sysconfig.get_path("purelib")}
    started = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    assert "--output" in started.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["animate", "--help"], ["track", "-h"]])
def test_help_is_a_success(invertavatar, arguments):
    status, out, err = invertavatar(*arguments)
    assert (status, err) == (0, "")
    assert "Usage" in out


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["animate", "--bogus"], "--bogus"),
        (["animate", PHOTO, "-d", VIDEO], "--output FILE is missing"),
        (["animate", PHOTO, "-o", "out.mp4"], "--driving FILE or --speech FILE is missing"),
        (["animate", "-d", VIDEO, "-o", "out.mp4"], "either photos of a person or --avatar"),
        (["animate", PHOTO, "--avatar", "me", "-d", VIDEO, "-o", "out.mp4"], "either photos of a person or --avatar"),
        (["animate", "none.jpg", "-d", VIDEO, "-o", "out.mp4"], "none.jpg does not exist"),
        (["animate", PHOTO, "-d", "none.mp4", "-o", "out.mp4"], "none.mp4 does not exist"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.xyz"], "end its name in .mp4"),
        (["animate", PHOTO, "-d", VIDEO, "-o", f"{LONG}.mp4"], "264 bytes long, and a file may have 255"),
        (["animate", PHOTO, "-d", VIDEO, "-o", f"{LONG}/out.mp4"], "260 bytes long"),
        (["animate", f"{LONG}.jpg", "-d", VIDEO, "-o", "out.mp4"], "264 bytes long"),
        (["animate", PHOTO, "-d", f"{LONG}.mp4", "-o", "out.mp4"], "264 bytes long"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--save-avatar", LONG], "260 bytes long"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--background", LONG], "is no picture file"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.png"], "out_%05d.png"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--background", "#12"], "The background #12"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--background", "transparent"], "name a .webm"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--size", "8"], "--size"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--region", "nose"], "--region"),
        (["animate", PHOTO, "-d", VIDEO, "-o", f"{PHOTO}/out.mp4"], "cannot be written"),
        (["track", "none.mp4", "-o", "out.safetensors"], "none.mp4 does not exist"),
        (["track", VIDEO, "-o", "out.json"], "end its name in .safetensors or .csv"),
        (["track", VIDEO, "--neutral-frame", "soon"], "soon is neither"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--save-motion", "out.txt"], "end its name in .safetensors"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--neutral-frame", "-1"], "-1 is neither"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--audio", "none.wav"], "none.wav does not exist"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--audio", PHOTO], "anna_1.jpg holds no sound"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--audio", VIDEO, "--no-audio"], "give one of them"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.gif", "--audio", VIDEO], "out.gif cannot hold the sound"),
        (["animate", PHOTO, "--speech", PHOTO, "-o", "out.mp4"], "anna_1.jpg holds no sound"),
        (["animate", PHOTO, "--speech", VIDEO, "-o", "out.mp4", "--language", "de"], 'English, not "de"'),
        (["animate", PHOTO, "--speech", VIDEO, "-o", "out.mp4", "--neutral-frame", "3"], "leave --neutral-frame out"),
        (
            ["animate", PHOTO, "--speech", VIDEO, "-d", VIDEO, "-o", "out.mp4", "--region", "lip"],
            "--speech moves the lips",
        ),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--framing", "torso"], "--framing"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--into", "none.jpg"], "none.jpg does not exist"),
        (["animate", PHOTO, "-d", VIDEO, "-o", "out.mp4", "--into", "photo", "--follow"], "leave one"),
        (["animate", "--avatar", "a", "-d", VIDEO, "-o", "out.mp4", "--into", "photo"], "first of the photos"),
        (["track", VIDEO, "--landmarks-video", "out.png"], "a picture for photos, a video for videos"),
        (["track", PHOTO, "--landmarks-video", "out.mp4"], "a picture for photos, a video for videos"),
        (["track", "talk.csv", "--landmarks-video", "out.mp4"], "no pictures to draw landmarks on"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(invertavatar, arguments, phrase):
    status, out, err = invertavatar(*arguments)
    assert (status, out) == (2, "")
    assert phrase in err
    assert err.count("\n") == 1
    assert err.startswith("invertavatar: ")


def test_an_input_is_never_replaced(invertavatar, tmp_path):
    video = tmp_path / "talk.mp4"
    video.write_bytes(Path(VIDEO).read_bytes())
    status, _, err = invertavatar("animate", PHOTO, "-d", video, "-o", tmp_path / "." / "talk.mp4")
    assert status == 2
    assert "is an input and is not replaced" in err
    assert video.read_bytes() == Path(VIDEO).read_bytes()


def test_a_photo_is_not_replaced_by_a_frame_of_a_sequence(invertavatar, tmp_path):
    photo = tmp_path / "out_00000.png"
    photo.write_bytes(b"photo")
    status, _, err = invertavatar("animate", photo, "-d", VIDEO, "-o", tmp_path / "out_%05d.png")
    assert status == 2
    assert "is an input and is not replaced" in err


@pytest.mark.parametrize(("output", "existing"), [("a.mp4", "a.mp4"), ("a_%05d.png", "a_00003.png"), ("a", "a")])
def test_no_overwrite_keeps_what_exists(invertavatar, tmp_path, output, existing):
    (tmp_path / existing).write_text("kept")
    status, _, err = invertavatar("animate", PHOTO, "-d", VIDEO, "-o", tmp_path / output, "-n")
    assert status == 2
    assert "exists" in err
    assert (tmp_path / existing).read_text() == "kept"


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("out.mp4", ["out_1.mp4", "out_2.mp4"]),
        ("a/out", ["a/out_1", "a/out_2"]),
        ("out_%05d.png", ["out_1_%05d.png", "out_2_%05d.png"]),
    ],
)
def test_several_outputs_are_numbered_and_a_single_one_is_not(output, names):
    assert console.numbered(Path(output), 2) == [Path(name) for name in names]
    assert console.numbered(Path(output), 1) == [Path(output)]


def test_a_polite_kill_closes_what_is_open(tmp_path):
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from invertavatar.scripts import console\n"
        "app = console.new_app()\n"
        "@app.command()\n"
        "def work():\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "    finally: Path('closed').touch()\n"
        "console.run(app, [])\n"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    stopped = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, timeout=60)
    assert stopped.returncode == console.TERMINATED
    assert (tmp_path / "closed").exists()


def test_a_device_that_is_not_there_is_a_sentence(invertavatar, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    status, _, err = invertavatar("animate", PHOTO, "-d", VIDEO, "-o", tmp_path / "out.mp4", "--device", "cuda")
    assert status == 2
    assert "no cuda device" in err


def test_a_model_that_is_not_there_is_a_sentence(invertavatar, tmp_path):
    status, _, err = invertavatar("track", VIDEO, "--model", tmp_path / "none")
    assert status == 2
    assert "Cannot load the model" in err
    assert "Traceback" not in err


def test_a_driving_video_gives_an_mp4_of_its_rate_and_sound(invertavatar, tmp_path, quick):
    from invertavatar.media import probe

    output = tmp_path / "out.mp4"
    status, out, err = invertavatar("animate", PHOTO, SECOND_PHOTO, "-d", VIDEO, "-o", output, *quick)
    assert status == 0, err
    assert "4 frames of 128x128" in out
    info = probe(output)
    assert (info.num_frames, info.fps, info.size) == (4, 25, (128, 128))
    assert (info.codec, info.pix_fmt, info.has_audio) == ("h264", "yuv420p", True)


def test_a_voice_moves_the_lips_and_a_video_the_head(invertavatar, tmp_path, quick):
    from invertavatar.media import probe
    from invertavatar.media.sound_length import sound_seconds
    from invertavatar.tracking.motion import Motion

    talk = ("animate", PHOTO, "--speech", VIDEO, *quick, "--size", "64", "--save-motion", tmp_path / "talk.csv")
    status, _, err = invertavatar(*talk, "-o", tmp_path / "talk.mp4", "--head-motion", 0, "--no-blinks", "--quiet")
    assert (status, err) == (0, "")
    assert probe(tmp_path / "talk.mp4").num_frames == 4
    assert sound_seconds(tmp_path / "talk.mp4") > 0.1
    head = ("--driving", EXAMPLES / "talk_b.mp4", "--region", "pose", "--fps", 25)
    status, *_ = invertavatar(*talk[:-1], tmp_path / "both.safetensors", *head, "-o", tmp_path / "both.mp4", "--quiet")
    assert status == 0
    voice, both = Motion.from_arkit_csv(tmp_path / "talk.csv"), Motion.load(tmp_path / "both.safetensors")
    assert np.abs((both.expression - voice.expression).numpy()[:, 14:37]).max() < 1e-5  # jaw and mouth
    assert (both.rotation - voice.rotation).abs().max() > 1e-3


def test_quiet_prints_nothing_and_no_audio_is_silent(invertavatar, tmp_path, quick):
    from invertavatar.media import probe

    output = tmp_path / "out.mp4"
    assert invertavatar("animate", PHOTO, "-d", VIDEO, "-o", output, "-q", "--no-audio", *quick) == (0, "", "")
    assert not probe(output).has_audio


def test_side_by_side_shows_photo_driver_and_result(invertavatar, tmp_path, quick):
    from invertavatar.media import probe

    output = tmp_path / "out.mp4"
    status, _, err = invertavatar("animate", PHOTO, "-d", VIDEO, "-o", output, "--side-by-side", *quick)
    assert status == 0, err
    assert probe(output).size == (3 * 128, 128)


def test_a_driving_photo_gives_a_picture_transparent_where_asked(invertavatar, tmp_path, quick):
    from PIL import Image

    output = tmp_path / "out.png"
    arguments = ("animate", PHOTO, "-d", SECOND_PHOTO, "-o", output, "--background", "transparent", *quick)
    status, _, err = invertavatar(*arguments)
    assert status == 0, err
    with Image.open(output) as picture:
        assert (picture.size, picture.mode) == ((128, 128), "RGBA")
        thinnest, thickest = picture.getextrema()[3]
    assert thinnest < 10 and thickest > 245


def test_a_webp_moves_for_a_video_and_is_one_picture_for_a_photo(invertavatar, tmp_path, quick):
    from PIL import Image

    shutil.copy(VIDEO, tmp_path / "talk")  # without an ending
    for driver, name, count in ((tmp_path / "talk", "film.webp", 2), (PHOTO, "photo.webp", 1)):
        few = (*quick, "--size", "64", "--max-frames", "2")
        status, _, err = invertavatar("animate", PHOTO, "-d", driver, "-o", tmp_path / name, *few)
        assert status == 0, err
        with Image.open(tmp_path / name) as image:
            assert image.n_frames == count


def test_a_head_in_its_photo_or_video_has_their_size_and_the_video_s_rate_and_sound(invertavatar, tmp_path, quick):
    from invertavatar.media import VideoWriter, load_image, probe

    own = tmp_path / "own.mp4"
    with VideoWriter(own, 10, audio_from=VIDEO) as video:
        for _ in range(2):
            video.write(load_image(PHOTO)[::2, ::2])
    for name, into in (("photo.png", "photo"), ("video.mp4", own)):
        arguments = ("animate", PHOTO, "-d", SECOND_PHOTO, "-o", tmp_path / name, "--into", into, *quick)
        status, _, err = invertavatar(*arguments)
        assert status == 0, err
    assert load_image(tmp_path / "photo.png").shape == load_image(PHOTO).shape
    info = probe(tmp_path / "video.mp4")
    assert (info.size, info.fps, info.num_frames, info.has_audio) == ((384, 384), 10, 2, True)


def test_frames_may_be_wide(invertavatar, tmp_path, quick):
    from invertavatar.media import load_image

    arguments = ("--framing", "bust", "--width", "112", "--background", "original")
    assert invertavatar("animate", PHOTO, "-d", SECOND_PHOTO, "-o", tmp_path / "a.png", *arguments, *quick)[0] == 0
    assert load_image(tmp_path / "a.png").shape == (128, 112, 3)


def test_what_cannot_drive_is_one_sentence_that_lists_what_can(invertavatar, tmp_path):
    (tmp_path / "report.docx").write_bytes(b"PK" + bytes(100))
    status, _, err = invertavatar(
        "track", tmp_path / "report.docx", "-o", tmp_path / "new" / "m.safetensors", "--device", "cpu"
    )
    assert status == 2
    assert "report.docx cannot drive an avatar; a driver is a video (mp4" in err and "Traceback" not in err


def test_the_mark_is_there_when_asked_for(invertavatar, tmp_path, quick):
    from invertavatar.media import load_image, mark_synthetic

    for name, option in (("plain", "--no-mark"), ("marked", "--mark")):
        arguments = ("animate", PHOTO, "-d", SECOND_PHOTO, "-o", tmp_path / f"{name}.png", option, *quick)
        assert invertavatar(*arguments)[0] == 0
    plain, marked = (load_image(tmp_path / f"{name}.png") for name in ("plain", "marked"))
    np.testing.assert_array_equal(marked, mark_synthetic(plain))


def test_a_saved_avatar_and_motion_give_the_same_pictures_as_photo_and_video(invertavatar, tmp_path, quick):
    from invertavatar.media import load_image

    avatar, motion = tmp_path / "me", tmp_path / "talk.safetensors"
    saving = ("--save-avatar", avatar, "--save-motion", motion)
    assert invertavatar("animate", PHOTO, "-d", VIDEO, "-o", tmp_path / "a_%05d.png", *saving, *quick)[0] == 0
    zipped = shutil.make_archive(str(avatar), "zip", tmp_path, avatar.name)
    assert invertavatar("animate", "--avatar", zipped, "-d", motion, "-o", tmp_path / "b_%05d.png", *quick)[0] == 0
    for k in range(4):
        first, second = (load_image(tmp_path / f"{name}_{k:05d}.png") for name in "ab")
        np.testing.assert_array_equal(first, second)


def test_a_yaw_offset_turns_the_head_to_the_right_of_the_picture(invertavatar, tmp_path):
    from invertavatar.camera import angles_from_rotation
    from invertavatar.tracking.motion import Motion

    yaws = []
    for yaw in (0, 25):
        picture, motion = tmp_path / f"{yaw}.png", tmp_path / f"{yaw}.safetensors"
        drive = ("-d", PHOTO, "-o", picture, "--yaw", yaw, "--size", 256, "--device", "cpu")
        assert invertavatar("animate", PHOTO, *drive)[0] == 0
        assert invertavatar("track", picture, "-o", motion)[0] == 0
        yaws.append(angles_from_rotation(Motion.load(motion).rotation)[0, 0].item())
    assert 12 < yaws[1] - yaws[0] < 38


def test_a_text_file_named_mp4_is_one_sentence_and_leaves_no_output(invertavatar, tmp_path, not_a_video, quick):
    status, _, err = invertavatar("animate", PHOTO, "-d", not_a_video, "-o", tmp_path / "out.mp4", *quick, "-q")
    assert status == 2
    assert "notes.mp4" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.mp4").exists()


def test_debug_shows_the_traceback_of_an_error(invertavatar, tmp_path, not_a_video):
    from invertavatar.errors import MediaError

    with pytest.raises(MediaError):
        console.run(cli.app, ["track", str(not_a_video), "--debug"])


def test_a_photo_without_a_face_is_named(invertavatar, tmp_path):
    from invertavatar.media import save_image

    save_image(tmp_path / "wall.png", np.full((300, 300, 3), 128, np.uint8))
    status, _, err = invertavatar("animate", tmp_path / "wall.png", "-d", VIDEO, "-o", tmp_path / "out.mp4", "-q")
    assert status == 2
    assert "wall.png" in err


def test_ctrl_c_is_status_130_and_leaves_no_broken_file(invertavatar, tmp_path, monkeypatch, quick):
    from invertavatar import InvertAvatarPipeline

    real_stream = InvertAvatarPipeline.animate_stream

    def interrupted_stream(*arguments, **settings):
        yield next(iter(real_stream(*arguments, **settings)))
        raise KeyboardInterrupt

    monkeypatch.setattr(InvertAvatarPipeline, "animate_stream", interrupted_stream)
    status, _, err = invertavatar("animate", PHOTO, "-d", VIDEO, "-o", tmp_path / "out.mp4", *quick)
    assert status == 130
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_track_reports_and_saves_a_motion_and_draws_a_preview(invertavatar, tmp_path):
    from invertavatar.media import probe
    from invertavatar.tracking.motion import Motion

    motion, preview = tmp_path / "talk.safetensors", tmp_path / "preview.mp4"
    status, out, err = invertavatar("track", VIDEO, "-o", motion, "--landmarks-video", preview, "--max-frames", 5)
    assert status == 0, err
    assert "talk_a.mp4: 5 frames, 0.2 s at 25 fps" in out
    assert "yaw" in out
    assert Motion.load(motion).num_frames == 5
    assert probe(preview).num_frames == 5


def test_a_tracked_video_becomes_a_live_link_face_table_and_a_motion_again(invertavatar, tmp_path):
    from invertavatar.tracking.driver_reader import load_motion
    from invertavatar.tracking.motion import Motion

    table, motion = tmp_path / "talk.csv", tmp_path / "talk.safetensors"
    assert invertavatar("track", VIDEO, "-o", motion, "--max-frames", 4)[0] == 0
    assert invertavatar("track", motion, "-o", table, "--fps", 50)[0] == 0
    status, out, err = invertavatar("track", table, "--neutral-frame", "2", "-o", motion)
    assert (status, err) == (0, "")
    assert "talk.csv: 8 frames, 0.2 s at 50 fps" in out
    np.testing.assert_allclose(Motion.load(motion).expression, load_motion(table).expression)
    np.testing.assert_array_equal(Motion.load(motion).known_neutral.expression, load_motion(table).expression[2:3])


def test_a_table_and_a_still_take_the_sound_they_are_lent(invertavatar, tmp_path, quick):
    from invertavatar.media import probe

    table, still = tmp_path / "held.csv", tmp_path / "still.csv"
    table.write_text("jawOpen\n0.5\n0.4\n0.3\n")
    still.write_text("jawOpen\n0.5\n")
    sounded = (*quick[:2], "--audio", VIDEO, "--fps", 10, "--size", 64, "--device", "cpu", "-o", tmp_path / "out.mp4")
    status, _, err = invertavatar("animate", PHOTO, "-d", table, "-d", still, *sounded)
    assert (status, err.count("no neutral")) == (0, 0)
    films = [probe(tmp_path / f"out_{k}.mp4") for k in (1, 2)]
    assert all(film.has_audio and film.fps == 10 for film in films)
    assert [film.num_frames for film in films] == [3, 10 * round(probe(VIDEO).duration)]


def test_a_preview_of_a_photo_differs_from_it_on_the_face_only(invertavatar, tmp_path):
    from invertavatar.media import load_image

    status, _, err = invertavatar("track", PHOTO, "--landmarks-video", tmp_path / "preview.png")
    assert status == 0, err
    changed = (load_image(tmp_path / "preview.png") != load_image(PHOTO)).any(-1)
    assert 400 < changed.sum() < 0.1 * changed.size
    assert not changed[:20].any()
