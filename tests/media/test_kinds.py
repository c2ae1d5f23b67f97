"""The content of a file decides what it is, and the frames of an animated picture come at their own times."""

import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from invertavatar.errors import MediaError
from invertavatar.media import VideoReader, VideoWriter, check_driver, kind_of, load_image, load_images, probe


def grey(number, width=64, height=64, channels=3):
    frame = np.full((height, width, channels), 20 + 8 * number, np.uint8)
    frame[..., 3:] = 255
    return frame


def level(frame):
    return round((float(frame.mean()) - 20) / 8)


def animated(path, durations, form, mode="RGB", **options):
    frames = [Image.fromarray(grey(k)).convert(mode) for k in range(len(durations))]
    frames[0].save(path, form, save_all=True, append_images=frames[1:], duration=durations, **options)
    return path


def video(path, frames, rate=25, codec="libx264", form=None, steps=None):
    """A video of levels; `steps` are the times of its frames in units of 1/rate."""
    with av.open(str(path), "w", format=form) as output:
        stream = output.add_stream(codec, rate=rate, options={"crf": "5"} if codec == "libx264" else {})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for k, number in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(grey(number), "rgb24")
            picture.pts, picture.time_base = steps[k] if steps else k, Fraction(1, rate)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("form, options", [("WEBP", {"lossless": True}), ("PNG", {}), ("GIF", {}), ("AVIF", {})])
def test_an_animated_picture_drives_with_all_its_frames(tmp_path, form, options):
    path = animated(tmp_path / "moving.any", [40] * 10, form, **options)
    assert kind_of(path) == "animation"
    with VideoReader(path) as frames:
        assert (frames.fps, frames.num_frames, frames.duration, frames.size) == (25, 10, 0.4, (64, 64))
        assert [level(frame) for frame in frames] == list(range(10))
    assert level(load_image(path)) == 0  # as a photo it is its first frame
    assert len(load_images(path)[0]) == 1


def test_frames_of_an_animated_picture_last_as_long_as_each_says(tmp_path):
    path = animated(tmp_path / "uneven.webp", [40, 120, 80, 40], "WEBP", lossless=True)
    with VideoReader(path, fps=25) as frames:
        assert [level(frame) for frame in frames] == [0, 1, 1, 1, 2, 2, 3]


def test_what_is_transparent_in_an_animation_lies_over_mid_grey(tmp_path):
    clear = [Image.fromarray(np.zeros((64, 64, 4), np.uint8) + k) for k in range(2)]
    clear[0].save(tmp_path / "clear.webp", save_all=True, append_images=clear[1:], duration=40, lossless=True)
    assert abs(float(next(iter(VideoReader(tmp_path / "clear.webp"))).mean()) - 128) <= 1


def test_a_photo_of_one_frame_or_with_pages_is_a_photo(tmp_path):
    Image.fromarray(grey(1)).save(tmp_path / "one.webp")
    pages = [Image.fromarray(grey(k)) for k in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "gain.jpg", "MPO", save_all=True, append_images=pages[1:])
    for name in ("one.webp", "pages.tif", "gain.jpg"):
        assert kind_of(tmp_path / name) == "photo", name


@pytest.mark.parametrize("name", ["photo.jfif", "photo.jpe", "PHOTO.JFIF", "photo", "photo.mp4"])
def test_a_jpeg_of_any_name_is_a_photo(tmp_path, name):
    Image.fromarray(grey(3)).save(tmp_path / name, "JPEG")
    assert kind_of(tmp_path / name) == "photo"
    assert level(load_images(tmp_path / name)[0][0]) == 3


@pytest.mark.parametrize(
    "name, form, codec",
    [
        ("camera.mts", "mpegts", "libx264"),
        ("camera.m2ts", "mpegts", "libx264"),
        ("no_ending", "mp4", "libx264"),
        ("talk.jpg", "mov", "libx264"),
        ("free.ogv", "ogg", "libvpx"),
        ("old.mpg", "mpeg", "mpeg2video"),
    ],
)
def test_a_video_of_any_name_is_a_video(tmp_path, name, form, codec):
    path = video(tmp_path / name, range(12), codec=codec, form=form)
    assert kind_of(path) == "video" == check_driver(path)
    with VideoReader(path) as frames:
        assert [level(frame) for frame in frames] == list(range(12))
    assert len(load_images(path, max_frames=3)[0]) == 3


def test_what_cannot_drive_is_told_what_can(tmp_path):
    (tmp_path / "report.docx").write_bytes(b"PK\x03\x04" + bytes(200))
    (tmp_path / "notes").write_text("this is text\n" * 20)
    with av.open(str(tmp_path / "song.wav"), "w") as output:
        track = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        part = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        part.sample_rate = 8000
        output.mux(track.encode(part))
    for name in ("report.docx", "notes", "song.wav"):
        with pytest.raises(MediaError, match=rf"{name} .*a driver is a video \(mp4.*saved motion"):
            check_driver(tmp_path / name)


def test_digits_of_every_script_are_sorted(tmp_path):
    names = ["①1.png", "②.png", "photo2.png", "photo10.png", "x²_3.png", "٣.png", "10.png", "9.png"]
    for name in names:
        Image.fromarray(grey(1)).save(tmp_path / name)
    found = load_images(tmp_path)[1]
    assert sorted(found) == sorted(names)
    assert found.index("9.png") < found.index("10.png")
    assert found.index("photo2.png") < found.index("photo10.png")


def test_an_odd_first_step_between_fragments_is_no_time_that_passes(tmp_path):
    steps = [0, *(1226 + 512 * k for k in range(59))]  # what a recorder leaves that joins sound and picture late
    path = tmp_path / "joined.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=30)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 15360)
        for k, step in enumerate(steps):
            picture = av.VideoFrame.from_ndarray(grey(k % 20), "rgb24")
            picture.pts, picture.time_base = step, Fraction(1, 15360)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    with VideoReader(path) as frames:
        assert (frames.fps, frames.num_frames) == (30, 60)
        assert sum(1 for _ in frames) == 60
    assert probe(path).duration == pytest.approx(2.0, abs=0.002)


def test_a_frame_that_the_camera_dropped_stays_time_that_passes(tmp_path):
    path = video(tmp_path / "dropped.mkv", range(20), 30, steps=[*range(10), *range(11, 21)])
    with VideoReader(path) as frames:
        assert (frames.fps, frames.num_frames) == (30, 21)
        assert [level(frame) for frame in frames] == [*range(10), 9, *range(10, 20)]


@pytest.mark.parametrize("rate", [300, 480, 960])
def test_slow_motion_is_read_at_its_own_rate(tmp_path, rate):
    path = video(tmp_path / "slow.mp4", [k % 20 for k in range(40)], rate)
    with VideoReader(path) as frames:
        assert frames.fps == rate
        assert [level(frame) for frame in frames] == [k % 20 for k in range(40)]


def test_of_several_pictures_the_one_marked_as_default_is_taken_and_a_cover_never(tmp_path):
    path, dispositions = tmp_path / "two.mkv", av.stream.Disposition
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("mpeg4", rate=25) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
            stream.disposition = dispositions.default if number else dispositions.still_image
        for number, stream in enumerate(streams):
            for k in range(5):
                picture = av.VideoFrame.from_ndarray(grey(5 + 10 * number), "rgb24")
                picture.pts, picture.time_base = k, Fraction(1, 25)
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
    assert level(next(iter(VideoReader(path)))) == 15


@pytest.mark.parametrize("channels", [3, 4])
def test_an_animated_webp_is_written_and_read_back(tmp_path, channels):
    path = tmp_path / "out.webp"
    with VideoWriter(path, 30) as output:
        for k in range(8):
            frame = grey(k, channels=channels)
            frame[0, 0, 3:] = 0
            output.write(frame)
    with Image.open(path) as image:
        assert (image.n_frames, image.info["loop"], image.mode) == (8, 0, "RGBA" if channels == 4 else "RGB")
    with VideoReader(path) as frames:
        assert frames.fps == 30
        assert [level(frame) for frame in frames] == list(range(8))


def test_a_moving_copy_of_a_file_needs_no_ending(tmp_path):
    path = animated(tmp_path / "moving.webp", [40] * 3, "WEBP")
    shutil.copy(path, tmp_path / "moving")
    assert check_driver(tmp_path / "moving") == "animation"
