"""What a tracker adds to a turned head, smooth enough to move a mesh whose mouth has an inside.

Shapes: V vertices, L landmarks; 7 terms of yaw and pitch (`bias_terms`), 20 of a place (see `terms`).

The head model's bias is that of each landmark by itself. Carried to a mesh it tears lips from teeth; what it is on the
whole, a polynomial of the place, is most of it and tears nothing.
"""

from itertools import chain, combinations_with_replacement

import torch
from torch import Tensor

from ..head.eyeballs import NUM_SURFACE_LANDMARKS
from ..head.head_model import HeadModel
from ..head.rest_pose import body_weight, hair_weight, smoothstep

ORDER = 3
BEHIND = (-0.1, 0.2)  # depths in head space between which it fades in: the back of the head has none


def fitted(head_model: HeadModel) -> Tensor:
    """[7, 20, 3] the bias of landmarks as a polynomial of their place."""
    places = head_model.landmarks(head_model.mean)[:NUM_SURFACE_LANDMARKS]
    bias = head_model.tracker_bias[:, :NUM_SURFACE_LANDMARKS].transpose(0, 1).flatten(1)  # [L, 21]
    # Rounded, as in the last bits, and in what is zero but for them, runs differ.
    solved = torch.linalg.lstsq(terms(places).cpu().double(), bias.cpu().double()).solution.round(decimals=9)
    return solved.to(bias.dtype).unflatten(1, (7, 3)).transpose(0, 1)


def field(bias: Tensor, vertices: Tensor) -> Tensor:
    """[7, 20, 3] of `fitted` at vertices [V, 3], on the face only: [7, V, 3]."""
    right, up, depth = vertices.unbind(-1)
    front, back = BEHIND[1], BEHIND[0]
    face = (1 - hair_weight(right, up)) * (1 - body_weight(up)) * smoothstep((depth - back) / (front - back))
    return terms(vertices) @ bias * face[:, None]


def terms(places: Tensor) -> Tensor:
    """[V, 3] -> [V, 20]: 1, x, y, z and their products of up to `ORDER` factors."""
    factors = [combinations_with_replacement(range(3), order) for order in range(ORDER + 1)]
    return torch.stack([places[:, list(axes)].prod(1) for axes in chain(*factors)], 1)
