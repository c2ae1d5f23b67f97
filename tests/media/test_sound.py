"""Sound never costs the film: it may change its form, break, start late, end early or be of no known kind.

Frames here are grey; the sound is a tone of 440 Hz, and of 880 Hz where it changes.
"""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from invertavatar.media import VideoReader, VideoWriter, probe

RATE = 48000


def tone(hertz, seconds, layout="stereo", rate=RATE):
    """[1, samples * channels] int16, packed."""
    wave = np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * hertz / rate) * 8000
    return np.repeat(wave.astype(np.int16)[:, None], len(av.AudioLayout(layout).channels), 1).reshape(1, -1)


def packets_of(codec, hertz, seconds, layout="stereo", rate=RATE, start=0.0):
    """Encoded packets whose times, in samples of 1/48000 s, begin at `start` seconds."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.sample_rate, encoder.layout = rate, layout
    encoder.format, encoder.time_base = encoder.codec.audio_formats[0].name, Fraction(1, rate)
    cutter = av.AudioResampler(encoder.format, layout, rate, 1152 if codec == "mp2" else 1536)
    part = av.AudioFrame.from_ndarray(tone(hertz, seconds, layout, rate), "s16", layout)
    part.sample_rate, part.pts, part.time_base = rate, 0, Fraction(1, rate)
    made, at = [], round(start * RATE)
    for frame in [*cutter.resample(part), None]:
        for packet in encoder.encode(frame):
            packet.pts = packet.dts = at
            packet.time_base = Fraction(1, RATE)
            at += round(packet.duration * RATE / rate)
            packet.duration = round(packet.duration * RATE / rate)
            made.append(packet)
    return made


def film(path, packets, codec="mp2", layout="stereo", seconds=1.0, start=0.0):
    """A grey film at 25 fps whose pictures begin at `start`, with these packets as its sound."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        track = output.add_stream(codec, rate=RATE, layout=layout)
        for number in range(round(seconds * 25)):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 8 * (number % 20), np.uint8), "rgb24")
            picture.pts, picture.time_base = number + round(start * 25), Fraction(1, 25)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        for packet in packets:
            packet.stream = track
            output.mux(packet)
    return path


def copied(source, path):
    with VideoReader(source) as video, VideoWriter(path, video.fps, audio_from=source) as output:
        for frame in video:
            output.write(frame)
    return probe(path).num_frames


def heard(path):
    """(mono samples, sample rate) from the first picture on; what lies between frames is silent."""
    with av.open(str(path)) as source:
        rate, pieces = source.streams.audio[0].rate, []
        resampler = av.AudioResampler("fltp", "mono", rate)
        for frame in source.decode(audio=0):
            pieces += [
                (round(frame.pts * frame.time_base * rate), p.to_ndarray()[0]) for p in resampler.resample(frame)
            ]
    samples = np.zeros(max(at + len(piece) for at, piece in pieces), np.float32)
    for at, piece in pieces:
        samples[max(at, 0) : at + len(piece)] = piece[max(-at, 0) :]
    return samples, rate


def pitch(samples, rate, start, end):
    part = samples[round(start * rate) : round(end * rate)]
    return np.abs(np.fft.rfft(part)).argmax() * rate / len(part)


def longest_silence(samples, rate, end):
    loud = np.abs(samples[: round(end * rate)]) > 0.02
    edges = np.flatnonzero(np.concatenate([[True], loud, [True]]))
    return np.diff(edges).max() / rate


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
@pytest.mark.parametrize("second", [("mono", 48000), ("stereo", 32000), ("mono", 44100)])
def test_sound_that_changes_its_form_is_kept_whole_and_said(tmp_path, caplog, suffix, second):
    layout, rate = second
    packets = packets_of("mp2", 440, 0.504) + packets_of("mp2", 880, 0.5, layout, rate, start=0.504)
    source = film(tmp_path / "changes.ts", packets)
    with caplog.at_level(logging.WARNING):
        assert copied(source, tmp_path / f"out.{suffix}") == 25
    assert any("changes.ts changes its form" in message for message in caplog.messages)
    samples, rate = heard(tmp_path / f"out.{suffix}")
    assert pitch(samples, rate, 0.1, 0.4) == pytest.approx(440, abs=4)
    assert pitch(samples, rate, 0.6, 0.9) == pytest.approx(880, abs=4)
    assert longest_silence(samples, rate, 0.95) < 0.05


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_a_broken_packet_is_a_short_silence_and_not_the_end(tmp_path, caplog, suffix):
    packets = packets_of("ac3", 440, 1.0)
    hurt = av.Packet(b"\x0b\x77" + bytes(range(200)))
    hurt.pts, hurt.dts, hurt.duration, hurt.time_base = (
        *(packets[15].pts, packets[15].dts, packets[15].duration),
        packets[15].time_base,
    )
    source = film(tmp_path / "hurt.mkv", [*packets[:15], hurt, *packets[16:]], "ac3")
    with caplog.at_level(logging.WARNING):
        assert copied(source, tmp_path / f"out.{suffix}") == 25
    assert sum("hurt.mkv is damaged" in message for message in caplog.messages) == 1
    samples, rate = heard(tmp_path / f"out.{suffix}")
    assert len(samples) / rate > 0.95
    assert 0.01 < longest_silence(samples, rate, 0.95) < 0.1
    assert pitch(samples, rate, 0.6, 0.9) == pytest.approx(440, abs=4)


def test_sound_around_a_gap_stays_in_its_place(tmp_path):
    packets = packets_of("mp2", 440, 0.4) + packets_of("mp2", 880, 0.3, start=0.7)
    copied(film(tmp_path / "gap.mkv", packets), tmp_path / "out.webm")
    samples, rate = heard(tmp_path / "out.webm")
    assert longest_silence(samples, rate, 0.95) == pytest.approx(0.3, abs=0.06)
    assert pitch(samples, rate, 0.75, 0.95) == pytest.approx(880, abs=6)


@pytest.mark.parametrize("offset", [-0.3, 0.0, 0.3])
def test_encoded_sound_keeps_its_offset_to_the_picture(tmp_path, offset):
    packets = packets_of("mp2", 440, 0.5, start=1 + offset) + packets_of("mp2", 880, 0.5, start=1.5 + offset)
    copied(film(tmp_path / "late.mkv", packets, start=1.0), tmp_path / "out.webm")
    samples, rate = heard(tmp_path / "out.webm")
    change = 0.5 + offset
    assert pitch(samples, rate, change + 0.08, change + 0.28) == pytest.approx(880, abs=6)
    assert pitch(samples, rate, max(0, change - 0.2), change - 0.02) == pytest.approx(440, abs=30)


@pytest.mark.parametrize("seconds, lasting", [(0.4, 0.4), (2.0, 1.0)])
def test_the_film_decides_how_long_it_is_and_not_the_sound(tmp_path, seconds, lasting):
    source = film(tmp_path / "sound.mkv", packets_of("mp2", 440, seconds))
    assert copied(source, tmp_path / "out.webm") == 25
    samples, rate = heard(tmp_path / "out.webm")
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    assert loud[-1] / rate == pytest.approx(lasting, abs=0.07)


def test_surround_sound_becomes_stereo(tmp_path):
    packets = packets_of("ac3", 440, 1.0, "5.1")
    assert copied(film(tmp_path / "surround.mkv", packets, "ac3", "5.1"), tmp_path / "out.mp4") == 25
    with av.open(str(tmp_path / "out.mp4")) as result:
        assert result.streams.audio[0].channels == 2
    assert pitch(*heard(tmp_path / "out.mp4"), 0.1, 0.9) == pytest.approx(440, abs=3)


def test_sound_that_cannot_be_decoded_at_all_leaves_a_silent_film_and_a_warning(tmp_path, caplog):
    packets = packets_of("ac3", 440, 1.0)
    broken = []
    for packet in packets:
        broken.append(av.Packet(bytes(64)))
        broken[-1].pts, broken[-1].dts, broken[-1].time_base = packet.pts, packet.dts, packet.time_base
    source = film(tmp_path / "mute.mkv", broken, "ac3")
    with caplog.at_level(logging.WARNING):
        assert copied(source, tmp_path / "out.webm") == 25
    assert any("The sound of mute.mkv" in message for message in caplog.messages)


def test_a_track_without_a_single_packet_leaves_a_silent_film(tmp_path):
    assert copied(film(tmp_path / "void.mkv", []), tmp_path / "out.mp4") == 25


def test_the_track_that_the_file_marks_as_default_is_heard(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        tracks = [output.add_stream("mp2", rate=RATE, layout="stereo") for _ in range(2)]
        tracks[0].disposition = av.stream.Disposition.comment
        tracks[1].disposition = av.stream.Disposition.default
        for number in range(25):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), "rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        for track, hertz in zip(tracks, (440, 880), strict=True):
            for packet in packets_of("mp2", hertz, 1.0):
                packet.stream = track
                output.mux(packet)
    copied(path, tmp_path / "out.mp4")
    assert pitch(*heard(tmp_path / "out.mp4"), 0.1, 0.9) == pytest.approx(880, abs=3)
