"""The training loop. There is one; strategies and tasks are what is given to it."""

import contextlib
import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from minitl.data import length_grouped_batches
from minitl.errors import Diverged, InputError, Interrupted
from minitl.models.base import Model
from minitl.tasks.task import Task
from minitl.training.evaluation import run_over
from minitl.training.feeds import FeatureFeed, Feed
from minitl.training.interrupt import stop_between_steps
from minitl.training.lock import alone_in
from minitl.training.log import History, Listener, Step, Validation
from minitl.training.memory import PeakMemory
from minitl.training.optimizer import make_optimizer, make_schedule, set_rate
from minitl.training.settings import Settings
from minitl.training.state import Progress, learning, load_state, save_state
from minitl.training.strategies import FULL, Strategy

SAVING = 0.1  # the largest share of the time that saving the state may take; a state is up to four times the weights


@dataclass(frozen=True)
class Result:
    """What `fit` returns; the model itself holds the best weights.

    best_epoch    the epoch, from 1, whose validation metric was best; the last one without a validation split
    metrics       the validation metrics of that epoch, "loss" among them; empty without a validation split
    steps         optimiser steps taken
    seconds       wall-clock time, evaluation included, over all parts of an interrupted training
    peak_memory   bytes, the largest over all parts of an interrupted training
    """

    best_epoch: int
    metrics: dict[str, float]
    steps: int
    seconds: float
    peak_memory: int
    history: History


def fit(
    model: Model,
    train: Sequence[Any],
    validation: Sequence[Any] | None = None,
    *,
    task: Task[Any, Any],
    settings: Settings | None = None,
    strategy: Strategy = FULL,
    folder: str | Path | None = None,
    listener: Listener | None = None,
    resume: bool = False,
) -> Result:
    """Train `model` on `train`; evaluate on `validation` after each epoch and end with the weights that did best there.

    task       collation, loss and metric; its head must be the model's
    settings   epochs, rates, seeds (`Settings()` for None); the learning rate is the strategy's where they name none
    strategy   which parameters learn, and from when on
    folder     where the log is kept, and the state of the training: saved after the first epoch, after each later one
               unless saving would then take more than a tenth of the time, and at the end. It stays there until
               `discard_state(folder)`, so that nothing is lost before the caller has saved the result
    listener   told of each step, for progress bars
    resume     go on from the state in `folder` if there is one: the result is that of an unbroken run

    Raises DataError (an empty split, a label out of range), InputError (the wrong head, nothing that learns),
    TrainingError (a state of another training, a folder in which another process trains), Diverged (a loss or gradient
    that is not finite: the model holds the last good weights), Interrupted (Ctrl-C or SIGTERM: the state was saved).
    """
    settings = (settings or Settings()).with_rate(strategy.usual_rate)
    _check(model, task, train, validation)
    torch.manual_seed(settings.seed)
    strategy.prepare(model)
    where = None if folder is None else Path(folder)
    with alone_in(where), stop_between_steps() as stop:
        run = _Training(model, task, train, validation, settings, strategy, where)
        run.begin(resume, listener)
        while not run.finished:
            model.train()
            for window in run.windows_left():
                strategy.open(model, run.progress.step / run.steps)
                step = run.step(window)
                if listener:
                    listener.on_step(step)
                run.stop_if_asked(stop.signum)
            validated = run.end_epoch()
            if listener and validated:
                listener.on_validation(validated)
            run.stop_if_asked(stop.signum)
        run.end()
        run.stop_if_asked(stop.signum)
    return run.result()


class _Training:
    """What one call of `fit` works with: the parts that stay, and the progress that moves."""

    def __init__(
        self,
        model: Model,
        task: Task[Any, Any],
        train: Sequence[Any],
        validation: Sequence[Any] | None,
        settings: Settings,
        strategy: Strategy,
        folder: Path | None,
    ) -> None:
        self.model, self.task, self.settings, self.folder = model, task, settings, folder
        self.memory = PeakMemory(next(model.parameters()).device)
        learn = _may_learn(model, strategy)
        self.optimizer = make_optimizer(model, settings, learn, strategy.lora_plus, strategy.layer_decay)
        self.learning = learning(self.optimizer, model)
        self.feed = _feed(model, task, train, strategy, settings)
        self.validation = validation
        self.validation_feed = _feed(model, task, validation, strategy, settings) if validation else None
        batches = math.ceil(len(self.feed.items) / settings.batch_size)
        self.windows_per_epoch = math.ceil(batches / settings.accumulation)
        self.steps = settings.epochs * self.windows_per_epoch
        self.rate = make_schedule(settings, self.steps)
        self.identity = _identity(model, task, settings, strategy, train, validation)
        self.progress = Progress()
        self.started = time.perf_counter()
        self.save_from = self.started  # no state before this moment, unless the training is interrupted

    def begin(self, resume: bool, listener: Listener | None) -> None:
        """Take up an interrupted training, if that is wanted and there is one."""
        if resume and self.folder is not None:
            self.progress = load_state(self.folder, self.model, self.optimizer, self.identity) or self.progress
        self.started -= self.progress.seconds
        if listener:
            listener.on_start(self.steps, self.progress.step)

    @property
    def finished(self) -> bool:
        """All epochs taken, or none better for as many as there is patience for."""
        progress, patience = self.progress, self.settings.patience
        if patience is not None and self.validation is not None and progress.epoch - progress.best_epoch >= patience:
            return True
        return progress.epoch >= self.settings.epochs

    def windows_left(self) -> list[list[list[int]]]:
        """The epoch's optimiser steps still to take, each a list of batches, each a list of example indices."""
        settings, every = self.settings, self.settings.accumulation
        batches = length_grouped_batches(self.feed.lengths, settings.batch_size, settings.seed, self.progress.epoch)
        return [batches[i : i + every] for i in range(self.progress.window * every, len(batches), every)]

    def step(self, window: list[list[int]]) -> Step:
        """Accumulate the gradients of the window's batches, clip, and step at the schedule's rate."""
        progress, total, count = self.progress, 0.0, 0
        for batch in window:
            with _autocast(self.model, self.settings):
                output, read = self.feed(batch)
                loss, targets_in_batch = self.task.loss(output, read.targets)
            loss.backward()
            total, count = total + loss.item(), count + targets_in_batch
        self._stop_unless_finite("loss", total, progress.step + 1)
        count = max(1, count)  # by chance nothing is to be said of a batch: masks are drawn
        # The mean over the window's targets, not of the batches' means: a short batch must not weigh like a full one.
        loss_per_target, norm = total / count, self._normalize(count)
        rate = self.rate(progress.step)
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad()
        progress.window, progress.step = progress.window + 1, progress.step + 1
        epoch = progress.epoch + progress.window / self.windows_per_epoch
        step = Step(progress.step, epoch, loss_per_target, rate, norm)
        if progress.step % self.settings.log_every == 0 or progress.step == self.steps:
            progress.history.steps.append(step)
        return step

    @torch.no_grad()
    def _normalize(self, count: int) -> float:
        """Divide the summed gradients by `count` targets and clip them in one pass; returns the norm before that."""
        learnable = [p for group in self.optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in learnable if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) / count
        self._stop_unless_finite("gradient's norm", float(norm), self.progress.step + 1)
        clip = self.settings.clip or math.inf
        torch._foreach_mul_(gradients, (clip / (norm + 1e-6)).clamp(max=1.0) / count)
        return float(norm)

    def end_epoch(self) -> Validation | None:
        """Evaluate, remember the weights if they are the best so far, and save the state if it is time."""
        progress, validation = self.progress, None
        progress.epoch, progress.window = progress.epoch + 1, 0
        if self.validation is not None and self.validation_feed is not None:
            with _autocast(self.model, self.settings):
                predictions, loss = run_over(self.model, self.validation_feed, self.task, self.settings.eval_batch_size)
            self._stop_unless_finite("validation loss", loss, progress.step)
            metrics = self.task.score(predictions, self.validation)
            validation = Validation(progress.step, progress.epoch, loss, metrics)
            progress.history.validations.append(validation)
            # Small splits often tie in accuracy; then the lower loss is the better model.
            if (key := (metrics[self.task.metric], -loss)) > progress.best_key:
                progress.best_key, progress.best_epoch = key, progress.epoch
                named = self.model.named_parameters()
                progress.best = {name: p.detach().clone() for name, p in named if name in self.learning}
        if not self.finished and time.perf_counter() >= self.save_from:
            self._save()
        return validation

    def end(self) -> None:
        """Put the best weights in place, and keep them in the folder until the caller has saved them."""
        self._restore_best()
        self.model.eval()
        self.progress.best.clear()
        self.optimizer.state.clear()
        self._save()

    def stop_if_asked(self, signum: int | None) -> None:
        """Once a signal was noted, save the state and raise Interrupted."""
        if signum is None:
            return
        self._save()
        where = "without a folder nothing was saved" if self.folder is None else f"the state is in {self.folder}"
        raise Interrupted(f"stopped after step {self.progress.step} of {self.steps}; {where}", signum)

    def result(self) -> Result:
        progress = self.progress
        best = next((v for v in progress.history.validations if v.epoch == progress.best_epoch), None)
        metrics = {} if best is None else {"loss": best.loss, **best.metrics}
        best_epoch = progress.best_epoch or self.settings.epochs
        return Result(best_epoch, metrics, progress.step, progress.seconds, progress.peak_memory, progress.history)

    def _save(self) -> None:
        began = time.perf_counter()
        self.progress.seconds = began - self.started
        self.progress.peak_memory = max(self.progress.peak_memory, self.memory.bytes)
        if self.folder is not None:
            save_state(self.folder, self.model, self.optimizer, self.progress, self.identity)
            self.progress.history.write(self.folder)
        ended = time.perf_counter()
        self.save_from = ended + (ended - began) / SAVING

    def _stop_unless_finite(self, what: str, value: float, step: int) -> None:
        if math.isfinite(value):
            return
        progress = self.progress
        self._restore_best()
        self.model.eval()
        best = progress.best_epoch
        kept = f"the weights of epoch {best} were put back" if best else f"the weights of step {progress.step} stand"
        raise Diverged(
            f"the {what} is {value} at step {step} of {self.steps} (epoch {math.ceil(step / self.windows_per_epoch)}); "
            f"{kept}; the learning rate was {self.rate(step - 1):.2g}, and a lower one may help"
        )

    def _restore_best(self) -> None:
        with torch.no_grad():
            for name, value in self.progress.best.items():
                self.model.get_parameter(name).copy_(value)


def _feed(model: Model, task: Task[Any, Any], examples: Sequence[Any], strategy: Strategy, settings: Settings) -> Feed:
    device = next(model.parameters()).device
    if strategy.backbone_is_constant and not task.redraws:
        return FeatureFeed(model, task, examples, device, settings.eval_batch_size)
    return Feed(model, task, examples, device)


def _may_learn(model: Model, strategy: Strategy) -> set[str]:
    """Names of the parameters that learn at any time of the training."""
    strategy.open(model, 1.0)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    strategy.open(model, 0.0)
    return names


def _check(model: Model, task: Task[Any, Any], train: Sequence[Any], validation: Sequence[Any] | None) -> None:
    if model.task != task.name:
        raise InputError(f"the task {task.name} needs a model with that head; this one's is {model.task}")
    task.check(train, "training")
    if validation:
        task.check(validation, "validation")


def _identity(
    model: Model,
    task: Task[Any, Any],
    settings: Settings,
    strategy: Strategy,
    train: Sequence[Any],
    validation: Sequence[Any] | None,
) -> dict[str, Any]:
    """What an interrupted training must share with the one that goes on from it."""

    def digest(examples: Sequence[Any] | None) -> int:
        return zlib.crc32(repr(list(examples or [])).encode("utf-8", "surrogatepass"))

    return {
        "model": {"source": model.source, "config": model.config.to_dict()},
        "task": task.describe(),
        "settings": settings.to_dict(),
        "strategy": asdict(strategy),
        "data": {"training": digest(train), "validation": digest(validation)},
    }


def _autocast(model: Model, settings: Settings) -> contextlib.AbstractContextManager[Any]:
    if settings.autocast == "float32":
        return contextlib.nullcontext()
    return torch.autocast(next(model.parameters()).device.type, dtype=torch.bfloat16)
