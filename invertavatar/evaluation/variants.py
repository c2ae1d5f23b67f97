"""What the paper's Tab. 3 and Fig. 6 compare, of variants that were trained alike (see `training.variants`)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..training.variants import VARIANTS
from .protocols import Case, Evaluation, Outcome

if TYPE_CHECKING:
    from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline

Pipelines = Mapping[str, "InvertAvatarPipeline"]  # by their names in `VARIANTS`


def tables(evaluation: Evaluation, pipes: Pipelines, photos: Sequence[int]) -> dict[str, Callable[[], Outcome]]:
    """What can be measured of the variants there are: name -> what measures it.

    Args:
        evaluation: Of the clips.
        pipes: The variants.
        photos: Numbers of photos of Fig. 6.
    """
    found = {
        "portrait": partial(encoders, evaluation, pipes, itself=True),
        "encoders": partial(encoders, evaluation, pipes, itself=False),
    }
    if {"ours", "conv_fusion"} <= pipes.keys():
        found["window"] = partial(window, evaluation, pipes, photos)
    return found


def encoders(evaluation: Evaluation, pipes: Pipelines, itself: bool) -> Outcome:
    """Tab. 3: every variant from one photo, against that photo itself (as the paper's portraits) or other frames."""
    cases = {row_title(name): Case(pipe) for name, pipe in pipes.items()}
    outcome = evaluation.compare(cases, "Portraits" if itself else "Encoders", itself)
    outcome.columns[-len(pipes) :] = pipes  # short enough to stand under a picture
    return outcome


def window(evaluation: Evaluation, pipes: Pipelines, photos: Sequence[int]) -> Outcome:
    """Fig. 6: ConvGRUs, the same weights with averaged states, and ConvFusion, by the number of photos.

    Args:
        evaluation: Of the clips.
        pipes: Of them "ours" and "conv_fusion".
        photos: How many, each.
    """
    cases = {}
    for count in photos:
        cases[f"{count}, ConvGRU"] = Case(pipes["ours"], count)
        if count > 1:
            cases[f"{count}, ConvGRU's states averaged"] = Case(pipes["ours"], count, "mean")
        cases[f"{count}, ConvFusion"] = Case(pipes["conv_fusion"], count)
    return evaluation.compare(cases, "Window")


def row_title(name: str) -> str:
    """What the row of a variant is called, with the paper's name for it."""
    variant = VARIANTS[name]
    return f"{variant.title} ({variant.paper})" if variant.paper else variant.title
