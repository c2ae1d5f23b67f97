"""Videos of every kind come in at a constant rate; what goes out plays in a browser, keeps the sound, or
leaves nothing.

Frames here are flat greys whose level tells which frame it is: `level(frame)` is its number.
"""

import logging
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from invertavatar.errors import MediaError
from invertavatar.media import VideoReader, VideoWriter, as_rate, load_images, probe

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
TALK = EXAMPLES / "talk_a.mp4"
NTSC = Fraction(30000, 1001)


def grey(number, width=64, height=48, channels=3):
    """A flat frame [H, W, C] that `level` recognises."""
    frame = np.full((height, width, channels), 20 + 8 * number, np.uint8)
    frame[..., 3:] = 255
    return frame


def level(frame):
    return round((float(frame.mean()) - 20) / 8)


def make_video(path, frames, times=None, fps=Fraction(25), codec="libx264", sound=None, prepare=None):
    """Writes a file with PyAV alone: `times` are the ticks of 1/1000 s at which frames are shown."""
    with av.open(str(path), "w", container_options={"movflags": "+faststart"} if codec == "libx264" else {}) as output:
        stream = output.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv444p" if frames[0].shape[0] % 2 else "yuv420p"  # odd sizes cannot halve their colours
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if prepare:
            prepare(stream)
        track = output.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.time_base = Fraction(1, 1000) if times else 1 / fps
            picture.pts = times[number] if times else number
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        if track:
            samples = int(len(frames) / fps * 48000)
            tone = (np.sin(np.arange(samples) * 2 * np.pi * 440 / 48000) * 8000).astype(np.int16)[None]
            for start in range(0, samples, 960):
                part = av.AudioFrame.from_ndarray(tone[:, start : start + 960], "s16", "mono")
                part.sample_rate, part.pts, part.time_base = 48000, start, Fraction(1, 48000)
                output.mux(track.encode(part))
            output.mux(track.encode(None))
    return path


def write(path, frames, fps=25, **options):
    with VideoWriter(path, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def sound_packets(path):
    with av.open(str(path)) as source:
        return [(p.pts * p.time_base, bytes(p)) for p in source.demux(audio=0) if p.pts is not None]


# ---- reading


def test_a_plain_video_gives_its_frames_in_order(tmp_path):
    path = make_video(tmp_path / "plain.mp4", [grey(k) for k in range(20)])
    with VideoReader(path) as video:
        assert (video.fps, video.num_frames, video.duration, video.size) == (25, 20, 0.8, (64, 48))
        assert not video.has_audio
        assert [level(frame) for frame in video] == list(range(20))
        assert [level(frame) for frame in video] == list(range(20))  # a second time from the beginning


def test_a_variable_rate_is_held_and_dropped_to_a_constant_one(tmp_path):
    times = [0, 40, 200, 210, 220, 320]  # frame 1 stands for 160 ms; frames 2 and 3 aim at one place
    path = make_video(tmp_path / "variable.mp4", [grey(k) for k in range(6)], times)
    with VideoReader(path, fps=25) as video:
        levels = [level(frame) for frame in video]
    assert levels[:9] == [0, 1, 1, 1, 1, 2, 4, 4, 5]  # at 0, 40 ... 320 ms


def test_reading_at_half_or_twice_the_rate_drops_or_repeats_every_frame(tmp_path):
    path = make_video(tmp_path / "sixty.mp4", [grey(k) for k in range(20)], fps=Fraction(60))
    with VideoReader(path, fps=30) as video:
        levels = [level(frame) for frame in video]
        assert len(levels) == video.num_frames == 10
        assert levels == list(range(0, 20, 2))
    with VideoReader(path, fps=120) as video:
        assert [level(frame) for frame in video] == sorted([*range(20)] * 2)


@pytest.mark.parametrize("suffix, codec", [("mp4", "libx264"), ("webm", "libvpx-vp9"), ("mkv", "libx264")])
def test_the_rate_of_29_97_is_exact_in_every_container(tmp_path, suffix, codec):
    path = make_video(tmp_path / f"ntsc.{suffix}", [grey(k) for k in range(24)], fps=NTSC, codec=codec)
    with VideoReader(path) as video:
        assert video.fps == NTSC
        assert [level(frame) for frame in video] == list(range(24))


def test_an_absurd_rate_is_read_at_25(tmp_path):
    path = make_video(tmp_path / "slides.mp4", [grey(0), grey(1)], [0, 3000])
    with VideoReader(path) as video:
        assert video.fps == 25
        assert [level(frame) for frame in video][:76] == [0] * 75 + [1]


def test_an_odd_size_is_kept(tmp_path):
    path = make_video(tmp_path / "odd.mp4", [grey(k, 63, 47) for k in range(3)])
    with VideoReader(path) as video:
        assert video.size == (63, 47)
        assert [frame.shape for frame in video] == [(47, 63, 3)] * 3


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_phone_video_comes_upright(tmp_path, degrees, mirrored):
    shown = np.full((48, 64, 3), 128, np.uint8)
    shown[:16, :16] = 255  # a light top left corner
    shown[32:, 48:] = 0  # a dark bottom right one
    shown[:16, 48:] = 200, 40, 40
    # A player turns the stored picture counter-clockwise and then mirrors it.
    stored = np.rot90(shown[:, ::-1] if mirrored else shown, -degrees // 90)
    path = make_video(
        tmp_path / "phone.mp4",
        [np.ascontiguousarray(stored)] * 3,
        prepare=lambda stream: stream.set_display_rotation(degrees, hflip=mirrored),
    )
    with VideoReader(path) as video:
        assert video.size == (64, 48)
        for frame in video:
            assert np.abs(frame.astype(int) - shown).mean() < 4
    if not mirrored:
        assert probe(path).rotation == -degrees % 360


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    def widen(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    path = make_video(tmp_path / "wide.mp4", [grey(0)] * 3, prepare=widen)
    with VideoReader(path) as video:
        assert video.size == (96, 48)
        assert next(iter(video)).shape == (48, 96, 3)


def test_a_gif_is_a_video_too(tmp_path):
    pictures = [Image.fromarray(grey(k)) for k in range(5)]
    pictures[0].save(tmp_path / "five.gif", save_all=True, append_images=pictures[1:], duration=100, loop=0)
    with VideoReader(tmp_path / "five.gif") as video:
        assert (video.fps, video.num_frames, video.size) == (10, 5, (64, 48))
        assert [level(frame) for frame in video] == list(range(5))


def test_a_cut_off_file_gives_what_is_there_and_one_warning(tmp_path, caplog):
    data = TALK.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with VideoReader(tmp_path / "cut.mp4") as video, caplog.at_level(logging.WARNING):
        count = sum(1 for _ in video)
    assert 40 < count < 110  # of 150
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("cut.mp4 is damaged or cut off")
    assert caplog.messages[0].endswith("of 6.0 seconds could be read.")


def test_a_whole_file_gives_no_warning(caplog):
    with VideoReader(TALK) as video, caplog.at_level(logging.WARNING):
        assert sum(1 for _ in video) == video.num_frames == 150
    assert not caplog.messages


def test_files_that_are_no_video_are_refused_by_name(tmp_path):
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "playlist.mp4").write_text(f"#EXTM3U\n#EXTINF:6,\n{TALK}\n#EXT-X-ENDLIST\n")
    (tmp_path / "empty.mp4").touch()
    data = TALK.read_bytes()
    (tmp_path / "head.mp4").write_bytes(data[:200])
    sound = make_video(tmp_path / "both.mp4", [grey(0)] * 25, sound="aac")
    with av.open(str(sound)) as source, av.open(str(tmp_path / "sound.mp4"), "w") as output:
        track = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = track
                output.mux(packet)
    for name, words in {
        "text.mp4": "text.mp4 is not a video that can be read",
        "playlist.mp4": "playlist.mp4 is not a video that can be read",
        "empty.mp4": r"empty.mp4 is empty \(0 bytes\)",
        "absent.mp4": "absent.mp4 does not exist",
        "head.mp4": "was cut off while copying",
        "sound.mp4": "sound.mp4 holds no video, only sound",
    }.items():
        with pytest.raises(MediaError, match=words):
            VideoReader(tmp_path / name)
    with pytest.raises(MediaError, match="is a folder"):
        VideoReader(tmp_path)


def test_a_video_given_as_photos_becomes_evenly_spaced_frames(tmp_path):
    path = make_video(tmp_path / "turn.mp4", [grey(k, 96, 64) for k in range(24)])
    photos, names = load_images(path, max_frames=4)
    assert [level(photo) for photo in photos] == [0, 6, 12, 18]
    assert names[1] == "turn.mp4 (frame 2 of 4)"
    assert len(load_images(path, max_frames=100)[0]) == 24


@pytest.mark.parametrize(
    "given, exact",
    [(25, 25), (29.97, NTSC), (float(NTSC), NTSC), (23.976, Fraction(24000, 1001)), (12.5, Fraction(25, 2))],
)
def test_a_rate_as_a_float_becomes_the_exact_fraction(given, exact):
    assert as_rate(given) == exact


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(MediaError, match="not a frame rate"):
        as_rate(rate)


# ---- writing


def test_an_mp4_plays_in_a_browser_while_it_loads(tmp_path):
    path = write(tmp_path / "out.mp4", [grey(k) for k in range(12)], NTSC)
    info = probe(path)
    assert (info.codec, info.pix_fmt, info.fps, info.num_frames) == ("h264", "yuv420p", NTSC, 12)
    assert info.duration == pytest.approx(12 / NTSC, abs=1e-6)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 13, 1)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "gif"])
def test_colours_survive_a_round_trip(tmp_path, suffix):
    frame = np.zeros((64, 96, 3), np.uint8)
    for column, colour in enumerate([(210, 150, 120), (180, 40, 40), (40, 160, 60), (40, 50, 190), (250, 250, 250)]):
        frame[:, column * 20 : column * 20 + 20] = colour
    path = write(tmp_path / f"out.{suffix}", [frame] * 5)
    with VideoReader(path) as video:
        pictures = list(video)
    assert len(pictures) == 5
    for centre in range(10, 96, 20):
        assert np.abs(pictures[2][32, centre].astype(int) - frame[32, centre]).max() <= 6


def test_odd_sizes_gain_a_copy_of_the_edge(tmp_path):
    path = write(tmp_path / "odd.mp4", [grey(9, 63, 47)] * 3)
    with VideoReader(path) as video:
        assert video.size == (64, 48)
        assert [level(frame) for frame in video] == [9, 9, 9]
        assert abs(int(next(iter(video))[-1, -1, 0]) - int(grey(9)[0, 0, 0])) <= 3


@pytest.mark.parametrize("suffix, codec", [("mp4", "aac"), ("mov", "aac"), ("webm", "opus")])
def test_sound_rate_and_duration_of_the_driving_video_are_kept(tmp_path, suffix, codec):
    path = write(tmp_path / f"out.{suffix}", [grey(k % 20) for k in range(150)], 25, audio_from=TALK)
    info = probe(path)
    assert (info.fps, info.num_frames, info.has_audio, info.audio_codec) == (25, 150, True, codec)
    assert info.duration == pytest.approx(6, abs=1e-6)
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(6, abs=0.03)
        samples = np.concatenate([f.to_ndarray().reshape(-1) for f in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    assert len(samples) / rate == pytest.approx(6, abs=0.06)
    assert np.abs(samples).max() > 0.05  # it is heard


def test_sound_the_container_takes_is_copied_bit_by_bit(tmp_path):
    path = write(tmp_path / "out.mp4", [grey(0)] * 100, 25, audio_from=TALK)
    copied, original = sound_packets(path), sound_packets(TALK)
    assert copied == original[: len(copied)]
    packet = Fraction(1024, 22050)
    assert 4 - 2 * packet < copied[-1][0] <= 4 - packet  # all that ends within 100 frames at 25 fps


def test_sound_in_another_codec_is_encoded_in_time(tmp_path):
    source = make_video(tmp_path / "in.webm", [grey(0)] * 25, codec="libvpx-vp9", sound="libopus")
    info = probe(write(tmp_path / "out.mp4", [grey(0)] * 25, 25, audio_from=source))
    assert info.audio_codec == "aac"
    packets = sound_packets(tmp_path / "out.mp4")
    assert packets[0][0] <= 0.03
    assert packets[-1][0] == pytest.approx(1, abs=0.06)


def test_sound_stays_in_step_with_a_picture_that_starts_late(tmp_path):
    times = [400 + 40 * k for k in range(25)]  # the first 0.4 s of the source are sound alone
    source = make_video(tmp_path / "late.mp4", [grey(k) for k in range(25)], times, sound="aac")
    with VideoReader(source) as video, VideoWriter(tmp_path / "out.mp4", 25, audio_from=source) as writer:
        for frame in video:
            writer.write(frame)
    copied, original = sound_packets(tmp_path / "out.mp4"), sound_packets(source)
    assert len(copied) > 20
    assert {(time + Fraction(2, 5), data) for time, data in copied} <= set(original)


def test_sound_is_limited_to_its_duration(tmp_path):
    write(tmp_path / "out.mp4", [grey(0)] * 50, 25, audio_from=TALK, audio_duration=0.5)
    assert sound_packets(tmp_path / "out.mp4")[-1][0] < 0.5
    assert probe(tmp_path / "out.mp4").duration == 2


def test_a_driving_video_without_sound_gives_a_silent_video(tmp_path):
    silent = make_video(tmp_path / "silent.mp4", [grey(0)] * 5)
    assert not probe(write(tmp_path / "out.mp4", [grey(0)] * 5, audio_from=silent)).has_audio


def test_a_gif_loops_and_keeps_its_length(tmp_path):
    path = write(tmp_path / "out.gif", [grey(k) for k in range(10)], 25, audio_from=TALK)
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0
        assert gif.n_frames == 10
    info = probe(path)
    assert (info.duration, info.fps, info.has_audio) == (pytest.approx(0.4), 25, False)
    fast = probe(write(tmp_path / "fast.gif", [grey(k) for k in range(12)], 60))
    assert fast.duration == pytest.approx(0.2, abs=0.03)
    assert fast.fps <= 50


def test_a_webm_of_rgba_frames_keeps_its_alpha(tmp_path):
    frame = np.full((64, 64, 4), 200, np.uint8)
    frame[..., 3] = np.arange(0, 256, 4, dtype=np.uint8)
    path = write(tmp_path / "out.webm", [frame] * 4)
    info = probe(path)
    assert (info.codec, info.pix_fmt, info.num_frames) == ("vp9", "yuva420p", 4)
    decoder = av.CodecContext.create("libvpx-vp9", "r")  # ffmpeg's own decoder does not see the alpha
    with av.open(str(path)) as container:
        pictures = [f.to_ndarray(format="rgba") for p in container.demux(video=0) for f in decoder.decode(p)]
    assert len(pictures) == 4
    assert np.abs(pictures[0][..., 3].astype(int) - frame[..., 3]).mean() < 3


@pytest.mark.parametrize("name, first", [("frames", "frame_00000.png"), ("new/50% [a]_%03d.png", "50% [a]_000.png")])
def test_a_png_sequence_keeps_every_pixel_and_replaces_the_older_one(tmp_path, name, first):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (3, 16, 16, 4), np.uint8)
    folder = tmp_path / Path(name).parts[0]
    write(tmp_path / name, np.repeat(frames, 2, 0))
    (folder / "notes.txt").touch()
    write(tmp_path / name, frames)
    pictures = sorted(folder.glob("*.png"))
    assert pictures[0].name == first
    assert (np.stack([np.asarray(Image.open(p)) for p in pictures]) == frames).all()
    assert len(list(folder.iterdir())) == 4  # and the notes


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.gif"])
def test_transparent_frames_need_a_format_with_alpha(tmp_path, name):
    with pytest.raises(MediaError, match=r"\.webm or a sequence such as name_%05d\.png"):
        write(tmp_path / name, [grey(0, channels=4)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.mp4", "out.webm", "out.gif", "folder", "new/x_%05d.png"])
@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("num_frames", [0, 5])
def test_an_interrupted_writer_leaves_nothing_behind(tmp_path, name, exception, num_frames):
    with pytest.raises(exception), VideoWriter(tmp_path / name, 25, audio_from=TALK) as writer:
        for k in range(num_frames):
            writer.write(grey(k))
        raise exception
    assert not [p for p in tmp_path.rglob("*") if p.is_file() or p.name.startswith(".")]


def test_an_older_video_stays_until_the_new_one_is_whole(tmp_path):
    path = write(tmp_path / "out.mp4", [grey(0)] * 3)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), VideoWriter(path, 25) as writer:
        writer.write(grey(1))
        raise RuntimeError
    assert path.read_bytes() == before
    write(path, [grey(1)] * 5)
    assert probe(path).num_frames == 5
    assert len(list(tmp_path.iterdir())) == 1


def test_a_video_may_be_rewritten_over_its_own_source(tmp_path):
    path = make_video(tmp_path / "talk.mp4", [grey(k) for k in range(10)], sound="aac")
    with VideoReader(path) as video, VideoWriter(path, video.fps, audio_from=path) as writer:
        for frame in video:
            writer.write(255 - frame)
    info = probe(path)
    assert (info.num_frames, info.has_audio) == (10, True)


def test_misuse_of_the_writer_is_a_sentence(tmp_path):
    with pytest.raises(MediaError, match=r"end it in \.mp4"):
        VideoWriter(tmp_path / "out.docx", 25)
    with pytest.raises(MediaError, match=r"out\.png is one picture; for a sequence write .* out_%05d\.png"):
        VideoWriter(tmp_path / "out.png", 25)
    with pytest.raises(MediaError, match="not a video quality"):
        VideoWriter(tmp_path / "out.mp4", 25, quality="best")
    with pytest.raises(MediaError, match=r"absent\.mp4 does not exist"):
        VideoWriter(tmp_path / "out.mp4", 25, audio_from=tmp_path / "absent.mp4")
    with pytest.raises(MediaError, match="No frame was written"):
        write(tmp_path / "out.mp4", [])
    with pytest.raises(MediaError, match="Give all frames one size"):
        write(tmp_path / "out.mp4", [grey(0), grey(0, width=32)])
    with pytest.raises(MediaError, match="give uint8"):
        write(tmp_path / "out.mp4", [grey(0) / 255])
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="Cannot make the folder"):
        write(tmp_path / "file" / "out.mp4", [grey(0)])


MEMORY_PROGRAM = """
import resource, sys
import numpy as np
from invertavatar.media import VideoReader, VideoWriter

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

frames = np.arange(16 * 128, dtype=np.uint8).reshape(16, 128, 1, 1).repeat(128, 2).repeat(3, 3)
def copy(count):
    with VideoWriter("a.mp4", 25, quality="draft") as out:
        for k in range(count):
            out.write(frames[k % 16])
    with VideoReader("a.mp4") as video, VideoWriter("b.mp4", 25, audio_from="a.mp4", quality="draft") as out:
        for frame in video:
            out.write(frame)

copy(200)
before = peak()
copy(1000)
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path):
    resource = pytest.importorskip("resource")
    assert resource
    environment = {"PYTHONPATH": str(EXAMPLES.parents[1]), "PATH": ""}
    command = [sys.executable, "-c", MEMORY_PROGRAM]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert float(result.stdout) < 20  # MB more for 800 further frames, which are 39 MB as arrays
