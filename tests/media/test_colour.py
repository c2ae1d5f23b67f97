"""High dynamic range and wide gamuts come in as the SDR picture they were made from.

The forward formulas here are the standards' own: BT.2100 (PQ, HLG), BT.1886, and the primaries' matrices of BT.2087.
"""

import io
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pillow_heif
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

from invertavatar.media import VideoReader, load_image
from invertavatar.media.colour import BT2020, HLG, PQ, to_sdr

FROM_BT709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
FROM_BT709_TO_P3 = np.array([[0.8225, 0.1775, 0], [0.0332, 0.9668, 0], [0.0171, 0.0724, 0.9105]])


@pytest.fixture
def sdr():
    """[64, 96, 3] uint8: skin, hair, lips, sky and cloth, none of them near white."""
    colours = [(210, 160, 130), (60, 45, 40), (180, 80, 85), (110, 150, 200), (30, 90, 60), (128, 128, 128)]
    return np.repeat(np.repeat(np.array(colours, np.uint8)[None], 16, 1), 64, 0)


def hdr_signal(sdr, transfer):
    """The picture in BT.2020 as floats in 0..1, its white at 203 nits."""
    light = (sdr / 255) ** 2.4 @ FROM_BT709.T
    if transfer == PQ:
        power = (light * 203 / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    scene = (light * 203 / 1000) ** (1 / 1.2)
    upper = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper)


def film(path, signal, layout, colorspace, full_range, primaries, transfer):
    """A lossless video of one colourful frame [H, W, 3] of floats in 0..1, tagged as said."""
    colour_range = ColorRange.JPEG if full_range else ColorRange.MPEG
    frame = av.VideoFrame.from_ndarray(np.rint(signal * 65535).astype(np.uint16), "rgb48le")
    frame = frame.reformat(format=layout, dst_colorspace=colorspace, dst_color_range=colour_range)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *signal.shape[:2], layout
        context = stream.codec_context
        context.colorspace, context.color_range = colorspace, colour_range
        context.color_primaries, context.color_trc = primaries, transfer
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def difference(picture, expected):
    return np.abs(picture.astype(int) - expected.astype(int)).mean((0, 1)).max()


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_hdr_gives_back_the_sdr_picture_whose_white_is_at_203_nits(sdr, transfer, depth):
    signal = np.rint(hdr_signal(sdr, transfer) * np.iinfo(depth).max).astype(depth)
    assert difference(to_sdr(signal, BT2020, transfer), sdr) < 1.5


def test_highlights_are_rolled_off_and_keep_their_order_and_hue():
    nits = np.geomspace(20, 1000, 64)
    power = (nits / 10_000) ** 0.1593017578125
    ramp = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    grey = to_sdr(np.rint(np.dstack([ramp[None]] * 3) * 65535).astype(np.uint16), BT2020, PQ)[0, :, 0].astype(int)
    assert (np.diff(grey) >= 0).all() and len(set(grey[nits > 203])) > 8  # nothing above white is cut off at once
    assert grey[-1] == 255 and abs(grey[np.abs(nits - 203).argmin()] - 242) <= 2


@pytest.mark.parametrize("trc", [ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67])
@pytest.mark.parametrize("full_range", [False, True])
def test_an_hdr_video_comes_as_sdr(sdr, tmp_path, trc, full_range):
    signal = hdr_signal(sdr, int(trc))
    path = film(tmp_path / "hdr.mkv", signal, "yuv444p10le", Colorspace.BT2020, full_range, ColorPrimaries.BT2020, trc)
    assert difference(next(iter(VideoReader(path))), sdr) < 2


@pytest.mark.parametrize("colorspace", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("full_range", [False, True])
def test_matrix_and_range_of_an_sdr_video_are_obeyed(sdr, tmp_path, colorspace, full_range):
    tags = ColorPrimaries.BT709, ColorTrc.BT709
    path = film(tmp_path / "sdr.mkv", sdr / 255, "yuv444p", colorspace, full_range, *tags)
    assert difference(next(iter(VideoReader(path))), sdr) < 2


@pytest.mark.parametrize(
    "primaries, trc, gamma, matrix",
    [
        (ColorPrimaries.BT2020, ColorTrc.BT2020_10, 2.4, FROM_BT709),
        (ColorPrimaries.SMPTE432, ColorTrc.BT709, 2.4, FROM_BT709_TO_P3),
    ],
)
def test_a_wide_gamut_video_is_brought_to_bt709(sdr, tmp_path, primaries, trc, gamma, matrix):
    signal = ((sdr / 255) ** gamma @ matrix.T) ** (1 / gamma)
    path = film(tmp_path / "wide.mkv", signal, "yuv444p10le", Colorspace.BT2020, False, primaries, trc)
    assert difference(signal * 255, sdr) > 3
    assert difference(next(iter(VideoReader(path))), sdr) < 2


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("kind", ["heic", "avif", "png", "profile"])
def test_an_hdr_photo_comes_as_sdr(sdr, tmp_path, transfer, kind):
    path = photo(tmp_path / "hdr", hdr_signal(sdr, transfer), kind, BT2020, transfer)
    assert difference(load_image(path), sdr) < 4


def test_a_photo_in_display_p3_by_its_numbers_comes_as_srgb(sdr, tmp_path):
    signal = ((sdr / 255) ** 2.2 @ FROM_BT709_TO_P3.T) ** (1 / 2.2)
    assert difference(load_image(photo(tmp_path / "wide", signal, "png", 12, 13)), sdr) < 2


def test_numbers_of_a_usual_photo_change_nothing(sdr, tmp_path):
    assert difference(load_image(photo(tmp_path / "usual", sdr / 255, "png", 1, 13)), sdr) == 0


def photo(path, signal, kind, primaries, transfer):
    """A picture of floats in 0..1 whose file states primaries and transfer."""
    image = Image.fromarray(np.rint(signal * 255).astype(np.uint8))
    path = path.with_suffix(f".{kind.replace('profile', 'png')}")
    if kind == "heic":
        numbers = {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": 9}
        pillow_heif.from_pillow(image).save(path, quality=-1, chroma=444, **numbers)
    elif kind == "avif":
        held = io.BytesIO()
        image.save(held, "AVIF", quality=100, subsampling="4:4:4")
        before, box, after = held.getvalue().partition(b"colrnclx")
        path.write_bytes(before + box + struct.pack(">HH", primaries, transfer) + after[4:])
    elif kind == "png":
        held = io.BytesIO()
        image.save(held, "PNG")
        chunk = b"cICP" + bytes([primaries, transfer, 0, 1])
        chunk = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(held.getvalue()[:33] + chunk + held.getvalue()[33:])  # behind the header
    else:
        tag = b"cicp" + bytes(4) + bytes([primaries, transfer, 0, 1])
        header = struct.pack(">I4s", 144 + 12, b"none") + bytes(120)
        image.save(path, icc_profile=header + struct.pack(">I4sII", 1, b"cicp", 144, 12) + tag)
    return path
