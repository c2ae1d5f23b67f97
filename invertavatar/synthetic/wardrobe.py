"""What a synthetic person wears and what their skin and hair look like, drawn by a seed.

Shapes: P vertices of a proxy.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np

from ..head.makehuman import MakeHuman, Proxy, texture_of
from ..head_building.random_heads import RACES, Mixture
from .colours import GAMMA, Texture, blended, hair_colour, tinted
from .glasses import Glasses

SHORT_HAIR, LONG_HAIR = (
    ("short01", "short02", "short03", "short04"),
    ("bob01", "bob02", "long01", "braid01", "ponytail01"),
)
OVER_THE_EYE = ("bob01", "braid01", "short03")  # styles that hide a part of the face
IRISES = {"brown": 4, "brownlight": 2, "green": 1, "blue": 1, "grey": 1, "bluegreen": 0.5, "lightblue": 0.5}
HATS = ("fedora01", "fedora_cocked")
HAT, GLASSES = 0.07, 0.17  # shares of people


class Traits(NamedTuple):
    """What the shape of a person says about the rest."""

    races: np.ndarray  # [3] shares of `RACES`
    female: float  # 0..1
    old: float
    child: float

    @classmethod
    def of(cls, mixture: Mixture) -> "Traits":
        """Read from the weights of MakeHuman's race-sex-age targets."""
        weights = {
            k.split("/")[1]: w for k, w in mixture.items() if k.startswith(tuple(f"macrodetails/{r}" for r in RACES))
        }
        total = sum(weights.values())

        def fraction(word: str) -> float:
            return sum(w for k, w in weights.items() if word in k.split("-")) / total

        return cls(np.array([fraction(race) for race in RACES]), fraction("female"), fraction("old"), fraction("child"))


@dataclass(frozen=True)
class Material:
    """How a surface takes light."""

    gloss: float = 0.0  # strength of glints
    sharpness: float = 10.0  # of glints
    wrap: tuple[float, float, float] = (0.0, 0.0, 0.0)  # how far light creeps around, for red, green and blue
    through: float = 0.0  # share of the light that reaches what is in shadow: hair and teeth are not opaque
    hair: bool = False  # cards: lit from both sides, softly, as strands are
    clear: bool = False  # glints are seen however little opaque it is
    shades: bool = True  # throws shadows that are worth their time


SKIN = Material(0.05, 12, (0.3, 0.16, 0.12))
EYE, TOOTH = Material(0.5, 160), Material(0.12, 40, through=0.35, shades=False)
HAIR, BROW, CLOTH = (
    Material(0.07, 9, (0.3, 0.3, 0.3), through=0.3, hair=True),
    Material(through=0.3, hair=True, shades=False),
    Material(wrap=(0.1, 0.1, 0.1)),
)
FRAME, LENS = Material(0.3, 40), Material(0.25, 200, clear=True, shades=False)


@dataclass(frozen=True)
class Garment:
    """A proxy as a person wears it."""

    proxy: Proxy
    texture: Texture
    label: str
    material: Material
    card: bool = False  # seen through where alpha is low
    grown: np.ndarray = field(default_factory=lambda: np.ones(3))  # about the middle of the skull, for hair
    length: float = 1.0  # of what hangs below the chin
    mirrored: bool = False  # its left on the right


@dataclass(frozen=True)
class Outfit:
    """Everything but shape."""

    skin: Texture
    garments: list[Garment]
    hair_colour: np.ndarray  # [3] linear
    scalp: float  # how much the scalp is hidden by short hair, 0 bald to 1
    beard: float  # how much a beard's shadow darkens the chin
    glasses: Glasses | None


class Wardrobe:
    """Reads MakeHuman's proxies and textures once.

    Args:
        data: MakeHuman's folder.
        texture_size: The most texels that a texture has along its side.
    """

    def __init__(self, data: MakeHuman, texture_size: int = 1024):
        self.data, self.proxy = data, cache(data.proxy)
        self.texture = cache(lambda path: Texture.read(path, texture_size))

    def outfit(self, rng: np.random.Generator, mixture: Mixture) -> Outfit:
        """What someone of this shape might wear.

        Args:
            rng: Decides.
            mixture: The shape.
        """
        traits = Traits.of(mixture)
        woman = rng.random() < np.clip(1.6 * traits.female - 0.3, 0.02, 0.98)
        skin = self.skin(rng, traits, woman)
        colour = hair_colour(rng, traits.races, traits.old)
        hat = rng.random() < HAT
        bald = not woman and not hat and traits.child < 0.5 and rng.random() < 0.08 + 0.2 * traits.old
        garments = self.face(rng, colour) + self.clothes(rng, woman)
        if not bald:
            garments += self.hair(rng, traits, woman, colour, hat)
        if hat:
            name = rng.choice(HATS)
            proxy = self.proxy(f"clothes/{name}/{name}")
            felt = Texture.plain((rng.uniform(0.01, 0.45) + rng.normal(0, 0.03, 3)).clip(0.005))
            garments.append(Garment(proxy, felt, "hat", CLOTH))
        beard = rng.uniform(0, 0.75) if not woman and traits.child < 0.3 and rng.random() < 0.6 else 0.0
        scalp = rng.uniform(0, 0.35) if bald else 0.9
        glasses = Glasses.random(rng) if rng.random() < GLASSES else None
        return Outfit(skin, garments, colour, scalp, beard, glasses)

    def skin(self, rng: np.random.Generator, traits: Traits, woman: bool) -> Texture:
        """Two skins that suit a person, mixed and tinted."""
        names = [name for name in self.data.skins() if ("female" in name) == woman]
        ages = {"young": 1 - traits.old, "middleage": 1 - abs(2 * traits.old - 1), "old": traits.old}
        weights = []
        for name in names:
            age, race, *_ = name.split("/")[1].split("_")
            weights.append((traits.races[RACES.index(race)] + 0.01) * (ages[age] + 0.02) ** 1.5)
        pair = rng.choice(len(names), 2, p=np.array(weights) / sum(weights))
        one, other = (self.texture(texture_of(self.data.folder / f"{names[k]}.mhmat")) for k in pair)
        return tinted(blended(one, other, rng.uniform(0, 1)), rng)

    def face(self, rng: np.random.Generator, colour: np.ndarray) -> list[Garment]:
        """Eyes, teeth, tongue, brows and lashes."""
        names, odds = list(IRISES), np.array(list(IRISES.values()))
        iris = names[rng.choice(len(names), p=odds / odds.sum())]
        brow, lash = f"eyebrow{rng.integers(1, 13):03d}", f"eyelashes{rng.integers(1, 5):02d}"
        eyes = self.proxy("eyes/low-poly/low-poly", f"eyes/materials/{iris}")
        teeth, tongue = self.proxy("teeth/teeth_base/teeth_base"), self.proxy("tongue/tongue01/tongue01")
        brows, lashes = self.proxy(f"eyebrows/{brow}/{brow}"), self.proxy(f"eyelashes/{lash}/{lash}")
        yellowed = np.array([1, rng.uniform(0.9, 1), rng.uniform(0.75, 0.95)]) * rng.uniform(0.6, 0.9)
        dark = colour * rng.uniform(0.35, 0.8)
        return [
            Garment(eyes, self.texture(eyes.texture).times(rng.uniform(0.65, 0.85)), "eye", EYE),
            Garment(teeth, self.texture(teeth.texture).times(yellowed), "teeth", TOOTH),
            Garment(tongue, self.texture(tongue.texture).times(0.8), "tongue", TOOTH),
            Garment(brows, self.texture(brows.texture).dyed(dark, 0.6), "brow", BROW, card=True),
            Garment(lashes, self.texture(lashes.texture).dyed(np.full(3, 0.008), 0.2), "brow", BROW, card=True),
        ]

    def clothes(self, rng: np.random.Generator, woman: bool) -> list[Garment]:
        """A suit, dyed or as it is."""
        names = sorted(p.name for p in (self.data.folder / "clothes").iterdir())
        names = [n for n in names if n.startswith("female_" if woman else "male_")]
        name = names[rng.integers(len(names))]
        proxy = self.proxy(f"clothes/{name}/{name}")
        texture = self.texture(proxy.texture)
        if rng.random() < 0.7:
            texture = texture.dyed((rng.uniform(0.03, 0.9, 3) ** GAMMA).clip(0.01), rng.uniform(0.5, 1))
        return [Garment(proxy, texture, "cloth", CLOTH)]

    def hair(
        self, rng: np.random.Generator, traits: Traits, woman: bool, colour: np.ndarray, hat: bool
    ) -> list[Garment]:
        """One style, or two short ones over each other."""
        styles = list(LONG_HAIR if woman and rng.random() < 0.82 else SHORT_HAIR)
        if not woman and rng.random() < 0.06:
            styles = ["bob02", "ponytail01", "long01"]
        if not hat and rng.random() < 0.45 * traits.races[RACES.index("african")]:
            styles = ["afro01"]
        odds = np.array([0.5 if style in OVER_THE_EYE else 1.0 for style in styles])
        names = [rng.choice(styles, p=odds / odds.sum())]
        if names[0] in SHORT_HAIR and rng.random() < 0.25:
            names = [*rng.choice(SHORT_HAIR, 2, replace=False)]
        grown = 1 + rng.uniform(0, 0.04) + rng.uniform(0, (0.04, 0.05, 0.03))
        mirrored = rng.random() < 0.5
        length, contrast = rng.uniform(0.75, 1.15), rng.uniform(0.5, 0.9)
        garments = []
        for name in names:
            proxy = self.proxy(f"hair/{name}/{name}")
            texture = self.texture(proxy.texture)
            other = colour * np.exp(rng.normal(0, 0.25)) if rng.random() < 0.4 else colour
            ramp = np.linspace(0, 1, len(texture.alpha))[:, None, None]  # along the strands of most styles
            dyed = texture.dyed(colour * (1 - ramp) + other * ramp, contrast)
            garments.append(Garment(proxy, dyed, "hair", HAIR, True, np.ones(3) if hat else grown, length, mirrored))
        return garments
