"""What the photos show of the surface behind each pixel of a frame: looked up in the photos themselves, relit.

Shapes: B batch of frames, N photos, V vertices of the head model, S side of a photo, H side of a frame.

Each vertex knows where it lies in each photo. What a pixel sees is looked up there if the photo saw it, else at its
mirror image on the other half of the head. Beside the head model, where strands and shoulders are, the way from pixel
to photo goes on as it is at the outline. Light is fixed to the camera: skin that turns takes the shade of where it
turns to (spherical harmonics of order one, fitted to the photo itself).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera, inverse, pixel_centres
from ..head.head_model import HeadModel
from ..raster.rasterizer import interpolate, rasterize
from ..runtime.fixed_sizes import current_sizes
from .resize import resample, resize
from .surface import GROUPS, BareSurface, HeadSurface, unit, vertex_groups, vertex_normals
from .uv import extend_border

SKIN_GROUPS = (("ear",), ("neck",))  # of which light is learned, beside the face


class ReprojectionSettings(NamedTuple):
    """What decides how photos are looked up; lengths in head units."""

    depth_size: int = 256  # pixels of the picture of depths that decides what hides what
    tolerance: float = 0.03  # by which a place may lie behind the drawn surface and still count as seen
    grazing: float = 0.25  # cosine to the line of sight from which on a place is seen as well as any
    edge: float = 0.012  # at a matte's edge in which skin and hair are mixed with what is behind them
    covered: float = 0.02  # inside the head's outline in a photo, from which on it shows nothing beside a head
    flow_size: int = 128  # pixels, a power of two, at which the way from pixel to photo goes on beside the head
    largest_gain: float = 0.7  # of relighting, in natural logarithm
    light_ridge: float = 0.02
    light_outlier: float = 0.15  # difference of log luminance that makes a place count half for the light
    mirrored: float = 0.02  # weight of the mirrored half in what unseen places are filled from
    rounds: int = 300  # in which colours spread over the mesh
    negligible: float = 0.01  # weight of a photo, relative to the nearest one's, that does not show


class Sources(NamedTuple):
    """The photos of an avatar and where the head lies in each."""

    # [B, N, 8, S, S] colour in -1..1, matte and real pixels in 0..1, person beyond doubt, depth of the drawn surface,
    # and in 0..1 whether it covers the place
    picture: Tensor
    place: Tensor  # [B, N, V, 3] right, down, and depth of each vertex in the photo
    normal: Tensor  # [B, N, V, 3] in camera space
    light: Tensor  # [B, N, 3] logarithm of the light's change over the unit sphere of normals
    albedo: Tensor  # [B, N, V, 4] logarithm of each vertex' colour (0..1) without light, and how well it is seen


class Reprojection(NamedTuple):
    """What the photos together say of each pixel."""

    colour: Tensor  # [B, 3, H, H] in -1..1, also beside the head
    seen: Tensor  # [B, 1, H, H] in 0..1 how well a photo shows this surface
    matte: Tensor  # [B, 1, H, H] in 0..1 whether the photos have the person there, also beside the head
    inside: Tensor  # [B, 1, H, H] in 0..1 whether they have pixels there
    mirrored: Tensor  # [B, 3, H, H] colour of the other side
    mirrored_seen: Tensor  # [B, 1, H, H]
    fill: Tensor  # [B, 3, H, H] what unseen places look like by their surroundings


def sources(
    head_model: HeadModel, picture: Tensor, vertices: Tensor, rotation: Tensor, settings: ReprojectionSettings
) -> Sources:
    """Prepare photos.

    Args:
        head_model: The head model.
        picture: [B, N, 5, S, S] colour, matte and real pixels.
        vertices: [B, N, V, 3] the dressed head as each photo shows it.
        rotation: [B, N, 3, 3] head -> camera.
        settings: Of reprojection.
    """
    batch = len(picture)
    triangles = head_model.triangles
    picture, vertices, rotation = (x.flatten(0, 1) for x in (picture, vertices, rotation))
    place = Camera(rotation).project(vertices)
    drawn = rasterize(place, triangles, settings.depth_size)
    depth = interpolate(place[..., 2:], drawn, triangles).masked_fill(~drawn.mask[:, None], -2)
    depth = F.max_pool2d(depth, 3, 1, 1)
    margin = max(round(settings.covered * settings.depth_size / 2), 1)
    covered = -F.max_pool2d(-drawn.mask[:, None].float(), 2 * margin + 1, 1, margin)
    normals = vertex_normals(vertices, triangles) @ rotation.mT
    kernel = 2 * max(round(settings.edge * picture.shape[-1] / 2), 1) + 1
    doubtless = -F.max_pool2d(-picture[:, 3:4] * (picture[:, 4:] > 0), kernel, 1, kernel // 2)
    doubtless = (doubtless * 2 - 1).clamp(0, 1) * picture[:, 4:]
    depth = F.interpolate(depth, size=picture.shape[-1], mode="nearest")
    covered = F.interpolate(covered, size=picture.shape[-1], mode="bilinear", align_corners=False)
    picture = torch.cat([picture, doubtless, depth, covered], 1)

    grid = place[:, None, :, :2]
    looks = F.grid_sample(picture[:, :6], grid, align_corners=False)[:, :, 0].mT
    before = F.grid_sample(depth, grid, mode="nearest", align_corners=False)[:, 0, 0] - place[..., 2]
    seen = _visible(before, settings) * (normals[..., 2] / settings.grazing).clamp(0, 1) * looks[..., 5]
    logs = (looks[..., :3].clamp(-1, 1) / 2 + 0.5).clamp(min=0.02).log()
    groups = vertex_groups(head_model)
    skin = 1 - sum(groups[:, k] for k, group in enumerate(GROUPS) if group not in SKIN_GROUPS)
    light = _light(logs.mean(-1), normals, seen * skin, settings)
    shade = (normals * light[:, None]).sum(-1)
    albedo = torch.cat([logs - shade[..., None], seen[..., None]], -1)
    return Sources(*(x.unflatten(0, (batch, -1)) for x in (picture, place, normals, light, albedo)))


def _visible(before: Tensor, settings: ReprojectionSettings) -> Tensor:
    """In 0..1 whether a place shows that lies so far behind the drawn surface."""
    return (2 - before / settings.tolerance).clamp(0, 1)


def _light(logs: Tensor, normals: Tensor, weight: Tensor, settings: ReprojectionSettings) -> Tensor:
    """Robust ridge regression of log luminance [N, V] on normals [N, V, 3] -> [N, 3]."""
    ridge, trust = settings.light_ridge * torch.eye(3, device=logs.device), weight
    for _ in range(5):
        normalized = (trust / trust.sum(1, keepdim=True).clamp(min=1e-6))[..., None]
        design, brightness = (x - (x * normalized).sum(1, keepdim=True) for x in (normals, logs[..., None]))
        weighted = design * normalized
        light = inverse(weighted.mT @ design + ridge) @ (weighted.mT @ brightness)  # [N, 3, 1]
        error = (brightness - design @ light)[..., 0]
        trust = weight / (1 + (error / settings.light_outlier) ** 2)
    return light[..., 0]


def filled(head_model: HeadModel, photos: Sources, weight: Tensor, settings: ReprojectionSettings) -> Tensor:
    """The logarithm of each vertex' colour without light, [B, V, 3]: as the photos of weights [B, N] show it, else as
    they show the other side, else that of its neighbours on the mesh.
    """
    mirror, groups = head_model.mirror.long(), vertex_groups(head_model)
    logs, seen = photos.albedo.split([3, 1], -1)
    seen = seen * (weight / weight.amax(1, keepdim=True).clamp(min=1e-12))[..., None, None]
    known = torch.cat([logs * seen, seen], -1).sum(1)
    known = known + settings.mirrored * not_cloth(groups) * known[:, mirror]
    return _spread(
        known[..., :3] / known[..., 3:].clamp(min=1e-6), known[..., 3:], head_model.triangles, groups, settings
    )


def not_cloth(groups: Tensor) -> Tensor:
    """[V, 1] in 0..1 how far a vertex may take what its mirror image has: clothes are not mirrored."""
    return 1 - groups[:, GROUPS.index(("torso",)), None]


def _spread(
    values: Tensor, weight: Tensor, triangles: Tensor, groups: Tensor, settings: ReprojectionSettings
) -> Tensor:
    """Values [B, V, C] of vertices without weight [B, V, 1] become the mean of their neighbours', by diffusion.

    Hair takes nothing from skin, and cloth from neither.
    """
    cloth, hair = (groups[:, GROUPS.index((name,))] > 0.5 for name in ("torso", "scalp"))
    kind = torch.where(cloth, 2, torch.where(hair, 1, 0))
    trust = (weight / 0.05).clamp(max=1)
    whole = (values * trust).sum(1, keepdim=True) / trust.sum(1, keepdim=True).clamp(min=1e-6)
    start = torch.zeros_like(values)
    for k in range(3):
        member = (kind == k)[:, None].float()
        mass = (trust * member).sum(1, keepdim=True)
        mean = (values * trust * member).sum(1, keepdim=True) / mass.clamp(min=1e-6)
        certainty = (mass / 5).clamp(max=1)
        start = start + member * whole.lerp(mean, certainty)
    a, b, c = triangles.long().unbind(1)
    ends = torch.cat([torch.stack(pair) for pair in ((a, b), (b, c), (c, a))], 1)
    ends = torch.cat([ends, ends.flip(0)], 1)
    ends = ends[:, kind[ends[0]] == kind[ends[1]]]
    count = torch.bincount(ends[0], minlength=len(groups))
    neighbours, first = ends[1][ends[0].argsort()], count.cumsum(0) - count
    known = (values * trust).transpose(0, 1).flatten(1)  # [V, B C]
    free = (1 - trust).expand_as(values).transpose(0, 1).flatten(1) * (count > 0)[:, None]
    flat = start.transpose(0, 1).flatten(1)
    alone = flat * (1 - trust).expand_as(values).transpose(0, 1).flatten(1) * (count == 0)[:, None]
    flat = known + free * flat + alone
    for _ in range(settings.rounds):
        flat = known + free * F.embedding_bag(neighbours, flat, first, mode="mean") + alone
    return flat.unflatten(1, values[:, 0].shape).transpose(0, 1)


class Seen(NamedTuple):
    """What the photos together show of each pixel, as `Reprojection` has it."""

    colour: Tensor
    seen: Tensor
    matte: Tensor
    inside: Tensor


def reproject(
    head_model: HeadModel,
    photos: Sources,
    fill: Tensor,
    blend: Tensor,
    surface: HeadSurface,
    settings: ReprojectionSettings,
) -> Reprojection:
    """Look photos up.

    Args:
        head_model: The head model.
        photos: Of B avatars, or of one.
        fill: [B, V, 3] from `filled`, or of one.
        blend: [B, N] how much each photo counts, the most 1.
        surface: Of B frames.
        settings: Of reprojection.
    """
    photos, blend = _chosen(photos, blend, settings)
    own = _ways(photos)
    ways = torch.cat([own, own[:, :, head_model.mirror.long()]], 1)  # [B, 2 N, V, 6]
    drawn = _interpolated(head_model, ways, surface, fill)
    own, other = drawn[:, :-3].unflatten(1, (2, -1, 6)).unbind(1)  # [B, N, 6, H, H]
    own, other = (
        _seen(photos, own, blend, surface, settings, beside=True),
        _seen(photos, other, blend, surface, settings),
    )
    light = torch.einsum("bn,bnc->bc", blend / blend.sum(1, keepdim=True), photos.light.expand(len(blend), -1, -1))
    fill = ((drawn[:, -3:] + _lit(light, surface.normal)).exp() * 2 - 1).clamp(-1, 1) * surface.mask
    cloth = surface.groups[:, GROUPS.index(("torso",)), None]  # is not mirrored
    return Reprojection(*own, other.colour, other.seen * (1 - cloth), fill)


def looked_closer(
    head_model: HeadModel,
    photos: Sources,
    blend: Tensor,
    surface: HeadSurface | BareSurface,
    settings: ReprojectionSettings,
) -> Seen:
    """What photos themselves show, alone; the arguments are those of `reproject`."""
    photos, blend = _chosen(photos, blend, settings)
    drawn = _interpolated(head_model, _ways(photos), surface)
    return _seen(photos, drawn.unflatten(1, (-1, 6)), blend, surface, settings, beside=True)


def _ways(photos: Sources) -> Tensor:
    """[B, N, V, 6] what leads from vertices to photos."""
    return torch.cat([photos.place, photos.normal], -1)


def _interpolated(head_model: HeadModel, ways: Tensor, surface: HeadSurface | BareSurface, *more: Tensor) -> Tensor:
    """Ways [B, N, V, 6] of vertices, and more of them [B, V, C], at pixels [B, 6 N + C, H, H]; B or of one."""
    tables = [x.expand(len(surface.mask), -1, -1) for x in (ways.transpose(1, 2).flatten(2), *more)]
    return interpolate(torch.cat(tables, -1), surface.fragments, head_model.triangles)


def _seen(
    photos: Sources,
    ways: Tensor,
    blend: Tensor,
    surface: HeadSurface | BareSurface,
    settings: ReprojectionSettings,
    beside: bool = False,
) -> Seen:
    """All photos at the places [B, N, 6, H, H] where they have what pixels see; `beside` is that of `_looked_at`."""
    looks = [_looked_at(photos, n, way, surface, settings, beside) for n, way in enumerate(ways.unbind(1))]
    looks = torch.stack(looks)  # [N, B, 6, H, H]
    own = 0.01 * looks[:, :, 5:] if beside else 0.0
    weight = blend.T[..., None, None, None] * (looks[:, :, 3:4] + own + 1e-4)
    return Seen(*((looks * weight).sum(0) / weight.sum(0)).split([3, 1, 1, 1], 1))


def empty_reprojection(surface: HeadSurface, colour: Tensor) -> Reprojection:
    """The reprojection of no photos: whatever is asked for has the colours [B, 3, h, h] that are there instead."""
    none, colour = torch.zeros_like(surface.mask), resize(colour, surface.mask.shape[-1])
    return Reprojection(colour, none, none, none, colour, none, colour)


def _chosen(photos: Sources, blend: Tensor, settings: ReprojectionSettings) -> tuple[Sources, Tensor]:
    """Only the photos that show in any of the frames."""
    sizes, blend = current_sizes(), blend.where(blend > settings.negligible, 0)
    if sizes is None:
        used = (blend > 0).any(0)
        return Sources(*(x[:, used] for x in photos)), blend[:, used]
    if sizes.photos >= blend.shape[1]:
        return photos, blend
    sizes.need(((blend > 0).sum(1) > sizes.photos).any())
    blend, used = blend.topk(sizes.photos, 1)
    frame = torch.arange(len(blend), device=used.device)[:, None]
    return Sources(*(x.expand(len(blend), *x.shape[1:])[frame, used] for x in photos)), blend


def _looked_at(
    photos: Sources,
    n: int,
    way: Tensor,
    surface: HeadSurface | BareSurface,
    settings: ReprojectionSettings,
    beside: bool,
) -> Tensor:
    """Photo n at the places [B, 6, H, H] where it has what pixels see: colour, how well seen, matte, real pixels.

    With `beside` the way goes on beside the head.
    """
    picture, light = (x[:, n].expand(len(way), *x.shape[2:]) for x in (photos.picture, photos.light))
    place, depth, normal = way.split([2, 1, 3], 1)
    limit = settings.largest_gain
    # Both normals are of length 1 at the pixel itself: a head that does not turn keeps its light.
    gain = (_lit(light, surface.normal) - _lit(light, unit(normal))).clamp(-limit, limit) * surface.mask
    if beside:
        right, up = pixel_centres(way.shape[-1], way.device)
        here = torch.stack([right, -up])
        place, gain = extend_border(torch.cat([place - here, gain], 1), surface.mask, settings.flow_size).split(
            [2, 1], 1
        )
        place = place + here
    grid = place.permute(0, 2, 3, 1)
    colour = ((resample(picture[:, :3], grid) + 1) * gain.exp() - 1).clamp(-1, 1)
    masks = F.grid_sample(picture[:, 3:], grid, align_corners=False)
    matte, inside, doubtless, before, covered = masks.split(1, 1)
    # An ear or a neck that the head model has is drawn where that is, and not once more beside it.
    matte = matte * (1 - covered * (1 - surface.mask))
    squarely = (normal[:, 2:] / settings.grazing).clamp(0, 1)
    seen = _visible(before - depth, settings) * squarely * doubtless * surface.mask
    return torch.cat([colour, seen, matte * inside, inside], 1)


def _lit(light: Tensor, normal: Tensor) -> Tensor:
    """The logarithm of light [B, 3] on normals [B, 3, H, H]: [B, 1, H, H]."""
    return torch.einsum("bc,bchw->bhw", light, normal)[:, None]
