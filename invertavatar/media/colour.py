"""Colours of high dynamic range and wide gamut, brought to what screens of BT.709 show.

Light is relative to SDR white. Numbers of primaries and transfers are those of ITU-T H.273, which ffmpeg, AVIF, HEIF
and PNG share.

1. Signal to light: PQ by its EOTF, HLG by its inverse OETF and an OOTF of gamma 1.2 for a screen of 1000 nits, both so
   that the reference white of 203 nits (ITU-R BT.2408) is SDR white; SDR by the screen's gamma. The OOTF acts on each
   channel, as in zimg, which ffmpeg converts with, and not on the luminance (ITU-R BT.2100).
2. Light from BT.2020 or P3 to BT.709 primaries.
3. Light to signal by the inverse of the SDR screen's gamma (ITU-R BT.1886: 2.4).
4. What comes within a tenth of SDR white is rolled off up to 1000 nits, alike in all channels, so that hue stays.

Shapes: H W picture.
"""

from functools import lru_cache

import cv2
import numpy as np

BT709, UNSPECIFIED, BT2020, DCI_P3, DISPLAY_P3 = 1, 2, 9, 11, 12  # primaries
SRGB, GAMMA22, PQ, HLG = 13, 4, 16, 18  # transfers
HDR = (PQ, HLG)

REFERENCE_WHITE, PEAK = 203.0, 1000.0  # nits
OOTF_GAMMA = 1.2
KNEE = 0.9  # of the SDR signal, below which it stays as it is
STRIP = 2**18  # pixels converted at a time: they fit a processor's cache

# Light of these primaries -> light of BT.709; all share the white D65 but DCI-P3, which is adapted to it (Bradford).
TO_BT709 = {
    BT2020: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    DISPLAY_P3: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
    DCI_P3: ((1.157490, -0.154991, -0.002499), (-0.041500, 1.045561, -0.004061), (-0.018050, -0.078598, 1.096648)),
}


def is_foreign(primaries: int, transfer: int) -> bool:
    """Whether colours so tagged are of high dynamic range or of a wide gamut."""
    return transfer in HDR or primaries in TO_BT709


def to_sdr(picture: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """Brings a picture to SDR.

    Args:
        picture: [H, W, 3] uint8 or uint16 RGB, full range.
        primaries: Those of the picture; BT.2020 where HDR states none.
        transfer: PQ, HLG, or any other for SDR.

    Returns:
        [H, W, 3] uint8.
    """
    if primaries not in TO_BT709 and not (transfer in HDR and primaries == UNSPECIFIED):
        matrix = np.eye(3, dtype=np.float32)
    else:
        matrix = np.array(TO_BT709.get(primaries, TO_BT709[BT2020]), np.float32)
    light = _light(transfer, 1 + np.iinfo(picture.dtype).max)
    result = np.empty(picture.shape, np.uint8)
    rows = max(1, STRIP // picture.shape[1])
    for top in range(0, len(picture), rows):
        strip = cv2.transform(light[picture[top : top + rows]], matrix)
        signal = cv2.pow(np.maximum(strip, 0), 1 / _screen_gamma(transfer))
        if transfer in HDR:
            signal *= _roll_off(signal.reshape(-1, 3)).reshape(*signal.shape[:2], 1)
        result[top : top + rows] = cv2.convertScaleAbs(signal, alpha=255)  # rounds, and clips above white
    return result


@lru_cache(maxsize=8)
def _light(transfer: int, levels: int) -> np.ndarray:
    """[levels] float32: the light of each code."""
    signal = np.linspace(0, 1, levels)
    if transfer == PQ:  # SMPTE ST 2084
        power = signal ** (32 / 2523)
        nits = 10_000 * (np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)) ** (16384 / 2610)
    elif transfer == HLG:  # ARIB STD-B67
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        nits = PEAK * scene**OOTF_GAMMA
    else:
        nits = REFERENCE_WHITE * signal ** _screen_gamma(transfer)
    return (nits / REFERENCE_WHITE).astype(np.float32)


def _screen_gamma(transfer: int) -> float:
    return 2.2 if transfer in (SRGB, GAMMA22) else 2.4


def _roll_off(signal: np.ndarray) -> np.ndarray:
    """[N, 1] factors for signals [N, 3], decided by the brightest channel."""
    brightest = np.maximum(np.maximum(signal[:, 0], signal[:, 1]), signal[:, 2])
    factor = np.ones_like(brightest)
    bright = brightest > KNEE
    x = brightest[bright]
    above, peak = (x - KNEE) / (1 - KNEE), ((PEAK / REFERENCE_WHITE) ** (1 / 2.4) - KNEE) / (1 - KNEE)
    # Reinhard's curve with a white point: slope 1 at the knee, SDR white at the peak.
    factor[bright] = (KNEE + (1 - KNEE) * above * (1 + above / peak**2) / (1 + above)) / x
    return factor[:, None]
