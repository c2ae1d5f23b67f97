import copy

import pytest
import torch
from typer.testing import CliRunner

from invertavatar.errors import InvertAvatarError
from invertavatar.inversion import Networks
from invertavatar.scripts.blend_weights import blend_weights
from invertavatar.scripts.console import new_app
from invertavatar.training.checkpoint import blended, load_networks, save_pipeline
from tests.tiny import tiny_networks


@pytest.fixture
def pair(head_model):
    return [Networks(**tiny_networks(seed=seed), head_model=head_model) for seed in (0, 1)]


def flat(networks):
    parts = networks._asdict().items()
    return {
        f"{name}.{k}": v.clone() for name, part in parts if name != "head_model" for k, v in part.state_dict().items()
    }


def test_weights_lie_between_those_of_both_and_parts_that_are_not_named_are_the_second_s(pair):
    before, after = map(flat, pair)
    found = flat(blended(*pair, 0.25, ["generator.compositor"]))
    moved = {name for name in after if not torch.equal(found[name], after[name])}
    assert moved and all(name.startswith("generator.compositor") for name in moved)
    for name in moved:
        torch.testing.assert_close(found[name], before[name].lerp(after[name], 0.25))
    torch.testing.assert_close(flat(pair[0]), before)


def test_all_of_the_first_are_the_first_s_but_for_what_they_lack(pair):
    before = flat(pair[0])
    torch.testing.assert_close(flat(blended(*copy.deepcopy(pair), 0.0)), before)
    wider = Networks(**tiny_networks(seed=1, layerwise_mapping=True), head_model=pair[0].head_model)
    name = "generator.mapping_network.offsets.weight"
    kept = flat(wider)[name]
    assert torch.equal(flat(blended(pair[0], wider, 0.0))[name], kept)


def test_a_part_that_is_not_there_is_refused(pair):
    with pytest.raises(InvertAvatarError, match=r'begins with "generator[.]compositr"'):
        blended(*pair, 0.5, ["generator.compositr"])


def test_the_command_writes_a_pipeline(pair, tmp_path):
    for name, networks in zip(("before", "after"), pair, strict=True):
        save_pipeline(networks, tmp_path / name)
    app = new_app()
    app.command()(blend_weights)
    done = CliRunner().invoke(app, [str(tmp_path / "before"), str(tmp_path / "after"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    found, ends = (flat(load_networks(tmp_path / name)) for name in ("out", "before"))
    name = next(name for name, weight in found.items() if weight.is_floating_point() and weight.ndim > 1)
    middle = ends[name].lerp(flat(load_networks(tmp_path / "after"))[name], 0.5)
    torch.testing.assert_close(found[name], middle, atol=2e-3, rtol=2e-3)
