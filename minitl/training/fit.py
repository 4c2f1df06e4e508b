"""The training loop. There is one; strategies, tasks and engines are what is given to it."""

import contextlib
import functools
import math
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from minitl.data import Stream, length_grouped_batches
from minitl.errors import Diverged, InputError, Interrupted
from minitl.models.base import Model
from minitl.tasks.task import Task
from minitl.training.averaging import Average
from minitl.training.engine import ALONE, Engine, parameter_names
from minitl.training.evaluation import run_over
from minitl.training.failure import save_batches
from minitl.training.feeds import FeatureFeed, Feed
from minitl.training.identity import identity
from minitl.training.interrupt import stop_between_steps
from minitl.training.lock import alone_in
from minitl.training.log import History, Listener, Step, Validation
from minitl.training.memory import PeakMemory
from minitl.training.optimizer import make_optimizer, make_schedule
from minitl.training.portions import source_of
from minitl.training.pull import Pull
from minitl.training.recomputing import recomputed
from minitl.training.replay import Replay
from minitl.training.settings import Settings
from minitl.training.snapshot import Snapshot
from minitl.training.state import FEATURES, Progress, check_identity, discard_states, read_state, save_state
from minitl.training.stepping import LossScale, accumulate, autocast, normalize
from minitl.training.strategies import FULL, Strategy
from minitl.training.tensorboard import TensorBoard

SAVING = 0.1  # the largest share of the time that saving the state may take; a state is up to four times the weights
OFTEN = 600.0  # seconds after which a state is due within an epoch, too
FIRST = 10  # steps by whose losses one that explodes is known


@dataclass(frozen=True)
class Result:
    """What `fit` returns; the model itself holds the best weights.

    best_epoch    when the validation metric was best, in epochs; the end without a validation split
    metrics       the validation metrics of that moment, "loss" among them; empty without a validation split
    steps         optimiser steps taken
    seconds       wall-clock time, evaluation included, over all parts of an interrupted training
    peak_memory   bytes, the largest over all parts of an interrupted training
    history       every step and validation; not shown when the result is printed
    """

    best_epoch: float
    metrics: dict[str, float]
    steps: int
    seconds: float
    peak_memory: int
    history: History = field(repr=False)


def fit(
    model: Model,
    train: Sequence[Any] | Stream[Any],
    validation: Sequence[Any] | None = None,
    *,
    task: Task[Any, Any],
    settings: Settings | None = None,
    strategy: Strategy = FULL,
    folder: str | Path | None = None,
    listener: Listener | None = None,
    resume: bool | Literal["forced"] = False,
    engine: Engine = ALONE,
    replay: Replay | None = None,
) -> Result:
    """Train `model` on `train`; evaluate on `validation` after each epoch and end with the weights that did best there.

    train      examples, or a stream of them: each of its portions counts as an epoch
    task       collation, loss and metric; its head must be the model's
    settings   epochs, rates, seeds (`Settings()` for None); the learning rate is the strategy's where they name none
    strategy   which parameters learn, and from when on
    folder     where the log is kept, and the state of the training: saved after the first epoch, after each later one
               and every ten minutes unless saving would then take more than a tenth of the time, and at the end. It
               stays there until `discard_state(folder)`, so that nothing is lost before the caller has saved the result
    listener   told of each step, for progress bars; `Lines()` prints a line after each validation
    resume     go on from the state in `folder` if there is one: the result is that of an unbroken run. "forced": also
               from that of a training with other settings or data
    engine     on how many processes, each of which calls this
    replay     a pretraining task that goes on beside this one, on the same backbone

    Raises DataError (an empty split, a label out of range), InputError (the wrong head, nothing that learns or ever
    will, validations asked for without a split),
    TrainingError (a state of another training, a folder in which another process trains), Diverged (a loss or gradient
    that is not finite, or explodes: the model holds the last good weights, and the batch is in `folder`), Interrupted
    (Ctrl-C or SIGTERM: the state was saved), CheckpointError (the state cannot be saved; the one before is whole).
    """
    settings = settings or Settings()
    where = None if folder is None else Path(folder)
    held = alone_in(where if engine.rank == 0 else None)
    with held, stop_between_steps() as stop, recomputed(model, settings.checkpointing):
        run = prepare(model, train, validation, task, settings, strategy, where, engine, listener, replay)
        run.begin(resume)
        while not run.finished:
            for window in run.windows_left():
                run.validate_if_due()
                if run.finished:
                    break
                run.step(window)
                run.stop_or_save(stop.signum)
            else:
                run.end_epoch()
                run.stop_or_save(stop.signum)
        run.end()
        run.stop_or_save(stop.signum)
    return run.result()


def prepare(
    model: Model,
    train: Sequence[Any] | Stream[Any],
    validation: Sequence[Any] | None,
    task: Task[Any, Any],
    settings: Settings,
    strategy: Strategy,
    folder: Path | None,
    engine: Engine,
    listener: Listener | None,
    replay: Replay | None = None,
) -> "Training":
    """Check what `fit` was given, let learn what the strategy lets learn first, and tokenise."""
    settings = settings.with_rate(strategy.usual_rate).on(next(model.parameters()).device)
    settings.check_validation(validation)
    _check(model, task, train, validation)
    if replay and (engine.world > 1 or strategy.backbone_is_constant):
        raise InputError("replay needs a backbone that learns, and one process")
    if isinstance(train, Stream) and settings.steps is None:
        raise InputError("a stream has no end: say how many steps there are to be (training.steps)")
    if isinstance(train, Stream) and strategy.backbone_is_constant:
        raise InputError(
            "features of a frozen backbone are computed once for all examples, and a stream is never whole"
        )
    heard = [] if listener is None else [listener]
    if settings.tensorboard and folder is not None and engine.rank == 0:
        heard.append(TensorBoard(folder))
    torch.manual_seed(settings.seed)
    strategy.prepare(model)
    if engine.rank > 0:  # fresh weights are alike, what is dropped is not
        torch.manual_seed(settings.seed + engine.rank)
    if replay:
        replay.attach(model)
    return Training(model, task, train, validation, settings, strategy, folder, engine, heard, replay)


class Training:
    """What one call of `fit` works with: the parts that stay, and the progress that moves."""

    def __init__(
        self,
        model: Model,
        task: Task[Any, Any],
        train: Sequence[Any] | Stream[Any],
        validation: Sequence[Any] | None,
        settings: Settings,
        strategy: Strategy,
        folder: Path | None,
        engine: Engine,
        listeners: Sequence[Listener],
        replay: Replay | None,
    ) -> None:
        self.model, self.task, self.settings, self.strategy = model, task, settings, strategy
        self.folder, self.engine, self.listeners, self.replay = folder, engine, listeners, replay
        self.memory = PeakMemory(next(model.parameters()).device)
        feed = functools.partial(_feed, model, task, strategy, settings, folder)
        self.source = source_of(train, task, feed)
        self.feed = self.source.begin(None)
        self.validation = validation
        self.validation_feed = feed(validation) if validation else None
        learn = _may_learn(model, strategy)
        self.identity = identity(model, learn, task, settings, strategy, replay, train, validation)
        engine.place(model)
        self.optimizer = make_optimizer(
            model, settings, learn, strategy.lora_plus, strategy.layer_decay, pulled=strategy.l2_sp > 0
        )
        self.learning = parameter_names(model, self.optimizer.parameters)
        self.pull = Pull(model, strategy.l2_sp) if strategy.l2_sp else None
        self.average = Average(model, self.learning, settings.ema) if settings.ema else None
        self.scale = LossScale(settings.autocast)
        self.snapshot = Snapshot(model, self.learning, self.optimizer, self.average, self.scale, engine)
        self.opened: float | None = None  # how much of the backbone learns now
        self.steps = settings.steps or settings.epochs * self.windows_per_epoch
        self.epochs = self.steps / self.windows_per_epoch
        self.rate = make_schedule(settings, self.steps)
        self.progress = Progress()
        self.started = time.perf_counter()
        self.saved_at = self.save_from = self.started  # no state before this moment, unless the training is interrupted
        model.train(task.dropout)

    def begin(self, resume: bool | str) -> None:
        """Take up an interrupted training, if that is wanted and there is one."""
        self.strategy.check_epochs(self.epochs)
        found = read_state(self.folder) if resume and self.folder is not None else None
        if found is not None and self.folder is not None:
            check_identity(found[1]["identity"], self.identity, self.folder, forced=resume == "forced")
            self.progress = self.snapshot.restore(*found)
            self.feed = self.source.begin(self.progress.place)
        self.started -= self.progress.seconds
        if self.folder is not None and not resume:
            if self.engine.rank == 0:
                discard_states(self.folder)  # else an interruption before the first own one would go on from those
            self.engine.wait()
        if self.written is not None:
            self.progress.history.write(self.written)  # without what happened after the state was saved
        for listener in self.listeners:
            listener.on_start(self.steps, self.progress.step)

    @property
    def written(self) -> Path | None:
        """Where this process writes what happens."""
        return self.folder if self.engine.rank == 0 else None

    @property
    def finished(self) -> bool:
        """All steps taken, or none better for as many validations as there is patience for."""
        patience = self.settings.patience
        if patience is not None and self.progress.since_best >= patience:
            return True
        return self.progress.step >= self.steps

    @property
    def windows_per_epoch(self) -> int:
        """Optimiser steps that the present feed has."""
        batches = math.ceil(len(self.feed.items) / self.settings.batch_size)
        return math.ceil(batches / self.settings.accumulation)

    @property
    def epoch(self) -> float:
        """The epochs taken, in fractions."""
        return self.progress.epoch + self.progress.window / self.windows_per_epoch

    def windows_left(self) -> list[list[list[int]]]:
        """The epoch's optimiser steps still to take, each a list of batches, each a list of example indices."""
        settings, every = self.settings, self.settings.accumulation
        batches = length_grouped_batches(self.feed.lengths, settings.batch_size, settings.seed, self.progress.epoch)
        return [batches[i : i + every] for i in range(self.progress.window * every, len(batches), every)]

    def step(self, window: list[list[int]]) -> None:
        """Accumulate the gradients of the window's batches, clip, and step at the schedule's rate."""
        progress, scale = self.progress, self.scale.value
        self._open()
        given = accumulate(
            self.fed,
            window,
            model=self.model,
            settings=self.settings,
            engine=self.engine,
            scale=scale,
        )
        self._stop_unless_good("loss", given.loss, progress.step + 1, window)
        if self.replay:
            replayed = self.replay.add(self.settings, progress.step, given.count * scale)
            self._stop_unless_good("replayed loss", replayed, progress.step + 1)
        norm = normalize(
            self.optimizer, given.count, settings=self.settings, engine=self.engine, scale=scale, pull=self.pull
        )
        rate = self.rate(progress.step)
        if math.isfinite(norm) or not self.scale.overflowed():
            self._stop_unless_good("gradient's norm", norm, progress.step + 1, window)
            self.scale.held()
            self.optimizer.set_rate(rate)
            self.optimizer.step()
        self.optimizer.zero_grad()
        progress.window, progress.step = progress.window + 1, progress.step + 1
        if self.average:
            self.average.update(self.model, progress.step)
        step = Step(progress.step, self.epoch, given.loss, rate, norm, given.tokens)
        if progress.step % self.settings.log_every == 0 or progress.step == self.steps:
            progress.history.add(step, self.written)
        for listener in self.listeners:
            listener.on_step(step)

    def _open(self) -> None:
        """Let learn what the strategy lets learn now; the engine must know when that changes."""
        epoch, step = self.progress.epoch / self.epochs, self.progress.step / self.steps
        moment = epoch if self.strategy.by_epoch else step
        if (share := self.strategy.share(moment)) != self.opened:
            self.strategy.open(self.model, moment)
            self.opened, self.fed = share, self.engine.connect(self.model, self.feed)

    def end_epoch(self) -> None:
        """Turn to the next epoch, and evaluate where that is not due at other steps."""
        progress = self.progress
        progress.epoch, progress.window = progress.epoch + 1, 0
        if self.settings.evaluate_every is None:
            self._validate()
        if not self.finished and (feed := self.source.turn()) is not self.feed:
            self.feed, self.opened = feed, None

    def validate_if_due(self) -> None:
        """Evaluate where that is due after the step before and was not done: a run may have been interrupted there."""
        every = self.settings.evaluate_every
        if every is not None and self.progress.step and self.progress.step % every == 0:
            self._validate()

    def _validate(self) -> None:
        """Evaluate, and remember the weights if they are the best so far; nothing if this step's were evaluated."""
        progress, done = self.progress, self.progress.history.validations
        if self.validation is None or self.validation_feed is None or (done and done[-1].step == progress.step):
            return
        with self.average.in_place(self.model) if self.average else contextlib.nullcontext():
            loss = self._evaluate()
        self._stop_unless_good("validation loss", loss, progress.step)
        for listener in self.listeners:
            listener.on_validation(done[-1])

    def _evaluate(self) -> float:
        """Note the metrics of the weights that are in place, and remember the best; returns the loss."""
        progress, settings = self.progress, self.settings
        assert self.validation is not None
        assert self.validation_feed is not None
        with autocast(self.model, settings):
            predictions, loss = run_over(
                self.model, self.validation_feed, self.task, settings.eval_batch_size, engine=self.engine
            )
        if not math.isfinite(loss):
            return loss
        metrics = self.task.score(predictions, self.validation)
        progress.history.add(Validation(progress.step, self.epoch, loss, metrics), self.written)
        progress.since_best += 1
        # Small splits often tie in accuracy; then the lower loss is the better model.
        if (key := (metrics[self.task.metric], -loss)) > progress.best_key:
            progress.best_key, progress.best_step, progress.best_epoch = key, progress.step, self.epoch
            progress.since_best = 0
            named = self.model.named_parameters()
            progress.best = {name: p.detach().clone() for name, p in named if name in self.learning}
        return loss

    def end(self) -> None:
        """Put the best weights in place, and keep them in the folder until the caller has saved them."""
        self._validate()
        if self.average and not self.progress.best_step:
            self.progress.best = self.average.values
        self._restore_best()
        self.model.eval()
        self.progress.best = {}
        self.optimizer.forget()
        self._save()

    def stop_or_save(self, signum: int | None) -> None:
        """Save the state if it is time; once a signal was noted, save it and raise Interrupted. All processes agree."""
        due = self.engine.rank == 0 and self._save_is_due()
        asked, save = self.engine.sums(signum is not None, due)
        if asked:
            self._save()
            where = "without a folder nothing was saved" if self.folder is None else f"the state is in {self.folder}"
            # Where another process heard it, this one stops as if told to.
            told = signum or signal.SIGTERM
            raise Interrupted(f"stopped after step {self.progress.step} of {self.steps}; {where}", told)
        if save:
            self._save()

    def _save_is_due(self) -> bool:
        progress, every, now = self.progress, self.settings.save_every, time.perf_counter()
        if self.folder is None or self.finished:
            return False
        if every is not None:
            return progress.window > 0 and progress.step % every == 0  # not again where the epoch ends
        return now >= self.save_from and (progress.window == 0 or now >= self.saved_at + OFTEN)

    def result(self) -> Result:
        progress = self.progress
        best = next((v for v in progress.history.validations if v.step == progress.best_step), None)
        metrics = {} if best is None else {"loss": best.loss, **best.metrics}
        best_epoch = progress.best_epoch if best else self.epoch
        return Result(best_epoch, metrics, progress.step, progress.seconds, progress.peak_memory, progress.history)

    def _save(self) -> None:
        progress, began = self.progress, time.perf_counter()
        progress.seconds, progress.place = began - self.started, self.source.place
        progress.peak_memory = max(progress.peak_memory, self.memory.bytes)
        if self.folder is not None:
            facts = {"identity": self.identity, **self.snapshot.facts(progress)}
            save_state(self.folder, self.snapshot.tensors(progress), facts, self.settings.keep, self.engine)
        self.saved_at = time.perf_counter()
        self.save_from = self.saved_at + (self.saved_at - began) / SAVING

    def _stop_unless_good(self, what: str, value: float, step: int, window: Sequence[Sequence[int]] = ()) -> None:
        """Raise Diverged, with the best weights back in place, where `value` is not finite, or the loss explodes."""
        progress, limit = self.progress, math.inf
        if what == "loss" and math.isfinite(value):
            limit = self._explodes_above(abs(value))
        if math.isfinite(value) and value <= limit:
            return
        self._restore_best()
        self.model.eval()
        best = progress.best_epoch
        kept = f"the weights of epoch {best:g} were put back" if best else f"the weights of step {progress.step} stand"
        facts = {"step": step, "what": what, "value": str(value), "learning_rate": self.rate(step - 1)}
        seen = ""
        if window and self.folder is not None and self.engine.rank == 0:
            seen = f"; what was read is in {save_batches(self.folder, self.feed, window, facts)}"
        epoch = math.ceil(self.epoch + (step - progress.step) / self.windows_per_epoch)
        usual = limit / (self.settings.explosion or 1) - 1
        beyond = f", above {limit:.3g}, which is all that `explosion` allows after {usual:.2g} in the beginning"
        raise Diverged(
            f"the {what} is {value:.3g}{beyond if limit < math.inf else ''} at step {step} of {self.steps} "
            f"(epoch {epoch}); {kept}; the learning rate was "
            f"{self.rate(step - 1):.2g}, and a lower one may help{seen}"
        )

    def _explodes_above(self, loss: float) -> float:
        """The loss that is too much, by the first one or the mean of the first few, whichever is lower.

        The mean alone would not do: the first few may have exploded themselves.
        """
        first, explosion = self.progress.first_losses, self.settings.explosion
        limit = explosion * (1 + min(first[0], sum(first) / len(first))) if first and explosion else math.inf
        if len(first) < FIRST and loss <= limit:
            first.append(loss)
        return limit

    def _restore_best(self) -> None:
        with torch.no_grad():
            for name, value in self.progress.best.items():
                self.model.get_parameter(name).copy_(value)


def _feed(
    model: Model,
    task: Task[Any, Any],
    strategy: Strategy,
    settings: Settings,
    folder: Path | None,
    examples: Sequence[Any],
) -> Feed:
    device = next(model.parameters()).device
    if strategy.backbone_is_constant and not task.redraws:
        kept = Path(settings.features) if settings.features else folder / FEATURES if folder else None
        return FeatureFeed(model, task, examples, device, settings.eval_batch_size, kept)
    return Feed(model, task, examples, device)


def _may_learn(model: Model, strategy: Strategy) -> set[str]:
    """Names of the parameters that learn at any time of the training."""
    strategy.open(model, 1.0)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    strategy.open(model, 0.0)
    return names


def _check(
    model: Model, task: Task[Any, Any], train: Sequence[Any] | Stream[Any], validation: Sequence[Any] | None
) -> None:
    if model.task != task.name:
        raise InputError(f"the task {task.name} needs a model with that head; this one's is {model.task}")
    if not isinstance(train, Stream):
        task.check(train, "training")
    if validation:
        task.check(validation, "validation")
