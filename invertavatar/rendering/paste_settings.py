"""What decides how heads are put back into pictures (`plate`), without what that takes to read them."""

from typing import NamedTuple


class PasteSettings(NamedTuple):
    """What decides how heads are put back; lengths in head units."""

    longest: int = 4096  # side of a picture in pixels: larger ones are reduced
    largest: int = 1024  # pixels at which heads are rendered at most; what is finer is the picture's own
    places: int = 512  # pixels at most of the map that says where each pixel's surface was
    room: float = 1.2  # half the side of what is rendered: for a head that moves out of the crop
    others: float = 0.05  # weight of an avatar's photos beside the picture itself
    even: float = 0.1  # of how well a place is seen, below which it does not matter
    stretch: float = 3.0  # by which what was seen aslant is drawn out, from which on it is not kept
    soft: int = 5  # pixels over which places that are seen and that are not blend; odd
    strands: float = 9.0  # degrees of a turn over which strands beside the head go
    moves: float = 0.05  # that they are moved by, at least; shoulders stand and stay
    crown: tuple[float, float] = (0.0, 0.35)  # above the head's middle, between which hair is fitted to its outline
    fitted: tuple[float, float] = (0.9, 1.35)  # by which it may shrink and grow
    rim: float = 0.03  # around the person that is painted over
    fill: int = 256  # pixels at which it is painted
    edge: float = 0.12  # of what is rendered, over which it gives way to the picture
    far: tuple[float, float] = (0.25, 0.45)  # from the head model at rest, between which it does so too
    body: tuple[float, float] = (0.75, 1.05)  # beneath the head's middle, between which it does so
