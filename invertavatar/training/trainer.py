"""The loop that all stages share: steps, averaged weights, time budget, log, previews, and a state to go on from.

A run is exactly repeatable: data and random numbers of a step follow from its number, so that to stop and go on leaves
no trace beyond what rounding does on several devices.
"""

import copy
import csv
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from ..errors import InvertAvatarError
from ..inversion import Networks
from ..metrics.angles import BUCKETS
from .adversarial import needs_penalty
from .checkpoint import BEST_FILE, load_state, save_pipeline, save_state
from .episodes import Episode, Episodes
from .looks import Looks, LooksFolder
from .losses import LossWeights
from .precision import mixed_precision_dtype, use_autocast, use_mixed_precision
from .previews import sample_sheet, validate
from .stages import Stage
from .watch import Verdict, Watch

logger = logging.getLogger(__name__)

ENDLESS = 1 << 40  # steps
MAX_GRADIENT_NORM = 1.0
MAX_BAD_STEPS = 50  # in a row
BETAS, WEIGHT_DECAY = (0.9, 0.99), 1e-4
DISCRIMINATOR_BETAS = (0.0, 0.99)  # as in StyleGAN2
COLUMNS = (
    "step", "episodes", "minutes", "episodes_per_second", "learning_rate", "gradient_norm", "bad_steps", "loss",
    *(field.name for field in fields(LossWeights)), "critic", "val_psnr", "val_l1", "val_lpips",
    *BUCKETS, "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class RunSettings:
    """How long, how often and where to.

    Attributes:
        output: Folder of the run.
        steps: The step to stop at, counted from the run's first beginning; None for no limit.
        minutes: Stop, with everything written, within so many minutes of the call; None for no limit.
        interval: Steps between two checkpoints, previews and lines of the log.
        warmup: Steps over which the learning rate rises from 0, at the beginning and after each return.
        anneal: Steps before the last one over which it falls back to 0; needs `steps`.
        anneal_minutes: The same in minutes before those of the call are over; needs `minutes`.
        ema_decay: Of the averaged weights, which are what is exported.
        workers: Processes that prepare episodes.
        validation_steps: Episodes of people held out that are measured.
        seed: Of everything.
    """

    output: Path
    steps: int | None = None
    minutes: float | None = None
    interval: int = 500
    warmup: int = 100
    anneal: int = 0
    anneal_minutes: float = 0.0
    ema_decay: float = 0.999
    workers: int = 2
    validation_steps: int = 4
    seed: int = 0

    def pace(self, step: int, watch: Watch, minutes_left: float = float("inf")) -> float:
        """Share of the full learning rate at a step. But for `anneal_minutes` it depends on nothing else, so that a run
        can go on exactly.
        """
        fall = (self.steps - step) / self.anneal if self.anneal and self.steps is not None else 1.0
        if self.anneal_minutes:
            fall = min(fall, minutes_left / self.anneal_minutes)
        return min(watch.pace(step, self.warmup), max(fall, 0.0))


class Trainer:
    """A run of one stage.

    Args:
        name: Of the stage.
        stage: On the accelerator's device.
        networks: Those of the stage.
        training: What to learn from.
        validation: Episodes to measure on; None for none.
        settings: Of the run.
        accelerator: Made by the caller; mixed precision is decided here and not by it, see `precision`.
    """

    def __init__(
        self,
        name: str,
        stage: Stage,
        networks: Networks,
        training: Episodes | LooksFolder,
        validation: Episodes | None,
        settings: RunSettings,
        accelerator: Accelerator,
    ):
        self.name, self.settings, self.accelerator = name, settings, accelerator
        self.stage, self.training, self.networks = stage, training, networks
        self.device = accelerator.device
        self.validation: list[Episode] = []
        if validation is not None and (count := settings.validation_steps):
            self.validation += validation.loader(0, count, min(count, settings.workers))
        self.step = self.bad_steps = self._bad_in_a_row = 0
        self.seconds, self.watch, self._minutes_left = 0.0, Watch(), float("inf")
        self.ema = AveragedModel(stage.networks, multi_avg_fn=_average(settings.ema_decay), use_buffers=True)
        rate = stage.settings.learning_rate
        self.optimizer = torch.optim.AdamW(stage.learning(), rate, BETAS, weight_decay=WEIGHT_DECAY)
        self.discriminator_optimizer = None
        if stage.discriminator is not None:
            rate = stage.settings.discriminator_learning_rate
            self.discriminator_optimizer = torch.optim.Adam(stage.discriminator.parameters(), rate, DISCRIMINATOR_BETAS)
        self._lpips, dtype = stage.lpips, mixed_precision_dtype(self.device)
        if dtype is not None:
            # After the averaged copy was made: autocast is bound to the networks that it was put on. Those of the
            # losses are copied, as the caller, and `validate`, measure with them.
            use_mixed_precision(networks, self.device, dtype)
            stage.lpips, stage.recognizer = copy.deepcopy((stage.lpips, stage.recognizer))
            for judge in (stage.lpips, stage.recognizer):
                if judge is not None:
                    use_autocast(judge.to(memory_format=torch.channels_last), self.device, dtype)
            if stage.lpips is not None:
                use_autocast(stage.lpips, self.device, dtype, "activations")

    def resume(self) -> None:
        """Go on where the last run into the same folder stopped.

        Raises:
            InvertAvatarError: There was none, or one of another stage.
        """
        state = load_state(self.settings.output, self.name)
        self.step, self.bad_steps, self.seconds = state["step"], state["bad_steps"], state["seconds"]
        self.watch = Watch(**state["watch"])
        self._take(state)

    def _take(self, state: dict) -> None:
        """Networks and what goes with them, from a run's state."""
        self.stage.networks.load_state_dict(state["networks"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        discriminator, optimizer = self.stage.discriminator, self.discriminator_optimizer
        if discriminator is not None and optimizer is not None and state["critic"] is not None:
            discriminator.load_state_dict(state["critic"])
            optimizer.load_state_dict(state["critic_optimizer"])

    def run(self) -> None:
        """Train until the step or the minute that the settings name, or until nothing is to be gained: a run that gets
        lost goes back to its best checkpoint and on from there half as fast, a few times (`Watch`).

        Raises:
            InvertAvatarError: The loss stays infinite or undefined.
        """
        settings, begun = self.settings, time.monotonic()
        settings.output.mkdir(parents=True, exist_ok=True)
        learner = self.accelerator.prepare(self.stage)
        discriminator = self.stage.discriminator and self.accelerator.prepare(self.stage.discriminator)
        last_step = ENDLESS if settings.steps is None else settings.steps
        deadline = float("inf") if settings.minutes is None else begun + settings.minutes * 60
        reserve = 10.0  # seconds that ending an interval takes; measured from the first one on
        if self.step == 0 and self.accelerator.is_main_process:
            self._measure({})  # a run that only gets worse goes back to what it began with
        log, interval_begun, longest, steps = _Log(), time.monotonic(), 0.0, 0
        for episode in self.training.loader(self.step, last_step, settings.workers):
            step_begun = time.monotonic()
            self._minutes_left = (deadline - step_begun - 1.5 * reserve) / 60
            log.add(self._train_step(learner, discriminator, episode.to(self.device)))
            self.step, steps = self.step + 1, steps + 1
            now = time.monotonic()
            if steps > 1:  # in the first one a GPU's libraries are loaded and tried
                longest = max(longest, now - step_begun)
            if now + 2 * longest + 1.5 * reserve > deadline:
                self.accelerator.set_trigger()
            # Every process asks, as one of them may have less time left than the others.
            out_of_time = self.accelerator.check_trigger()
            if self.step % settings.interval == 0 or self.step == last_step or out_of_time:
                spent = time.monotonic() - interval_begun
                self.seconds += spent
                verdict = self._finish_interval(log, spent) if self.accelerator.is_main_process else None
                verdict, self.watch = broadcast_object_list([verdict, self.watch])
                if verdict in (Verdict.lost, Verdict.hopeless):
                    self._go_back(verdict)
                    if verdict == Verdict.hopeless:
                        break
                reserve = max(reserve, time.monotonic() - interval_begun - spent)
                log, interval_begun = _Log(), time.monotonic()
            if out_of_time:
                break

    def _train_step(
        self, learner: nn.Module, discriminator: nn.Module | None, episode: Episode | Looks
    ) -> dict[str, Tensor]:
        settings, stage = self.settings, self.stage.settings
        torch.manual_seed(hash((settings.seed, self.step, self.accelerator.process_index)))
        for group in self.optimizer.param_groups:
            group["lr"] = stage.learning_rate * settings.pace(self.step, self.watch, self._minutes_left)
        adversarial = discriminator is not None and self.step >= stage.adversarial_from
        learner.train()
        output = learner(episode, adversarial)
        loss = stage.weights.total(output.terms)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.stage.learning(), MAX_GRADIENT_NORM)
        if self.watch.unusual(float(norm)):
            self.bad_steps += 1
            self._bad_in_a_row = 0 if norm.isfinite() else self._bad_in_a_row + 1
            if self._bad_in_a_row >= MAX_BAD_STEPS:
                raise InvertAvatarError(
                    f"The loss has been infinite or undefined for {MAX_BAD_STEPS} steps up to step {self.step}. "
                    "Resume from the last checkpoint with a lower --learning-rate."
                )
            return {}
        self._bad_in_a_row = 0
        self.optimizer.step()
        self.ema.update_parameters(self.stage.networks)
        measures = {"loss": loss, "gradient_norm": norm, **output.terms}
        optimizer = self.discriminator_optimizer
        if output.inputs is not None and discriminator is not None and optimizer is not None:
            discriminator_loss = discriminator(*output.inputs, needs_penalty(self.step))
            optimizer.zero_grad()
            self.accelerator.backward(discriminator_loss)
            nn.utils.clip_grad_norm_(discriminator.parameters(), 10 * MAX_GRADIENT_NORM)
            optimizer.step()
            measures["critic"] = discriminator_loss
        return {name: torch.as_tensor(value).detach() for name, value in measures.items()}

    def averaged(self) -> Networks:
        """The averaged networks, in eval mode."""
        return self.networks._replace(**dict(self.ema.module.eval().named_children()))

    def _state(self) -> dict:
        discriminator, discriminator_optimizer = self.stage.discriminator, self.discriminator_optimizer
        return {
            "stage": str(self.name),
            "step": self.step,
            "bad_steps": self.bad_steps,
            "seconds": self.seconds,
            "watch": asdict(self.watch),
            "networks": self.stage.networks.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "critic": discriminator and discriminator.state_dict(),
            "critic_optimizer": discriminator_optimizer and discriminator_optimizer.state_dict(),
        }

    def _go_back(self, verdict: Verdict) -> None:
        """All of the networks are as they were at the best checkpoint, and so is what is written of them."""
        best = load_state(self.settings.output, self.name, BEST_FILE)
        self._take(best)
        self.watch.went_back(self.step)
        outcome = "goes on from there half as fast" if verdict == Verdict.lost else "ends there"
        logger.warning("The run got worse up to step %d than it was at %d, and %s.", self.step, best["step"], outcome)
        if self.accelerator.is_main_process:
            save_state(self._state(), self.settings.output)
            save_pipeline(self.averaged(), self.settings.output / "pipeline")
        self.accelerator.wait_for_everyone()

    def _finish_interval(self, log: "_Log", seconds: float) -> Verdict:
        """State, export, preview and a line of the log, in this order: the state matters most."""
        output, averaged = self.settings.output, self.averaged()
        save_state(self._state(), output)
        save_pipeline(averaged, output / "pipeline")
        episodes = log.steps * self.training.sizes.batch_size * self.accelerator.num_processes
        line = {
            "step": self.step,
            "episodes": self.step * self.training.sizes.batch_size * self.accelerator.num_processes,
            "minutes": f"{self.seconds / 60:.2f}",
            "episodes_per_second": f"{episodes / seconds:.3g}",
            "learning_rate": f"{self.optimizer.param_groups[0]['lr']:.3g}",
            "bad_steps": self.bad_steps,
            **{name: f"{value:.5g}" for name, value in log.means().items()},
        }
        verdict = self._measure(line)
        append_line(output / f"metrics_{self.name}.csv", line)
        logger.info(
            "step %d: %s", self.step, ", ".join(f"{name} {value}" for name, value in line.items() if name != "step")
        )
        return verdict

    def _measure(self, line: dict) -> Verdict:
        """A preview of the averaged networks, what is measured of them for a line of the log, and what that says."""
        output, averaged = self.settings.output, self.averaged()
        if self.name == "prior" and isinstance(self.training, Episodes):
            size = self.training.shards.picture_size
            sample_sheet(averaged, size).save(output / f"samples_{self.step:07d}.jpg", quality=90)
        if self.name == "prior" or not self.validation:
            return Verdict.fine
        result = validate(averaged, self.validation, self._lpips, self.stage.coarse_only)
        result.sheet.save(output / f"preview_{self.step:07d}.jpg", quality=92)
        line |= {"val_psnr": f"{result.psnr:.3f}", "val_l1": f"{result.l1:.5f}"}
        line |= {} if result.lpips is None else {"val_lpips": f"{result.lpips:.4f}"}
        verdict = self.watch.verdict_on(result.score)
        line |= {name: f"{value:.4f}" for name, value in result.by_angle.items()} | {"verdict": str(verdict)}
        if verdict == Verdict.best:
            save_state(self._state(), output)  # which knows it now
            save_state(self._state(), output, BEST_FILE)
            save_pipeline(averaged, output / "best")
        return verdict


class _Log:
    """Means of an interval; values stay on their device until asked for."""

    def __init__(self):
        self.steps = 0
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, measures: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in measures.items():
            self._sums[name] = self._sums.get(name, 0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}


def append_line(path: Path, line: dict) -> None:
    """Add a line to a CSV file with the columns of `COLUMNS`; the first call writes the heading."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(line)


def read_log(path: Path) -> Iterator[dict[str, str]]:
    """The lines of a log."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _average(decay: float) -> Callable[[PARAM_LIST, PARAM_LIST, Tensor | int], None]:
    """Exponential averaging that starts quickly: after n updates with at most (1 + n) / (10 + n)."""

    @torch.no_grad()
    def update(averaged: PARAM_LIST, current: PARAM_LIST, count: Tensor | int) -> None:
        if not averaged[0].is_floating_point():  # counters of batch normalization
            torch._foreach_copy_(averaged, current)
            return
        now = min(decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averaged, current, 1 - now)

    return update
