import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.head.head_model import HeadModel
from invertavatar.inversion import Networks, torso_pose_of
from invertavatar.metrics.perceptual import LPIPS
from invertavatar.pipelines.pipeline_invertavatar import OWN_CAMERA, InvertAvatarPipeline
from invertavatar.rendering.drive import Drive
from invertavatar.scripts import console
from invertavatar.scripts.prepare_dataset import prepare
from invertavatar.scripts.smoke import EXAMPLES, PICTURE_SIZE, PICTURES
from invertavatar.scripts.train import StageName, train
from invertavatar.tracking.portrait import Portrait
from invertavatar.training import trainer
from invertavatar.training.checkpoint import load_networks, renew_weights_id, save_pipeline
from invertavatar.training.episodes import Episodes, EpisodeSizes
from invertavatar.training.reconstruction import Reconstruction, photo_crops, target_crops
from invertavatar.training.runs import StageOptions, train_stage
from invertavatar.training.shards import Shards, encode_picture, held_out, pack
from invertavatar.training.stages import STAGES, ReconstructionStage
from invertavatar.training.trainer import COLUMNS, RunSettings, append_line, read_log
from invertavatar.training.watch import Watch
from tests.conftest import CHECKPOINTS
from tests.landmarks import mean_landmarks
from tests.tiny import tiny_networks
from tests.training.test_shards import made_face

ROOT = Path(__file__).parents[2]
# A training machine need have none of these: in the process that trains they are not to be found.
ABSENT = ("mediapipe", "av", "gradio")
TRAIN_WITHOUT = f"""
import runpy
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {ABSENT} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
runpy.run_path("scripts/train.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def shard_folder(tmp_path_factory):
    """Four photos of two of the example people, prepared."""
    folder = tmp_path_factory.mktemp("shards")
    prepare([EXAMPLES / name for name in PICTURES], folder, size=PICTURE_SIZE, workers=1)
    return folder


@pytest.fixture
def networks(head_model) -> Networks:
    return Networks(**tiny_networks(image_resolution=PICTURE_SIZE, output_gain=0.01), head_model=head_model)


def test_preparing_again_reuses_what_is_there_and_writes_the_same_shards(shard_folder):
    before = (shard_folder / "shard_0000.safetensors").read_bytes()
    pieces = {file: file.stat().st_mtime_ns for file in (shard_folder / "pieces").glob("*.safetensors")}
    report = prepare([EXAMPLES / name for name in PICTURES], shard_folder, size=PICTURE_SIZE, workers=1)
    assert (shard_folder / "shard_0000.safetensors").read_bytes() == before
    assert {file: file.stat().st_mtime_ns for file in pieces} == pieces
    assert report.startswith("2 people, 4 faces: 0 clip, 4 views, 0 still\n0 frames and photos without a usable face")


def test_every_stage_trains_without_tracker_video_library_or_app_and_its_export_loads(shard_folder, tmp_path):
    command = [sys.executable, "-c", TRAIN_WITHOUT, "joint", str(shard_folder), "--smoke", "-o", str(tmp_path)]
    done = subprocess.run([*command, "--debug"], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    for stage in STAGES:
        (line,) = read_log(tmp_path / stage / f"metrics_{stage}.csv")
        assert (line["step"], line["bad_steps"]) == ("2", "0")
        assert float(line["loss"]) > 0
    pipe = InvertAvatarPipeline.from_pretrained(tmp_path / "prior_fit" / "pipeline")
    assert pipe.generator.dtype == torch.float32
    assert pipe.face_tracker is not None
    sizes = [file.stat().st_size for file in (tmp_path / "prior_fit" / "pipeline").rglob("*.safetensors")]
    assert max(sizes) < 16e6


def test_a_run_that_was_stopped_and_resumed_ends_with_the_weights_of_one_that_never_stopped(
    shard_folder, tmp_path, head_model
):
    shards = Shards([shard_folder])
    weights = replace(STAGES["joint"].weights, lpips=0.0, face=0.0, coarse=0.0, coarse_frame=0.0, colour=0.0)
    settings = replace(STAGES["joint"], weights=weights, photos=(1, 1), adversarial_from=0)

    def run(folder, steps, resume=False):
        sizes = {"image_resolution": PICTURE_SIZE, "output_gain": 0.01}
        networks = Networks(**tiny_networks(seed=1, **sizes), head_model=head_model)
        run_settings = RunSettings(tmp_path / folder, steps, interval=10, workers=0, warmup=2)
        train_stage(
            "joint", settings, networks, shards, 1, run_settings, StageOptions(held_out=0.0, on_cpu=True, resume=resume)
        )
        return torch.load(tmp_path / folder / "state.pt", weights_only=True)

    whole = run("whole", 2)
    run("parts", 1)
    parts = run("parts", 2, resume=True)
    for kind in ("networks", "ema", "critic"):
        for name, tensor in whole[kind].items():
            assert torch.equal(tensor, parts[kind][name]), f"{kind} {name}"


def test_training_in_bfloat16_leaves_the_networks_that_measure_in_float32(
    shard_folder, tmp_path, networks, monkeypatch
):
    monkeypatch.setattr(trainer, "mixed_precision_dtype", lambda device: torch.bfloat16)
    lpips, pictures = LPIPS(), torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = lpips(*pictures)
    run_settings = RunSettings(tmp_path, 1, workers=0)
    options = StageOptions(lpips, held_out=0.0, on_cpu=True)
    train_stage("joint", STAGES["joint"], networks, Shards([shard_folder]), 1, run_settings, options)
    assert torch.equal(lpips(*pictures), expected)


def test_two_processes_share_the_people_of_a_step(shard_folder, tmp_path, networks):
    save_pipeline(networks, tmp_path / "begin")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    options = ["--no-perceptual", "--held-out", "0", "--workers", "0", "--device", "cpu", "-q"]
    command = ["scripts/train.py", "joint", str(shard_folder), "-o", str(tmp_path / "run"), "--init"]
    command += [str(tmp_path / "begin"), "--batch-size", "1", "--steps", "1", *options]
    subprocess.run([*launcher, *command], cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    (line,) = read_log(tmp_path / "run" / "metrics_joint.csv")
    assert (line["step"], line["episodes"]) == ("1", "2")
    begun, trained = (load_networks(tmp_path / folder).texture_encoder for folder in ("begin", "run/pipeline"))
    assert any((a != b).any() for a, b in zip(begun.parameters(), trained.parameters(), strict=True))


def test_resuming_another_stage_is_an_error_that_says_how_to_go_on(shard_folder, tmp_path, networks):
    torch.save({"format": 2, "stage": "latent"}, tmp_path / "state.pt")
    with pytest.raises(InvertAvatarError, match=r"was of stage latent, not joint.*--init"):
        train_stage(
            "joint",
            STAGES["joint"],
            networks,
            Shards([shard_folder]),
            1,
            RunSettings(tmp_path, 1, workers=0),
            StageOptions(held_out=0.0, on_cpu=True, resume=True),
        )


def test_a_stage_lets_those_parts_learn_that_it_names_and_no_others(networks):
    def learning(name):
        stage = ReconstructionStage(networks, STAGES[name], None, None)
        return {key for key, parameter in stage.networks.named_parameters() if parameter.requires_grad}

    for name, learns in {
        "oneshot": {"texture_encoder", "triplane_encoder"},
        "latent": {"latent_encoder"},
        "distill": {"latent_encoder", "generator"},
        "prior": {"generator"},
        "posture": {"triplane_encoder"},
        "compositor": {"generator"},
        "joint": {"latent_encoder", "texture_encoder", "triplane_encoder", "generator"},
    }.items():
        assert {key.split(".")[0] for key in learning(name)} == learns
    assert all("posture" in key for key in learning("posture"))
    assert {key.split(".")[1] for key in learning("compositor")} == {"compositor"}
    assert not {"compositor", "mapping_network"} & {key.split(".")[1] for key in learning("distill")}
    assert any(".gru." in key for key in learning("recurrent"))
    assert not any(".encoder." in key or ".conv_in." in key for key in learning("recurrent"))


@torch.enable_grad()
def test_a_picture_teaches_all_that_joint_trains_but_the_mapping(shard_folder, networks, head_model):
    weights = replace(STAGES["joint"].weights, lpips=0.0, face=0.0)
    stage = ReconstructionStage(networks, replace(STAGES["joint"], weights=weights), None, None)
    episode = Episodes(Shards([shard_folder]), head_model, EpisodeSizes(2, (2, 2), 1))[0]
    weights.total(stage(episode, False).terms).backward()
    moved = {}
    for name, parameter in stage.networks.named_parameters():
        if parameter.requires_grad:
            part = ".".join(name.split(".")[:2])
            moved[part] = moved.get(part, False) or (parameter.grad is not None and bool(parameter.grad.any()))
    still = {part for part, learns in moved.items() if not learns}
    assert still == {"generator.mapping_network"}
    assert {"generator.compositor", "generator.renderer", "triplane_encoder.unet", "texture_encoder.unet"} < set(moved)


def test_training_draws_the_very_picture_that_the_pipeline_draws(networks, head_model, tmp_path):
    size, noise = PICTURE_SIZE, torch.Generator().manual_seed(0)
    round_head = np.hypot(*(np.mgrid[:size, :size] - np.array([30, 32]).reshape(2, 1, 1))) < 25
    faces = [made_face("p", f"v{k}", k, "views", yaw, seed=1) for k, yaw in enumerate((5.0, 20.0, 35.0))]
    for face in faces:
        face.vertices[:] = mean_landmarks(head_model) + 0.01 * torch.randn(478, 3, generator=noise)
    matte = encode_picture(round_head.astype(np.uint8) * 255)
    pack([replace(face, matte=matte) for face in faces], tmp_path)
    episode = Episodes(Shards([tmp_path]), head_model, EpisodeSizes(1, (2, 2), 1))[0]
    scores = torch.from_numpy(faces[0].expression / np.float32(255))[None]  # of all of them
    reconstruction = Reconstruction(networks)

    pipe, avatar = InvertAvatarPipeline(**networks._asdict()), None
    for i, crop in enumerate(photo_crops(episode)):
        scale, thumbnail = float(episode.sharpness[0, i]) * size / 2, torch.zeros(3, 96, 96, dtype=torch.uint8)
        track = (episode.landmarks[:, i], scores, crop.rotation)
        avatar = pipe.add_portrait(avatar, Portrait("", *crop[:3], *track, scale, thumbnail))
    with torch.no_grad():
        head_to_torso = episode.target_rotations[0]
        tracked = head_model.unbiased(episode.tracked[0], head_to_torso)
        residual = head_model.residual(tracked, avatar.shape.landmarks, scores)
        torso_pose = torso_pose_of(networks, *target_crops(episode))
        clip = Drive(scores, residual, head_to_torso, head_to_torso, torso_pose=torso_pose)
        expected = pipe.render_frames(avatar, pipe.canonical_features(avatar, size), clip, OWN_CAMERA, size)
        state, head = (
            reconstruction.fuse(reconstruction.views(episode), episode.sharpness),
            reconstruction.driven(episode),
        )
        features = reconstruction.features(state, episode, size)
        drawn = reconstruction.draw(state.ws, features, head, reconstruction.camera(head), size)
    assert expected[1].std() > 0.1
    torch.testing.assert_close(drawn.colour, expected[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(drawn.opacity, expected[1], atol=1e-4, rtol=0)


def test_the_log_of_a_run_is_readable_line_by_line(tmp_path):
    append_line(tmp_path / "m.csv", {"step": 1, "loss": "0.5"})
    append_line(tmp_path / "m.csv", {"step": 2, "loss": "0.25", "critic": "1"})
    lines = list(read_log(tmp_path / "m.csv"))
    assert [line["loss"] for line in lines] == ["0.5", "0.25"]
    assert set(lines[0]) == set(COLUMNS)
    assert [line["critic"] for line in lines] == ["", "1"]


def test_an_export_is_named_by_its_weights(tmp_path, networks):
    names = []
    for _ in range(3):
        save_pipeline(networks, tmp_path)
        names.append(load_networks(tmp_path).generator.config.weights_id)
        if len(names) == 2:
            next(networks.latent_encoder.parameters()).data[0] += 1
    assert not [file for file in tmp_path.rglob("*.json") if "_name_or_path" in file.read_text()]
    assert len(names[0]) == 12 and names[0] == names[1] != names[2]
    assert networks.generator.config.weights_id == "untrained"


def test_the_shipped_weights_are_named_by_what_lies_there_and_another_head_model_by_another_name(tmp_path):
    shutil.copytree(CHECKPOINTS, tmp_path / "copy")
    shipped = json.loads((CHECKPOINTS / "generator" / "config.json").read_text(encoding="utf-8"))
    assert renew_weights_id(tmp_path / "copy") == shipped["weights_id"]
    head = HeadModel.from_pretrained(tmp_path / "copy" / "head_model")
    head.mean[0] += 0.1
    head.save_pretrained(tmp_path / "copy" / "head_model")
    assert renew_weights_id(tmp_path / "copy") != shipped["weights_id"]
    config = load_networks(tmp_path / "copy").generator.config
    assert config.weights_id != shipped["weights_id"] and config.behind == shipped["behind"]


def test_a_state_written_by_the_program_can_be_resumed(shard_folder, tmp_path, networks):
    stage, data, settings = StageName.latent, Shards([shard_folder]), STAGES["latent"]
    settings = replace(settings, weights=replace(settings.weights, lpips=0.0, face=0.0))
    for last, resume in ((1, False), (2, True)):
        run = RunSettings(tmp_path, steps=last, interval=1, workers=0)
        train_stage(stage, settings, networks, data, 1, run, StageOptions(held_out=0.0, on_cpu=True, resume=resume))
    assert [line["step"] for line in read_log(tmp_path / "metrics_latent.csv")] == ["1", "2"]


def test_a_run_resumes_from_its_own_folder_with_the_order_of_weights_it_began_with(tmp_path, networks):
    save_pipeline(networks, tmp_path)
    names = [[name for name, _ in part.trainable.named_parameters()] for part in (networks, load_networks(tmp_path))]
    assert names[0] == names[1]  # an optimizer's state knows weights by their order alone


def test_the_learning_rate_rises_at_first_and_falls_to_nothing_at_last():
    run = RunSettings(Path("run"), steps=100, warmup=10, anneal=20)
    watch = Watch()
    assert [run.pace(step, watch) for step in (0, 9, 50, 80, 90, 99)] == pytest.approx([0.1, 1, 1, 1, 0.5, 0.05])
    assert replace(run, anneal=0).pace(99, watch) == replace(run, steps=None).pace(99, watch) == 1
    assert run.pace(120, watch) == 0  # a run that is resumed beyond its end


def test_the_identity_loss_is_asked_of_the_recognizer(shard_folder, tmp_path, networks):
    class MeanColour(torch.nn.Module):
        def embed(self, picture, landmarks):
            assert landmarks.shape[1:] == (478, 2) and landmarks.abs().max() < 2
            return torch.nn.functional.normalize(picture.mean((2, 3)) + 2, dim=1)

    weights = replace(STAGES["joint"].weights, lpips=0.0, face=0.0, identity=1.0, across=1.0)
    settings = replace(STAGES["joint"], weights=weights)
    run = RunSettings(tmp_path, 1, workers=0)
    train_stage(
        "joint",
        settings,
        networks,
        Shards([shard_folder]),
        2,
        run,
        StageOptions(held_out=0.0, on_cpu=True, recognizer=MeanColour()),
    )
    (line,) = read_log(tmp_path / "metrics_joint.csv")
    assert 0 < float(line["identity"]) < 1 and 0 < float(line["across"]) < 1
    assert line["identity"] != line["across"]


@pytest.fixture
def one_step(shard_folder, tmp_path, networks, monkeypatch):
    """Trains a stage for a step with options of the program; gives the line of its log."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    save_pipeline(networks, tmp_path / "init")

    def run(stage, option):
        app = console.new_app()
        app.command()(train)
        where = [str(shard_folder), "-o", str(tmp_path / "run"), "--init", str(tmp_path / "init"), "--device", "cpu"]
        short = ["--steps", "1", "--batch-size", "1", "--workers", "0", "--held-out", "0", "--no-perceptual", "-q"]
        with pytest.raises(SystemExit, match="0"):
            console.run(app, [stage, *where, *short, option])
        (line,) = read_log(tmp_path / "run" / f"metrics_{stage}.csv")
        return line

    return run


@pytest.mark.parametrize("option", ["--latent-discriminator", "--no-latent-discriminator"])
def test_w_plus_is_held_near_the_prior_unless_asked_not_to(one_step, option):
    line = one_step("latent", option)
    assert float(line["l1"]) > 0
    assert bool(line["critic"]) == bool(line["latent_adversarial"]) == (option == "--latent-discriminator")


def test_the_prior_stays_if_asked_to(one_step, tmp_path):
    line = one_step("joint", "--keep-prior")
    assert float(line["l1"]) > 0 and not any(line[name] for name in ("coarse", "coarse_frame", "colour", "deviation"))
    before, after = (load_networks(tmp_path / folder).trainable.state_dict() for folder in ("init", "run/pipeline"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {".".join(name.split(".")[:2]) for name in moved} == {
        "texture_encoder.unet", "triplane_encoder.unet", "generator.compositor"
    }  # fmt: skip


def test_annealing_needs_an_end(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    app = console.new_app()
    app.command()(train)
    with pytest.raises(SystemExit, match="2"):
        console.run(app, ["joint", str(tmp_path), "-o", str(tmp_path), "--anneal", "5"])
    assert "--anneal counts back from the last step: give --steps too." in " ".join(capfd.readouterr().err.split())


def test_a_run_that_gets_worse_goes_back_to_its_best_checkpoint_and_ends_with_it(
    shard_folder, tmp_path, networks, caplog
):
    weights = replace(STAGES["latent"].weights, lpips=0.0, face=0.0, latent_adversarial=0.0)
    settings = replace(STAGES["latent"], weights=weights, learning_rate=30.0, parts=("latent_encoder", "generator"))
    run = RunSettings(tmp_path, 40, interval=1, workers=0, warmup=1, ema_decay=0.0, validation_steps=1)
    before = {name: tensor.clone() for name, tensor in networks.trainable.state_dict().items()}
    shards = Shards([shard_folder])
    fraction = next(x / 1000 for x in range(1000) if sum(held_out(who, x / 1000) for who in shards.people) == 1)
    train_stage("latent", settings, networks, shards, 1, run, StageOptions(held_out=fraction, on_cpu=True))
    lines = list(read_log(tmp_path / "metrics_latent.csv"))
    assert [line["verdict"] for line in lines] == ["lost"] * 3 + ["hopeless"]
    rates = [float(line["learning_rate"]) for line in lines]
    assert rates == pytest.approx([30, 15, 7.5, 3.75])
    assert "worse up to step 4 than it was at 0, and ends there" in caplog.text
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    for name, tensor in before.items():
        if "w_avg" not in name:
            assert torch.equal(state["networks"][name], tensor), name
    written, best = (load_networks(tmp_path / name).trainable.state_dict() for name in ("pipeline", "best"))
    assert all(torch.equal(tensor, written[name]) for name, tensor in best.items())
