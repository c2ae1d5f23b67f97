import torch

from invertavatar.evaluation import parts as evaluated
from invertavatar.evaluation.parts import parts, silenced
from invertavatar.evaluation.protocols import Evaluation
from invertavatar.evaluation.report import markdown
from invertavatar.evaluation.turned import photo_frames


def test_each_part_is_silenced_alone(tiny_pipeline, portrait):
    found = silenced(tiny_pipeline, portrait("anna_1"))
    whole = found["nothing"]
    assert list(found) == ["nothing", "w+", "E_tex", "E_tri", "all but w+"]
    assert torch.equal(found["w+"].ws, tiny_pipeline.sample(truncation_psi=0.0).ws)
    assert torch.equal(found["w+"].texture_sum, whole.texture_sum) and found["w+"].num_images == 1
    for name, silent, other in (("E_tex", "texture", "triplane"), ("E_tri", "triplane", "texture")):
        states = {kind: getattr(found[name], f"{kind}_state").hidden for kind in (silent, other)}
        assert not any(h.any() for h in states[silent]) and any(h.any() for h in states[other])
        assert torch.equal(found[name].ws, whole.ws)
    pictures = {
        name: tiny_pipeline.render(avatar, yaw=[20.0], height=64, output_type="pt") for name, avatar in found.items()
    }
    for name in ("w+", "E_tex", "E_tri", "all but w+"):
        assert not torch.equal(pictures[name], pictures["nothing"]), name


def test_rows_are_of_all_pairs_and_of_those_far_apart(tiny_pipeline, clips, judge, monkeypatch):
    monkeypatch.setattr(evaluated, "photo_frames", lambda clip: photo_frames(clip)[:1])
    outcome = parts(Evaluation(tiny_pipeline, clips[:1], judge), num_frames=2)
    assert list(outcome.scores)[:5] == ["nothing", "w+", "E_tex", "E_tri", "all but w+"]
    assert {scores["count"] for scores in outcome.scores.values()} <= {1, 2}
    assert [len(row) for _, row in outcome.sheet] == [len(outcome.columns)]
    assert "| all but w+ |" in markdown({"parts": outcome}, {})
