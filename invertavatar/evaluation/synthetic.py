"""The protocol `synthetic`: drawn people, of whom every side is known exactly, up to the profile and beyond.

A person's most frontal picture, and then one that is turned, is the only photo of an avatar, which is compared with all
the others. Nothing is tracked: landmarks, scores and poses of photos and frames are those that were drawn. Only what
lies above the chin counts, as no photo says how the body stands below a head that was turned.

Shapes: S side of a crop.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..avatar import Avatar
from ..errors import InvertAvatarError
from ..metrics import paper as metrics
from ..metrics.angles import angles_between, yaw
from ..metrics.perceptual import LPIPS
from ..models.generator import CanonicalFeatures
from ..rendering.drive import Drive
from ..rendering.resize import resize
from ..synthetic.studio import DRESSED_LABELS
from ..tracking.portrait import Portrait
from ..training.shards import Shards
from .protocols import GREY, Outcome, Scores, average, over_grey

if TYPE_CHECKING:
    from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline

WANTED_YAW = 30.0  # degrees of yaw that the turned photo has at best
STEP = 15  # degrees to which angles between photo and frame are rounded
METRICS = ("psnr", "lpips", "iou", "depth")
SHOWN_ANGLES = (0, -60, 60, 90)  # degrees from the photo whose frames a sheet shows, the nearest there are
FACE, UNKNOWN = DRESSED_LABELS.index("face"), 0.5  # opacity from which on there is a head


def synthetic(pipe: "InvertAvatarPipeline", shards: Shards, lpips: LPIPS) -> Outcome:
    """Each person's most frontal picture and one turned by some 30 degrees as the only photo, compared with all others.

    Args:
        pipe: The model.
        shards: From scripts/make_synthetic_heads.py, with geometry.
        lpips: On the model's device.

    Returns:
        Scores by the angle between the heads of photo and frame, rounded to `STEP` degrees: `psnr`, `lpips`, `iou` of
        the outlines, and `depth`, the mean difference in head units where both have a head.

    Raises:
        InvertAvatarError: A picture lacks its geometry, or everybody has a single picture.
    """
    people = {person: [] for person in shards.people}
    for source in shards.sources:
        people[source.person] += source.faces.tolist()
    people = {person: faces for person, faces in people.items() if len(faces) > 1}
    if not people:
        raise InvertAvatarError("Everybody in these shards has a single picture: there is nothing to compare.")
    rows: dict[str, list[Scores]] = defaultdict(list)
    outcome = Outcome(columns=["photo", *(x for k in range(len(SHOWN_ANGLES)) for x in ("truth", "avatar"))])
    bar = pipe.progress_bar(people.items())
    bar.set_description("Synthetic")
    for person, faces in bar:
        yaws = np.array([yaw(shards.rotation[face]) for face in faces])
        frontal = faces[int(np.abs(yaws).argmin())]
        turned = faces[int(np.abs(np.abs(yaws) - WANTED_YAW).argmin())]
        for photo, kind in {frontal: "", turned: ", turned photo"}.items():
            avatar = pipe.add_portrait(None, portrait(pipe, shards, photo))
            features = pipe.canonical_features(avatar, shards.picture_size)
            angles = angles_between(shards.rotation[photo], shards.rotation[faces])
            pictures = {}
            for face, angle in zip(faces, angles, strict=True):
                if face == photo:
                    continue
                pictures[face], scores = compared(pipe, avatar, features, shards, face, lpips)
                rows[f"{STEP * round(angle / STEP):03d}{kind}"].append(scores)
            if not kind:
                shown = [person_over_grey(shards, photo)]
                for wanted in SHOWN_ANGLES:
                    face = min(pictures, key=lambda face: abs(yaw(shards.rotation[face]) - wanted))
                    shown += [person_over_grey(shards, face), pictures[face]]
                outcome.sheet.append((person, shown))
    outcome.scores = {case.lstrip("0") or "0": average(rows[case], METRICS) for case in sorted(rows)}
    return outcome


def compared(
    pipe: "InvertAvatarPipeline", avatar: Avatar, features: CanonicalFeatures, shards: Shards, face: int, lpips: LPIPS
) -> tuple[np.ndarray, Scores]:
    """The avatar as in a face, [S, S, 3] uint8 over grey, and what it scores."""
    geometry, size = shards.geometry(face), shards.picture_size
    if geometry is None:
        raise InvertAvatarError("These shards lack geometry: scripts/make_synthetic_heads.py makes ones that have it.")
    colour, opacity, depth = rendered(pipe, avatar, features, shards, face, size)
    over = (colour[0] + 1) * 127.5 + (1 - opacity[0]) * (GREY - 127.5)
    picture = over.permute(1, 2, 0).round().clamp(0, 255).byte().cpu().numpy()
    truth, matte = person_over_grey(shards, face), shards.matte(face) > 255 * UNKNOWN
    chin = int(np.flatnonzero((geometry.labels == FACE).any(1)).max()) + 1
    tensors = [torch.from_numpy(x[:chin].copy()).permute(2, 0, 1)[None] / 255 for x in (picture, truth)]
    own = opacity[0, 0, :chin].cpu().numpy()
    there, both = own > UNKNOWN, (own > UNKNOWN) & np.isfinite(geometry.depth[:chin])
    far = np.abs(depth[0, 0, :chin].cpu().numpy() / own.clip(1e-6) - geometry.depth[:chin])[both]
    scores = {
        "psnr": float(metrics.psnr(*tensors)),
        "lpips": float(lpips(*(2 * x.to(pipe.device) - 1 for x in tensors))),
        "iou": float((there & matte[:chin]).sum() / max((there | matte[:chin]).sum(), 1)),
    }
    return picture, scores | ({"depth": float(far.mean())} if len(far) else {})


@torch.no_grad()
def rendered(
    pipe: "InvertAvatarPipeline", avatar: Avatar, features: CanonicalFeatures, shards: Shards, face: int, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `InvertAvatarPipeline.render_frames`; a frame in which the body is where a tracker would have it."""
    landmarks, scores, rotation = (x.to(pipe.device) for x in known(shards, face))
    shape = avatar.shape
    residual = pipe.head_model.residual(landmarks, shape.landmarks, scores)
    clip = Drive(scores, residual, rotation, rotation)
    camera = {"field_of_view": None, "zoom": 1.0}
    return pipe.render_frames(avatar, features, clip, camera, size)


def portrait(pipe: "InvertAvatarPipeline", shards: Shards, face: int) -> Portrait:
    """A drawn picture as a photo. Its landmarks are given what a tracker would add, which is taken off them again."""
    landmarks, scores, rotation = known(shards, face)
    picture = torch.from_numpy(shards.picture(face).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    matte = torch.from_numpy(shards.matte(face))[None, None].float() / 255
    tracked = landmarks + pipe.head_model.bias(rotation.to(pipe.device)).cpu()
    thumbnail = ((resize(picture, 96)[0] + 1) * 127.5).round().clamp(0, 255).byte()
    size = shards.picture_size
    return Portrait("", picture, matte, torch.ones_like(matte), tracked, scores, rotation, size / 2, thumbnail).to(
        pipe.device
    )


def known(shards: Shards, face: int) -> tuple[Tensor, Tensor, Tensor]:
    """Landmarks [1, 478, 3], scores [1, 52] and rotation [1, 3, 3] of a face."""
    landmarks = torch.from_numpy(shards.vertices[face].astype(np.float32))
    scores = torch.from_numpy(shards.expression[face].astype(np.float32) / 255)
    return landmarks[None], scores[None], torch.from_numpy(shards.rotation[face])[None]


def person_over_grey(shards: Shards, face: int) -> np.ndarray:
    """[S, S, 3] uint8."""
    return over_grey(shards.picture(face), shards.matte(face) / 255)
