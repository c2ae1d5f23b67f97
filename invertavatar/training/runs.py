"""Runs of a stage: everything between the networks and the trainer is put together here."""

import copy
import logging
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, KwargsHandler
from torch import nn

from ..errors import InvertAvatarError
from ..inversion import Networks
from .adversarial import Discriminator
from .augment import Augmentation
from .checkpoint import save_pipeline
from .episodes import Episodes, EpisodeSizes
from .looks import LooksFolder, make_looks
from .previews import sample_sheet
from .prior_fit import fit_mapping, inverted_codes
from .reconstruction import Reconstruction
from .shards import Shards
from .stages import STAGE_CLASSES, StageSettings
from .trainer import RunSettings, Trainer

logger = logging.getLogger(__name__)

FITTED_PEOPLE = 2000  # inverted for the fitted prior


class StageOptions(NamedTuple):
    """What a stage needs beside how long it lasts."""

    lpips: nn.Module | None = None  # the perceptual network; None where no term of the loss needs it
    held_out: float = 0.05  # share of the people kept for validation; 0 leaves validation out
    on_cpu: bool = False  # leave GPUs alone
    resume: bool = False  # go on with the run in the output folder
    recognizer: nn.Module | None = None  # `SFace`; None where no term of the loss needs it
    looks: int = 1000  # of the stage `compositor`: episodes worked out beforehand, `looks.FRAMES_OF_A_LOOK` frames each


DEFAULTS = StageOptions()


def train_stage(
    name: str,
    settings: StageSettings,
    networks: Networks,
    shards: Shards,
    batch_size: int,
    run: RunSettings,
    options: StageOptions = DEFAULTS,
) -> None:
    """Train one stage, on all GPUs that `accelerate launch` gives this process's group, else on one or the CPU.

    Args:
        name: Of the stage, see `STAGES`.
        settings: Of the stage.
        networks: They are trained in place; what is exported is their average.
        shards: To learn from.
        batch_size: People in a step, for each process; of the stage `compositor`, parts of frames.
        run: How long, how often and where to.
        options: All else.

    Raises:
        InvertAvatarError: See `Episodes`, `Trainer.resume` and `Trainer.run`.
    """
    # Steps differ in what they use: the prior's has no photo for E_latent's losses, a discriminator joins late.
    handlers: list[KwargsHandler] = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    untried = torch.backends.mps.is_available()  # accelerate would take Apple's GPU, where no gradient was ever tried
    accelerator = Accelerator(cpu=options.on_cpu or untried, kwargs_handlers=handlers)
    head_model = copy.deepcopy(networks.head_model)  # episodes are made on the CPU
    subjects = 1 if name == "compositor" else batch_size  # an episode makes one file of looks
    sizes = EpisodeSizes(subjects, settings.photos, settings.targets, settings.mix)
    process = (accelerator.process_index, accelerator.num_processes)
    held_out = options.held_out
    training: Episodes | LooksFolder
    training = episodes = Episodes(shards, head_model, sizes, held_out, False, Augmentation(), run.seed, process)
    validation = Episodes(shards, head_model, sizes, held_out, True, None, run.seed + 1) if held_out else None

    size = shards.picture_size
    torch.manual_seed(run.seed)  # the same discriminator in every process, and in every run of this seed
    discriminator = None
    if settings.weights.latent_adversarial:
        discriminator = Discriminator.latent(networks.generator.config.w_dim)
    elif settings.weights.adversarial and settings.discriminator == "features":
        if options.lpips is None:
            raise InvertAvatarError(f"The discriminator of the stage {name} sees through LPIPS' network: give that.")
        discriminator = Discriminator.of_features()
    elif settings.weights.adversarial:
        discriminator = Discriminator.dual(size)
    discriminator = discriminator and discriminator.to(accelerator.device)
    torch.backends.cudnn.benchmark = True  # the sizes of a run hardly change
    for part in networks:
        part.to(accelerator.device)
    if name == "compositor":
        folder = run.output / "looks"
        for part in networks:
            part.eval()
        make_looks(Reconstruction(networks), episodes, options.looks, folder, run.workers)
        accelerator.wait_for_everyone()
        training = LooksFolder(folder, batch_size, run.seed, process)
    lpips, recognizer = (network and network.to(accelerator.device) for network in (options.lpips, options.recognizer))
    stage = STAGE_CLASSES[name](networks, settings, lpips, discriminator, recognizer)
    trainer = Trainer(name, stage, networks, training, validation, run, accelerator)
    if options.resume:
        trainer.resume()
    trainer.run()


def fit_prior(
    networks: Networks,
    shards: Shards,
    batch_size: int,
    run: RunSettings,
    people: int = FITTED_PEOPLE,
    iterations: int = 3000,
) -> None:
    """The stage `prior` without a GAN (see `prior_fit`): writes the pipeline and a sheet of samples.

    Args:
        networks: Their mapping network is fitted in place.
        shards: Whose people are inverted.
        batch_size: People at a time.
        run: Its output and seed count.
        people: How many people are drawn; at least two.
        iterations: See `fit_mapping`.
    """
    run.output.mkdir(parents=True, exist_ok=True)
    codes = inverted_codes(networks, shards, people, batch_size, run.seed)
    error = fit_mapping(networks, codes, iterations, run.seed)
    logger.info("%d codes fitted with a relative error of %.3f", len(codes), error)
    save_pipeline(networks, run.output / "pipeline")
    sample_sheet(networks, networks.generator.config.image_resolution).save(run.output / "samples.jpg", quality=90)
