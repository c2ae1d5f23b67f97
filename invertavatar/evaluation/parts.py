"""The protocol `parts`: what each learned part is worth, in the weights as they are.

Avatars of one photo, the photos and pairs of the protocol `turned`, rendered whole and with one part silenced. Nothing
is trained anew: other parts may have learned to rely on the one that is missing.
"""

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..avatar import Avatar
from ..errors import NoFaceError
from ..metrics import paper as metrics
from ..models.recurrent_unet import FusionState
from ..tracking.portrait import Portrait
from .protocols import SAME_METRICS, Evaluation, Outcome, Scores, average
from .turned import compared_frames, photo_frames

if TYPE_CHECKING:
    from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline

NUM_FRAMES = 5  # compared, of each clip
FAR = 20.0  # degrees from the photo that have rows of their own


def parts(evaluation: Evaluation, num_frames: int = NUM_FRAMES) -> Outcome:
    """Each clip's least, middle and most turned frame as the only photo, compared with frames over the whole clip.

    Args:
        evaluation: Of the model and the clips.
        num_frames: Compared, of each clip.

    Returns:
        Scores by the name of what is silenced (`silenced`), of all pairs and of those further apart than `FAR` degrees.
        A row of pictures for each clip, at the largest angle.
    """
    rows: dict[str, list[Scores]] = defaultdict(list)
    outcome = Outcome(columns=["photo", "truth"])
    for clip in evaluation.progress(evaluation.clips, "Parts"):
        compared, shown = compared_frames(clip, num_frames), {}
        for photo in photo_frames(clip):
            try:
                (portrait,) = evaluation.portraits(clip, [photo])
            except NoFaceError:  # found in the video, where the frames before help, and not in the frame alone
                continue
            frames = [frame for frame in compared if frame != photo]
            targets = evaluation.targets(clip, frames)
            angles = [metrics.pose_error(clip.track(photo), clip.track(frame)) for frame in frames]
            far = max(range(len(frames)), key=angles.__getitem__)
            row = [portrait.picture, targets[far].face.picture]
            for name, avatar in silenced(evaluation.pipe, portrait).items():
                pictures = evaluation.render(evaluation.pipe, avatar, targets)
                row.append(pictures[far])
                for angle, target, picture in zip(angles, targets, pictures, strict=True):
                    scores = evaluation.judge.compare(evaluation.judge.look(picture), target.face) | {"angle": angle}
                    rows[name].append(scores)
                    if angle > FAR:
                        rows[f"{name}, > {FAR:.0f}°"].append(scores)
            shown[angles[far]] = row
        if shown:
            outcome.sheet.append((f"{clip.name}, {max(shown):.0f}°", shown[max(shown)]))
    names = list(rows)
    outcome.columns += [name for name in names if ">" not in name]
    ordered = sorted(names, key=lambda name: ">" in name)  # stable: all pairs first, then the far ones
    outcome.scores = {name: average(rows[name], ("angle", *SAME_METRICS)) for name in ordered}
    return outcome


@torch.no_grad()
def silenced(pipe: "InvertAvatarPipeline", portrait: Portrait) -> dict[str, Avatar]:
    """Avatars of a photo: whole; with the average person's w+; with E_tex's and with E_tri's hidden state at zero; and
    of w+ alone, which is the coarse avatar.
    """
    whole, average_person = pipe.add_portrait(None, portrait), pipe.sample(seed=0, truncation_psi=0.0)
    return {
        "nothing": whole,
        "w+": pipe.add_portrait(average_person, portrait),
        "E_tex": replace(whole, texture_state=_zero(whole.texture_state)),
        "E_tri": replace(whole, triplane_state=_zero(whole.triplane_state)),
        "all but w+": replace(average_person, ws=whole.ws, shape=whole.shape, displacement=whole.displacement),
    }


def _zero(state: FusionState) -> FusionState:
    return state._replace(hidden=[torch.zeros_like(h) for h in state.hidden])
