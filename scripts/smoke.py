"""The smoke test of `train.py`: every stage for two steps, with tiny networks, in well under a minute."""

import tempfile
from dataclasses import replace
from pathlib import Path

import invertavatar

EXAMPLES = Path(__file__).resolve().parents[1] / "assets" / "examples"
HEAD_MODEL = Path(invertavatar.__file__).parent / "checkpoints" / "head_model"
PICTURES = ("anna_1.jpg", "anna_2.jpg", "ben_1.jpg", "ben_2.jpg")
PICTURE_SIZE, STEPS, PEOPLE, LOOKS = 64, 2, 2, 2

_WIDTHS = {"4": 8, "8": 8, "16": 8, "32": 8}
TINY = {  # a preset in the form of `models.presets`
    "generator": {
        "w_dim": 16,
        "z_dim": 16,
        "plane_channels": 4,
        "texture_channels": _WIDTHS,
        "static_channels": _WIDTHS,
        "face_channels": _WIDTHS,
        "texture_resolutions": (8, 16, 32),
        "neural_resolution": 32,
        "image_resolution": 64,
        "feature_channels": 8,
        "decoder_channels": 8,
        "coarse_samples": 4,
        "fine_samples": 4,
        "super_resolution_channels": (8, 8),
        "compositor_channels": (8, 8, 8),
        "detail_resolution": 64,
    },
    "latent_encoder": {"image_size": 128, "compact_channels": (4, 4, 8, 8, 8)},
    "texture_encoder": {
        "resolution": 32,
        "channels": (8, 8, 8),
        "texture_channels": 4,
        "texture_resolutions": (8, 16, 32),
    },
    "triplane_encoder": {"resolution": 64, "channels": (8, 8, 8, 8, 8), "plane_channels": 4},
}


def smoke_test(shards: list[Path] | None, output: Path, seed: int = 0) -> None:
    """Train each stage from the export of the one before.

    Args:
        shards: Shards to train on; none makes some of example people, which takes the tracker.
        output: Folder for the runs.
        seed: Of everything.
    """
    from invertavatar.metrics.perceptual import LPIPS
    from invertavatar.scripts.prepare_dataset import prepare
    from invertavatar.training.checkpoint import fresh_networks, load_networks
    from invertavatar.training.runs import StageOptions, fit_prior, train_stage
    from invertavatar.training.shards import Shards
    from invertavatar.training.stages import STAGES
    from invertavatar.training.trainer import RunSettings

    with tempfile.TemporaryDirectory() as folder:
        if not shards:
            shards = [Path(folder)]
            prepare([EXAMPLES / name for name in PICTURES], shards[0], size=PICTURE_SIZE, workers=1)
        data, networks = Shards(shards), fresh_networks(TINY, HEAD_MODEL, seed)
        for name, settings in STAGES.items():
            targets = min(settings.targets, 2)
            weights = replace(settings.weights, lpips=0.0, face=0.0)  # AlexNet's weights are no part of the package
            settings = replace(settings, weights=weights, adversarial_from=0, photos=(1, 2), targets=targets)
            run = RunSettings(output / name, STEPS, interval=STEPS, workers=0, validation_steps=1, seed=seed)
            lpips = LPIPS() if settings.discriminator == "features" else None
            options = StageOptions(lpips, held_out=0.0, on_cpu=True, looks=LOOKS)
            train_stage(name, settings, networks, data, PEOPLE, run, options)
            networks = load_networks(output / name / "pipeline")
        fit_prior(networks, data, PEOPLE, RunSettings(output / "prior_fit"), people=4, iterations=50)
