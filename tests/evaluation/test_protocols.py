import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import typer

from invertavatar.errors import InvertAvatarError, MediaError
from invertavatar.evaluation.clips import cut, find_clips, load_clips
from invertavatar.evaluation.protocols import ABLATIONS, SIZE, Evaluation, average, over_grey, without
from invertavatar.evaluation.report import flat, markdown, write_report
from invertavatar.models.presets import build_networks
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.scripts.console import new_app, run
from invertavatar.scripts.evaluate import SpreadingCommand, evaluate
from tests.evaluation.stand_ins import Mirror, nowhere, perfect

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"

# Which frames


def test_photos_are_spread_over_the_first_half_and_tests_over_the_second():
    clip = nowhere(40)
    assert clip.photo_frames(1) == [0]
    assert clip.photo_frames(4) == [0, 5, 10, 15]
    assert clip.test_frames(4) == [22, 27, 32, 37]
    assert clip.test_run(3) == [20, 21, 22]


@pytest.mark.parametrize("count", [5, 16, 37, 120])
def test_more_photos_contain_the_fewer_and_no_test_frame(count):
    clip = nowhere(count)
    one, two, four, eight = (set(clip.photo_frames(n)) for n in (1, 2, 4, 8))
    assert one <= two <= four <= eight
    assert eight.isdisjoint(clip.test_frames(1000))


def test_frames_without_a_face_are_neither_photos_nor_tests():
    missing = {0, 1, 6, 7, 13}
    clip = nowhere(16, missing)
    assert missing.isdisjoint(clip.photo_frames(100) + clip.test_frames(100))
    assert clip.test_run(100) == [9, 10, 11, 12]  # the longest stretch without a gap


# Clips


def test_a_cut_picture_takes_its_track_along(face_tracker, example):
    photo = example("anna_1")
    whole = face_tracker.detect(photo)
    picture, track = cut(photo, whole, (100.3, 20.0, 700.9, 768))
    np.testing.assert_array_equal(picture, photo[20:768, 101:700])
    np.testing.assert_allclose(track.landmarks[:, :2], whole.landmarks[:, :2] - [101, 20], rtol=1e-6)
    np.testing.assert_array_equal(
        face_tracker.crop(picture, track, 64).transform[:, :2], face_tracker.crop(photo, whole, 64).transform[:, :2]
    )


def test_the_index_names_people_and_padding_and_clips_without_one_are_people_of_their_own(clips, judge):
    assert [clip.person for clip in clips] == ["talk_a", "B"]
    evaluation = Evaluation(Mirror(None), clips, judge)
    padded, whole = (evaluation.targets(clip, [4])[0] for clip in reversed(clips))
    assert not padded.inside[:, :5].any() and (padded.face.picture[~padded.inside] == 128).all()
    assert whole.inside.mean() > padded.inside.mean()


def test_a_file_that_is_no_clip_is_left_out_with_a_warning(tmp_path, face_tracker, head_model, caplog):
    (tmp_path / "notes.mp4").write_text("this is text")
    assert list(load_clips(find_clips(tmp_path), face_tracker, head_model)) == []
    assert "notes.mp4 is left out" in caplog.text


def test_a_folder_without_clips_and_a_set_without_faces_are_sentences(tmp_path, judge):
    with pytest.raises(MediaError, match="holds no video"):
        find_clips(tmp_path)
    with pytest.raises(InvertAvatarError, match="No clip is left"):
        Evaluation(Mirror(None), [], judge)


def test_clips_are_chosen_by_name_and_a_name_that_there_is_not_is_a_sentence(clips):
    folder = clips[0].path.parent
    assert [path.stem for path in find_clips(folder)] == ["talk_a", "talk_b"]
    assert [path.stem for path in find_clips(folder, ["talk_b"])] == ["talk_b"]
    with pytest.raises(MediaError, match="holds no clip named talk_c or talk_d"):
        find_clips(folder, ["talk_d", "talk_a", "talk_c"])


# Protocols


def test_an_avatar_that_shows_the_truth_is_perfect(clips, judge):
    scores = perfect(clips, judge).same_identity([1, 2]).scores
    assert list(scores) == ["1", "2"]
    for case in scores.values():
        expected = {"psnr": 100, "l1": 0, "lpips": 0, "csim": 1, "akd": 0, "count": 4, "missed": 0}
        assert case == pytest.approx(expected, abs=1e-6)


def test_an_avatar_that_shows_nothing_is_compared_by_pixels_and_missed_by_the_rest(clips, judge):
    nothing = Mirror(lambda motion: np.full((SIZE, SIZE, 3), 128, np.uint8))
    scores = Evaluation(nothing, clips, judge, 1).same_identity([1]).scores["1"]
    assert scores["psnr"] < 25
    assert scores["missed"] == scores["count"] == 2
    assert "akd" not in scores and "csim" not in scores


def test_pixels_beyond_the_real_ones_do_not_count(clips, judge):
    shown = perfect(clips[1:], judge)
    truth, inside = shown.pipe.show, shown.targets(clips[1], [7])[0].inside
    shown.pipe.show = lambda motion: np.where(inside[..., None], truth(motion), np.uint8(255))
    assert shown.same_identity([1]).scores["1"]["l1"] < 1e-3 + 0.5 * (1 - inside.mean())


def test_every_fusion_mode_is_asked_for_with_four_photos_and_states_alone_with_other_colours(clips, judge):
    evaluation = perfect(clips[:1], judge, 1)
    names = ["gru", "mean", "first", "gru, colours of the first", "mean, colours as by gru"]
    assert list(evaluation.fusion().scores) == names
    found = [[x.modes, x.texture_state, x.triplane_state] for x in evaluation.pipe.drawn]
    pairs = [("gru", "gru"), ("mean", "mean"), ("first", "first"), ("first", "gru"), ("gru", "mean")]
    assert found == [[(colours,) * 4, (states,) * 4, (states,) * 4] for colours, states in pairs]


def test_a_driver_shown_as_it_is_has_its_own_pose_and_expression_for_every_ordered_pair(clips, judge):
    outcome = perfect(clips, judge, 1).cross_identity()
    scores = outcome.scores[""]
    assert [name for name, _ in outcome.sheet] == ["talk_a by talk_b", "talk_b by talk_a"]
    assert (scores["akd"], scores["pose"], scores["expression"]) == pytest.approx((0, 0, 0), abs=0.05)
    assert scores["csim"] < 1  # it is the driver, not the person of the photo


def test_two_clips_of_one_person_are_not_paired(clips, judge):
    twins = [replace(clip, person="twin") for clip in clips]
    assert perfect(twins, judge, 1).cross_identity().sheet == []


def test_an_avatar_that_moves_as_its_driver_has_the_same_jitter(clips, judge):
    scores = perfect(clips[:1], judge).jitter().scores[""]
    assert scores["output"] == scores["driver"] > 0
    assert scores["ratio"] == 1


def test_sharpness_is_that_of_the_photo_s_own_face(clips, judge):
    evaluation = perfect(clips[:1], judge)
    picture = evaluation.portraits(clips[0], [0])[0].picture
    evaluation.pipe.show = lambda motion: picture
    assert evaluation.sharpness().scores[""]["ratio"] == 1
    noise = picture.copy()
    noise[:60] = np.random.default_rng(0).integers(0, 255, noise[:60].shape)  # above the face, where it does not count
    evaluation.pipe.show = lambda motion: noise
    assert evaluation.sharpness().scores[""]["ratio"] == 1
    evaluation.pipe.show = lambda motion: cv2.GaussianBlur(picture, (0, 0), 2)
    outcome = evaluation.sharpness()
    assert 0.05 < outcome.scores[""]["ratio"] < 0.6
    assert "| avatar | photo | ratio |" in markdown({"sharpness": outcome}, {})


# Ablations


@pytest.fixture(scope="module")
def pipe():
    torch.manual_seed(0)
    return InvertAvatarPipeline(**build_networks(), head_model=None, face_tracker=None)


@pytest.mark.parametrize("addition", ABLATIONS)
def test_an_ablation_switches_off_in_the_same_weights_and_leaves_the_pipeline_as_it_is(pipe, addition):
    component, switches = ABLATIONS[addition]
    before = dict(pipe.components[component].config)
    other = without(pipe, addition)
    assert not any(other.components[component].config[switch] for switch in switches)
    assert dict(pipe.components[component].config) == before
    full = pipe.components[component].state_dict()
    for name, weight in other.components[component].state_dict().items():
        torch.testing.assert_close(weight, full[name], rtol=0, atol=0)


# What is left behind


def test_the_background_is_laid_in_by_the_matte():
    picture = np.full((2, 2, 3), 228, np.uint8)
    np.testing.assert_array_equal(over_grey(picture, np.array([[0, 0.5], [0.25, 1]]))[..., 0], [[128, 178], [153, 228]])


def test_the_average_is_over_the_rows_that_have_a_metric():
    scores = average([{"psnr": 20.0, "akd": 1.0}, {"psnr": 30.0}, {"psnr": 40.0, "akd": 3.0}], ("psnr", "akd"))
    assert scores == {"psnr": 30, "akd": 2, "count": 3, "missed": 1}
    assert average([{}, {}], ["akd"]) == {"count": 2, "missed": 2}


def test_a_report_holds_each_case_by_its_name_and_a_nameless_one_directly(clips, judge, tmp_path):
    evaluation = perfect(clips, judge, 1)
    outcomes = {"same_identity": evaluation.same_identity([1]), "cross_identity": evaluation.cross_identity()}
    write_report(tmp_path, outcomes, {"clips": 2})
    assert set(flat(outcomes["same_identity"].scores)) == {"1"}
    assert {"csim", "akd"} <= set(flat(outcomes["cross_identity"].scores))
    assert {path.name for path in tmp_path.iterdir()} == {
        "metrics.json",
        "metrics.md",
        "same_identity.jpg",
        "cross_identity.jpg",
    }
    assert "| 1 | 100.00 | 0.0000 | 0.000 | 1.000 | 0.00 | 2 | 0 |" in markdown(outcomes, {})


# The command line


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data", "nowhere"], "nowhere does not exist"),
        (["--data", __file__], "is no folder"),
        (["--data", str(EXAMPLES), "--only", "talk_a", "talk_z"], "holds no clip named talk_z"),
        (["--data", str(EXAMPLES), "--lpips", "nowhere.safetensors"], "There is no file nowhere.safetensors"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_status_2(options, sentence, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    app = new_app()
    app.command(cls=SpreadingCommand)(evaluate)
    with pytest.raises(SystemExit) as exit_:
        run(app, [*options, "--output", str(tmp_path / "out")])
    assert exit_.value.code == 2
    assert sentence in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_list_option_takes_several_values_at_once():
    app = new_app()
    app.command(cls=SpreadingCommand)(evaluate)
    command = typer.main.get_command(app)
    arguments = ["--data", "d", "--photos", "1", "2", "4", "--output", "o", "--protocol", "jitter", "turned"]
    parameters = command.make_context("evaluate", arguments).params
    assert parameters["photos"] == [1, 2, 4]
    assert [str(protocol) for protocol in parameters["protocol"]] == ["jitter", "turned"]
