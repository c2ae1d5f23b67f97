"""Plausible random heads: race, sex, age, weight and the identity sliders of MakeHuman, drawn by a seed.

A head is a mixture: target path ("ears/l-ear-scale-incr") -> weight. Targets add linearly to the base mesh.
"""

from functools import cache, cached_property

import numpy as np

from ..head.makehuman import MakeHuman, Morph

RACES, SEXES = ("african", "asian", "caucasian"), ("male", "female")
SLIDER_GROUPS = ("head", "nose", "mouth", "chin", "cheek", "eyes", "ears", "eyebrows", "forehead", "neck")
# How often a slider is moved at all and how far (standard deviation; weights end at +-1).
MOVED, SLIDER_SPREAD = 0.45, 0.38
SIDES_DIFFER = 0.06  # standard deviation between the two sides of a face
ONE_SIDED_MOVED, ONE_SIDED_MOST = 0.2, 0.6  # targets without an opposite
ASYMMETRIC_MOVED, ASYMMETRIC_SPREAD = 0.35, 0.25
LEANING = ("head/head-trans", "head/head-angle")  # pose rather than shape
LEANING_STRENGTH = 0.6

Mixture = dict[str, float]


class RandomHeads:
    """Draws heads and adds up their targets.

    Args:
        data: MakeHuman's folder.
    """

    def __init__(self, data: MakeHuman):
        self.data = data
        self.morph = cache(data.morph)
        self.face_unit = cache(data.face_unit)

    @cached_property
    def sliders(self) -> list[tuple[tuple[str, str | None], ...]]:
        """Each slider's (positive, negative) targets: one pair, or one for each side of the face."""
        sliders, taken = [], set()
        for group in SLIDER_GROUPS:
            present = set(self.data.targets(group))
            for category in self.data.sliders[group]["categories"]:
                ends = category.get("opposites") or {}
                sides = ("left", "right") if category["has_left_and_right"] else ("unsided",)
                pairs = [(ends.get(f"positive-{s}", ""), ends.get(f"negative-{s}", "")) for s in sides]
                if not pairs[0][0]:
                    pairs = [(category["targets"][0], "")]
                if all(not name or name in present for pair in pairs for name in pair):
                    taken |= {f"{group}/{name}" for pair in pairs for name in pair if name}
                    sliders.append(tuple((f"{group}/{a}", f"{group}/{b}" if b else None) for a, b in pairs))
            for name in sorted(present):
                if f"{group}/{name}" not in taken:
                    sliders.append(((f"{group}/{name}", None),))
        return sliders

    @cached_property
    def asymmetries(self) -> list[tuple[str, str]]:
        """The two ends of each slider that makes the sides of a face differ."""
        names = [name for name in self.data.targets("asym") if name.startswith("asym-") and name.endswith("-l")]
        return [(f"asym/{name}", f"asym/{name[:-1]}r") for name in names]

    def draw(self, rng: np.random.Generator, strength: float = 0.8, children: float = 0.06) -> Mixture:
        """A random head.

        Args:
            rng: Decides.
            strength: How far the sliders go.
            children: Share of children.
        """
        mixture = {}
        male = rng.beta(0.35, 0.35)
        sexes = dict(zip(SEXES, (male, 1 - male), strict=True))
        races = dict(zip(RACES, rng.dirichlet([0.45] * 3), strict=True))
        if rng.random() < children:
            grown = rng.uniform(0, 0.8)
            ages = {"child": 1 - grown, "young": grown}
        else:
            old = rng.beta(0.8, 1.1)
            ages = {"young": 1 - old, "old": old}
        heavy = float(np.clip(rng.normal(0, 0.45), -1, 1))
        weights = {"averageweight": 1 - abs(heavy), "maxweight" if heavy > 0 else "minweight": abs(heavy)}
        for sex, s in sexes.items():
            for age, a in ages.items():
                mixture |= {f"macrodetails/{race}-{sex}-{age}": r * s * a for race, r in races.items()}
                name = f"macrodetails/universal-{sex}-{age}-averagemuscle"
                mixture |= {f"{name}-{weight}": s * a * w for weight, w in weights.items()}
        for pairs in self.sliders:
            amplitude = strength * (LEANING_STRENGTH if pairs[0][0].startswith(LEANING) else 1)
            if pairs[0][1] is None:
                if rng.random() < ONE_SIDED_MOVED:
                    amount = rng.uniform(0, ONE_SIDED_MOST) * amplitude
                    mixture |= {positive: amount for positive, _ in pairs}
            elif rng.random() < MOVED:
                amount = float(np.clip(rng.normal(0, SLIDER_SPREAD), -1, 1)) * amplitude
                for pair in pairs:
                    side = amount + (rng.normal(0, SIDES_DIFFER) * amplitude if len(pairs) > 1 else 0)
                    mixture[pair[0] if side > 0 else pair[1]] = abs(side)
        for pair in self.asymmetries:
            if rng.random() < ASYMMETRIC_MOVED:
                amount = float(np.clip(rng.normal(0, ASYMMETRIC_SPREAD), -0.6, 0.6)) * strength
                mixture[pair[0] if amount > 0 else pair[1]] = abs(amount)
        return mixture

    def average(self) -> Mixture:
        """The mean of young people of all races and both sexes."""
        return {f"macrodetails/{race}-{sex}-young": 1 / 6 for race in RACES for sex in SEXES}

    def base(self, mixture: Mixture, expression: dict[str, float] | None = None) -> np.ndarray:
        """The morphed base mesh [N, 3] in decimetres; `expression` is ARKit name -> weight."""
        base = self.data.base.vertices.copy()
        for name, weight in mixture.items():
            _add(base, self.morph(name), weight)
        for name, weight in (expression or {}).items():
            _add(base, self.face_unit(name), weight)
        return base


def _add(base: np.ndarray, morph: Morph, weight: float) -> None:
    base[morph.index] += weight * morph.displacement
