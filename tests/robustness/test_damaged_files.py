"""Whatever bytes a file holds, it is read or refused in a sentence: quickly, in little memory, and never obeyed."""

import io
import json
import os
import pickle
import resource
import struct
from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from safetensors.torch import load_file, save_file

from invertavatar import Avatar, FaceTracker, InvertAvatarPipeline, Motion
from invertavatar.avatar import JSON_FILE, TENSOR_FILE
from invertavatar.errors import AvatarError, InvertAvatarError, MediaError
from invertavatar.media import VideoReader, VideoWriter, load_image
from invertavatar.tracking.driver_reader import load_motion
from invertavatar.training.checkpoint import load_networks
from tests.conftest import CHECKPOINTS, ROOT
from tests.robustness.damage import damaged, fuzz

EXAMPLES = ROOT / "assets" / "examples"
MEGABYTE = 2**20


def picture(kind: str) -> bytes:
    """A small photo with an orientation and a colour profile."""
    small = Image.open(EXAMPLES / "anna_1.jpg").resize((96, 96))
    exif = small.getexif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"exif": exif.tobytes()} | ({} if kind == "HEIF" else {"icc_profile": profile})
    content = io.BytesIO()
    small.save(content, kind, **options)
    return content.getvalue()


def film(suffix: str) -> bytes:
    """A second of 8 frames with sound, or a GIF of them."""
    codecs = {".gif": ("gif",), ".webm": ("libvpx-vp9", "libopus")}.get(suffix, ("libx264", "aac"))
    content = io.BytesIO()
    with av.open(content, "w", format={".ts": "mpegts"}.get(suffix, suffix[1:])) as output:
        video, *sound = (output.add_stream(codec, rate=rate) for codec, rate in zip(codecs, (8, 48000), strict=False))
        video.width = video.height = 96
        video.pix_fmt = "rgb8" if suffix == ".gif" else "yuv420p"
        frame = np.asarray(Image.open(EXAMPLES / "anna_1.jpg").resize((96, 96)))
        for k in range(8):
            output.mux(video.encode(av.VideoFrame.from_ndarray(np.roll(frame, 4 * k, 1), "rgb24")))
        output.mux(video.encode(None))
        for track in sound:
            for start in range(0, 48000, 960):
                part = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), "s16", "mono")
                part.sample_rate, part.pts = 48000, start
                output.mux(track.encode(part))
            output.mux(track.encode(None))
    return content.getvalue()


PICTURES = {suffix: picture(kind) for suffix, kind in [(".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP")]}
PICTURES[".heic"] = picture("HEIF")
FILMS = {suffix: film(suffix) for suffix in (".mp4", ".ts", ".webm", ".gif")}


def is_sentence(error: Exception) -> bool:
    return str(error)[-1] in ".?" and "\n" not in str(error) and len(str(error)) > 20


# Photos and videos


@pytest.mark.parametrize("suffix", PICTURES)
def test_a_damaged_photo_is_a_photo_or_a_sentence(suffix, inbox):
    @fuzz(60)
    @given(damaged(PICTURES[suffix]))
    def check(content):
        file = inbox / f"given{suffix}"
        file.write_bytes(content)
        try:
            assert load_image(file).dtype == np.uint8
        except MediaError as error:
            assert is_sentence(error) and file.name in str(error)

    check()


@pytest.mark.parametrize("suffix", FILMS)
def test_a_damaged_video_is_some_frames_of_one_size_or_a_sentence(suffix, inbox):
    @fuzz(50)
    @given(damaged(FILMS[suffix]))
    def check(content):
        file = inbox / f"given{suffix}"
        file.write_bytes(content)
        try:
            with VideoReader(file) as video:
                shapes = [frame.shape for frame in islice(video, 2000)]
            assert 0 < len(shapes) < 2000 and len(set(shapes)) == 1
        except MediaError as error:
            assert is_sentence(error) and file.name in str(error)

    check()


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".webm"])
def test_the_sound_of_a_damaged_video_spoils_no_picture(suffix, inbox, tmp_path):
    frames = [np.full((32, 32, 3), 30 * k, np.uint8) for k in range(8)]

    @fuzz(15)
    @given(damaged(FILMS[suffix]))
    def check(content):
        driver = inbox / f"given{suffix}"
        driver.write_bytes(content)
        try:
            with VideoWriter(tmp_path / "out.mp4", 8, audio_from=driver, quality="draft") as writer:
                for frame in frames:
                    writer.write(frame)
        except MediaError as error:
            assert is_sentence(error) and driver.name in str(error)
            return
        with VideoReader(tmp_path / "out.mp4") as video:
            assert sum(1 for _ in video) == len(frames)

    check()
    assert {file.name for file in tmp_path.iterdir()} <= {"inbox", "temporary", "out.mp4"}


def test_a_clock_that_jumps_by_years_makes_no_endless_video(tmp_path):
    times = [0, 1, 2, 10**8, 10**8 + 1]  # in tenths of a second
    with av.open(str(tmp_path / "jump.mkv"), "w") as output:
        stream = output.add_stream("mjpeg", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for number, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 30 * number, np.uint8), "rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 10)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    with VideoReader(tmp_path / "jump.mkv", fps=10) as video:
        levels = [round(frame.mean() / 30) for frame in islice(video, 100)]
    assert levels == list(range(len(times)))


def gif(width: int, height: int) -> bytes:
    """A GIF of two frames in under a hundred bytes."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0"
    return head + 2 * frame + b"\x3b"


def png(width: int, height: int) -> bytes:
    """Only what a PNG begins with."""
    return PICTURES[".png"][:16] + struct.pack(">II", width, height) + PICTURES[".png"][24:33]


@pytest.mark.parametrize("size", [(16000, 16000), (65535, 65535), (8000, 5000)])
def test_a_size_that_a_file_only_claims_takes_no_memory(size, inbox):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, content, read in (
        ("given.gif", gif(*size), VideoReader),
        ("given.gif", gif(*size), load_image),
        ("given.png", png(*size), load_image),
    ):
        (inbox / name).write_bytes(content)
        with pytest.raises(MediaError) as caught:
            read(inbox / name)
        assert is_sentence(caught.value)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 200 * MEGABYTE


# Avatars and motions


@pytest.fixture
def avatar_files(tiny_avatar, inbox):
    """The folder of a saved avatar, and its two files as they should be."""
    folder = inbox / "given"
    tiny_avatar.save_pretrained(folder)
    return folder, {name: (folder / name).read_bytes() for name in (JSON_FILE, TENSOR_FILE)}


def test_a_damaged_avatar_is_refused_unless_its_tensors_are_whole(avatar_files, tiny_pipeline):
    folder, whole = avatar_files

    @fuzz(60)
    @given(st.data())
    def check(data):
        name = data.draw(st.sampled_from(list(whole)))
        content = data.draw(damaged(whole[name]))
        (folder / name).write_bytes(content)
        try:
            avatar = Avatar.from_pretrained(folder)
        except AvatarError as error:
            assert is_sentence(error)
        else:  # another letter in the name of a photo, say
            assert name == JSON_FILE or content == whole[name]
            assert avatar.num_images == 2
        finally:
            (folder / name).write_bytes(whole[name])

    check()


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"format_version": ' + b"[" * 100_000, b"\xff\xfe\x00", b'{"format_version": 1}', b"null"],
)
def test_an_avatars_description_of_any_shape_is_refused(avatar_files, content):
    folder, _ = avatar_files
    (folder / JSON_FILE).write_bytes(content)
    with pytest.raises(AvatarError) as caught:
        Avatar.from_pretrained(folder)
    assert is_sentence(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"texture_count": -1},
        {"triplane_count": 1.5},
        {"texture_count": "2"},
        {"photos": 2 * [{"name": "a", "yaw": [], "pitch": 0, "roll": 0, "face_pixels": 9, "visible": 1}]},
    ],
)
def test_a_count_or_an_angle_that_cannot_be_is_refused(avatar_files, changes):
    folder, whole = avatar_files
    (folder / JSON_FILE).write_text(json.dumps(json.loads(whole[JSON_FILE]) | changes))
    with pytest.raises(AvatarError, match=r"is damaged: .+\. Save it again\."):
        Avatar.from_pretrained(folder)


def test_a_damaged_motion_is_a_motion_or_a_sentence(inbox):
    file = inbox / "given.safetensors"
    Motion.from_sliders([{"time": 0}, {"time": 0.2, "yaw": 20}]).save(file)

    @fuzz(80)
    @given(damaged(file.read_bytes()))
    def check(content):
        file.write_bytes(content)
        try:
            assert len(load_motion(file)) <= 6
        except InvertAvatarError as error:
            assert is_sentence(error) and file.name in str(error)

    check()


def test_a_damaged_table_is_a_motion_or_a_sentence(inbox):
    file = inbox / "given.csv"
    table = "Timecode,BlendshapeCount,JawOpen,HeadYaw\n" + "".join(f"01:00:00:{k:02},61,0.{k},0.1\n" for k in range(9))

    @fuzz(80)
    @given(damaged(table.encode()))
    def check(content):
        file.write_bytes(content)
        try:
            assert load_motion(file).expression.isfinite().all()
        except InvertAvatarError as error:
            assert is_sentence(error) and file.name in str(error)

    check()


# Models


@pytest.fixture
def checkpoint(tiny_pipeline, tmp_path):
    """A saved pipeline without the tracker."""
    folder = tmp_path / "model"
    InvertAvatarPipeline(**tiny_pipeline.components | {"face_tracker": None}).save_pretrained(folder)
    return folder


def load(folder, **options):
    return InvertAvatarPipeline.from_pretrained(folder, local_files_only=True, **options)


def test_a_damaged_model_is_an_error_that_says_so(checkpoint):
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file())

    @fuzz(20)
    @given(st.data())
    def check(data):
        file = data.draw(st.sampled_from(files))
        whole = file.read_bytes()
        file.write_bytes(data.draw(damaged(whole)))
        try:
            load(checkpoint)
        except (OSError, ValueError) as error:  # diffusers' own, of several lines, or ours
            assert len(str(error)) > 20
        finally:
            file.write_bytes(whole)

    check()


@pytest.mark.parametrize("content", ["[" * 100_000, "null", "[]", "3", '{"w_dim": "wide"}', '{"w_dim": -16}'])
@pytest.mark.parametrize("name", ["model_index.json", "generator/config.json"])
def test_a_configuration_of_any_shape_is_an_error_that_says_so(checkpoint, name, content):
    (checkpoint / name).write_text(content)
    with pytest.raises((OSError, ValueError)):
        load(checkpoint)


def test_a_model_of_a_version_with_fewer_weights_is_refused_by_the_pipeline_and_completed_for_training(checkpoint):
    weights = checkpoint / "triplane_encoder" / "diffusion_pytorch_model.safetensors"
    save_file({name: x for name, x in load_file(weights).items() if "posture" not in name}, weights)
    with pytest.raises(InvertAvatarError, match="another version: its triplane_encoder lacks weights"):
        load(checkpoint)
    parameters = load_networks(checkpoint).trainable.named_parameters()
    assert all(p.isfinite().all() for _, p in parameters)  # a parameter without memory has no values


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_in_a_model_is_executed(checkpoint, tmp_path):
    exploded = tmp_path / "exploded"
    pickled = pickle.dumps(Bomb(exploded))
    weights = checkpoint / "generator" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()

    weights.write_bytes(pickled)  # a pickle by the name of safetensors
    with pytest.raises((OSError, ValueError)):
        load(checkpoint)
    weights.unlink()  # a pickle in its place
    weights.with_name("diffusion_pytorch_model.bin").write_bytes(pickled)
    with pytest.raises((OSError, ValueError)):
        load(checkpoint)
    weights.write_bytes(whole)
    for name in ("invertavatar", "generator", "pipeline"):  # a program where diffusers looks for one
        for folder in (checkpoint, checkpoint / "generator"):
            (folder / f"{name}.py").write_text(f"import os\nos.mkdir({str(exploded)!r})\n")
    try:
        load(checkpoint)
    except (OSError, ValueError) as error:
        assert "trust_remote_code" in str(error)
    assert not exploded.exists()


def test_a_class_that_is_no_component_is_not_loaded(checkpoint, tmp_path):
    index = json.loads((checkpoint / "model_index.json").read_text())
    index["generator"] = ["subprocess", "Popen"]
    (checkpoint / "model_index.json").write_text(json.dumps(index))
    with pytest.raises((OSError, ValueError)):
        load(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "template.json", "NOTICE.txt"])
def test_a_damaged_tracker_is_refused_or_works_as_described(name, inbox):
    folder = inbox / "given"
    folder.mkdir()
    for file in (CHECKPOINTS / "face_tracker").iterdir():
        (folder / file.name).symlink_to(file)
    whole = (folder / name).read_bytes()
    (folder / name).unlink()

    @fuzz(20)
    @given(damaged(whole))
    def check(content):
        (folder / name).write_bytes(content)
        try:
            assert FaceTracker.from_pretrained(folder).template.mean.shape == (478, 3)
        except InvertAvatarError as error:
            assert is_sentence(error)

    check()
