"""The loop over epochs and batches."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..backend.naming import describe
from ..backend.native import native
from ..engine import no_grad
from ..nn import Module
from ..nn.utils import clip_grad_norm_
from ..optim.lr_scheduler import ReduceLROnPlateau
from ..optim.signals import signals_wait, users_code
from ..tensor import Tensor
from .files import Files, keeps_its_place, random_state, set_random_state, snapshot
from .history import History
from .mean import Mean
from .progress import Progress
from .settings import Settings, is_function
from .state import RunState

EVENTS = ("on_start", "on_step", "on_epoch", "on_end")


class Run(RunState):
    """A training in progress, as callbacks see it.

    model, optimizer: those given. history: the rows so far, `row` the latest of them. epoch: how many are
    complete. step: how many steps were taken; `loss` reads the latest one's loss. seconds: how long it has
    been training. `stop()` ends it.
    """

    def __init__(self, model: Module, optimizer: Any, settings: Settings) -> None:
        super().__init__(model, optimizer, settings)
        self._files, self._bar = Files(self), Progress(False, None, 0)
        self._signalled, self._last_line = False, ""

    @property
    def row(self) -> dict[str, Any] | None:
        """The latest row, None in the first epoch."""
        return self.history.rows[-1] if self.history.rows else None

    @property
    def loss(self) -> float:
        """The latest step's loss. On a GPU this waits for it."""
        self.read_losses()
        return self.mean.last

    def stop(self, reason: str = "callback") -> None:
        """Ends the training after the step, or the epoch's end, at hand."""
        self.history.stopped = self.history.stopped or reason

    # ------------------------------------------------------------ epochs

    def _note_position(self) -> None:
        """Everything is of this moment."""
        self.position = snapshot(self)
        self.n_changes, self.half_done = getattr(self.optimizer, "n_changes", 0), False

    def train(self) -> History:
        """The whole of it."""
        settings, was_training = self.settings, self.model.training
        n_steps = settings.epochs * self.n_batches if settings.epochs and self.n_batches else None
        self._bar = Progress(settings.progress, n_steps, self.step)
        if self.step:
            self._bar.line(f"resumed after step {self.step}, {self.epoch} epochs", always=True)
            if self.was_native in (True, False) and self.was_native != native.compiles:
                before, now = ("with", "without") if self.was_native else ("without", "with")
                warnings.warn(
                    f"fit: the run was begun {before} compiled code and goes on {now}: the last bits of its "
                    "numbers will differ",
                    RuntimeWarning,
                    stacklevel=3,
                )
        if self.unsaved and settings.checkpoint is not None:
            warnings.warn(
                f"fit: {', '.join(self.unsaved)} cannot be resumed exactly: what it draws is not in the "
                "checkpoint; use tinygrad_rnn.default_rng(), or a numpy.random.Generator",
                RuntimeWarning,
                stacklevel=3,
            )
        if self.history.rows:  # of a run that may have died before it wrote its log
            self._files.write(always=True, only="log")
        self.model.train()
        self.n_changes = getattr(self.optimizer, "n_changes", 0)
        try:
            with self._interrupts_deferred():
                if self.position is None:
                    self._note_position()
                self._call("on_start")
                self._stop_if_done()
                ahead = self.history.stopped is None
                while self.history.stopped is None:
                    self._one_epoch()
                if ahead:
                    self._files.write(always=True)
                if self._last_line:
                    self._bar.line(self._last_line, always=True)
                self._call("on_end")
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.write_log()
            raise
        finally:
            if self.history.interrupted:
                where = os.fsdecode(settings.checkpoint) if self._files.is_written else ""
                kept = f"; {where} is written, and resume=True goes on from it" if where else ""
                self._bar.line(f"interrupted after step {self.step}{kept}", always=True)
            self._bar.close()
            self.model.train(was_training)
        if settings.restore_best and self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        return self.history

    def _one_epoch(self) -> None:
        try:
            iterator = self._iterator()
            while True:
                self._note_position()
                if self.seconds >= self.settings.seconds:
                    self.stop("minutes")
                if self.history.stopped == "interrupted":
                    return
                if self.history.stopped is not None and self.batch:
                    break
                try:
                    with users_code():
                        batch = next(iterator)
                except StopIteration:
                    break
                self._take_step(batch)
            if not self.batch:
                hint = (
                    "an iterator can be read only once: give a list, a DataLoader, or a function of the epoch"
                    if self.epoch
                    else "is the data set smaller than a batch, with drop_last?"
                )
                raise ValueError(f"fit: batches gave nothing in epoch {self.epoch + 1}; {hint}")
            self._end_epoch(complete=self.history.stopped is None)
        except KeyboardInterrupt:  # as a rule of the user's code: `position` is before that step
            if self._signalled:
                raise
            self.stop("interrupted")

    def _iterator(self) -> Iterator[Any]:
        """This epoch's batches; in a resumed run those that are left of it."""
        source, at, self.resumed_at = self.settings.batches, self.resumed_at, None
        skip = 0
        if at is None or not self.batch:
            at, self.epoch_start = None, random_state(self)
        elif not keeps_its_place(source):
            skip = self.batch  # drawn again from the same random numbers, and left out
            set_random_state(self, self.epoch_start)
        with users_code():
            iterator = iter(source(self.epoch) if is_function(source) else source)
            for _ in range(skip):
                next(iterator, None)
        if at is not None:
            set_random_state(self, at["random"])
        return iterator

    def _end_epoch(self, complete: bool) -> None:
        """The row, the best weights, the schedule, the files. An epoch that is not `complete` was stopped in
        its middle, and a resumed run goes on in it.
        """
        settings, rows = self.settings, self.history.rows
        self.read_losses()
        row: dict[str, Any] = {"epoch": self.epoch + 1, "step": self.step, "loss": self.mean.value}
        row.update(self._validated())
        row["lr"] = float(self.optimizer.param_groups[0]["lr"])
        row["seconds"] = round(self.seconds, 3)
        self.half_done = True
        is_best = self._note_best(row, complete)
        if rows and rows[-1]["epoch"] == row["epoch"]:  # of the part of it that was done before
            rows.pop()
        rows.append(row)
        if complete:
            if isinstance(settings.scheduler, ReduceLROnPlateau):
                settings.scheduler.step(self._monitored(row))
            elif settings.scheduler is not None and settings.scheduler_every == "epoch":
                settings.scheduler.step()
            self.epoch, self.batch, self.mean = self.epoch + 1, 0, Mean()
        self._call("on_epoch")
        if complete:
            self._note_position()
        self.half_done = False
        self._stop_if_done()
        sentence = self._sentence(row, is_best)
        if self.history.stopped is not None:
            self._last_line = sentence  # said when everything is written
        else:
            self._files.write()  # before anything is said: where the output goes may be gone
            self._bar.line(sentence, always=row["epoch"] == 1)

    def _stop_if_done(self) -> None:
        settings = self.settings
        if settings.epochs is not None and self.epoch >= settings.epochs:
            self.stop("epochs")
        if settings.patience is not None and self.n_worse >= settings.patience:
            self.stop("patience")
        if self.seconds >= settings.seconds:
            self.stop("minutes")

    def _sentence(self, row: dict[str, Any], is_best: bool) -> str:
        numbers = [f"{k} {v:.4g}" for k, v in row.items() if k not in ("epoch", "step", "lr", "seconds")]
        of = f"/{self.settings.epochs}" if self.settings.epochs else ""
        mark = " (best)" if is_best else ""
        return f"epoch {row['epoch']}{of}: {', '.join(numbers)}{mark}, {row['seconds']:.0f} s"

    # ------------------------------------------------------------ a step

    def _take_step(self, batch: Any) -> None:
        settings = self.settings
        taken: list[tuple[Tensor, float]] = []

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            # a step that has begun to change something is not broken off
            unchanged = getattr(self.optimizer, "n_changes", None) == self.n_changes
            with users_code() if unchanged else contextlib.nullcontext():
                value, weight = _weighted(settings.loss(self.model, batch), "loss")
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise TypeError(
                    f"fit: loss must return a scalar tensor, got {describe(value)}; take its mean"
                )
            if not value.is_cuda:
                self._check_finite(value.item(), self.step + 1)
            taken.append((value.detach(), weight))
            value.backward()
            if settings.clip is not None:
                groups = self.optimizer.param_groups
                clip_grad_norm_([p for group in groups for p in group["params"]], settings.clip)
            return value

        self.half_done = not hasattr(self.optimizer, "n_changes")  # one that does not say what it changes
        self.optimizer.step(closure)
        self.half_done = True
        self.step, self.batch = self.step + 1, self.batch + 1
        self.mean.add(*taken[0])
        if settings.scheduler is not None and settings.scheduler_every == "step":
            settings.scheduler.step()
        if (
            not taken[0][0].is_cuda
            or self.mean.n_waiting >= 256
            or (self._bar.has_bar and self.mean.age >= 0.5)
        ):
            self.read_losses()
        self._bar.step(self.mean.last)
        self._call("on_step")

    # ------------------------------------------------------------ how good it is

    def _validated(self) -> dict[str, float]:
        """The numbers of `validate`, in eval mode and without a graph."""
        settings = self.settings
        if settings.validate is None:
            return {}
        self.model.eval()
        try:
            with no_grad(), users_code():
                if is_function(settings.validate):
                    found = settings.validate(self.model)
                    found = found if isinstance(found, Mapping) else {"valid_loss": found}
                    return {name: float(value) for name, value in found.items()}
                measures = {"valid_loss": settings.loss, **settings.metrics}
                means = {name: Mean() for name in measures}
                for batch in settings.validate:
                    for name, measure in measures.items():
                        means[name].add(*_weighted(measure(self.model, batch), name))
        finally:
            self.model.train()
        if not means["valid_loss"].weighs:
            raise ValueError(
                f"fit: validate gave no batches in epoch {self.epoch + 1}; an iterator can be read only "
                "once: give a list or a DataLoader"
            )
        return {name: mean.value for name, mean in means.items()}

    def _monitored(self, row: dict[str, Any]) -> float:
        monitor = self.settings.monitor
        if monitor not in row:
            raise ValueError(
                f"fit: monitor is {monitor!r}, but there is no such column; there are {', '.join(row)}"
            )
        return float(row[monitor])

    def _note_best(self, row: dict[str, Any], complete: bool) -> bool:
        """Whether an epoch is the best so far; then its weights are kept. NaN is not better than anything."""
        if self.settings.monitor is None:
            self.history.best = row
            return False
        sign = -1 if self.settings.mode == "max" else 1
        value = sign * self._monitored(row)
        best = math.inf
        if self.best_step >= 0 and self.history.best is not None:
            best = sign * self._monitored(self.history.best)
            best = math.inf if math.isnan(best) else best
        if value < best or (self.best_step == self.step and not math.isnan(value)):
            self.history.best, self.n_worse, self.best_step = row, 0, self.step
            self.best_weights = {name: t.clone() for name, t in self.model.state_dict().items()}
            return True
        if self.best_step < 0:  # none was: what the model has is the last one's
            self.history.best = row
        self.n_worse += complete
        return False

    # ------------------------------------------------------------ others' code

    @contextlib.contextmanager
    def _interrupts_deferred(self) -> Iterator[None]:
        """Signals wait while anything is half done, whoever handles them. The first Ctrl-C lets the step at
        hand end, the second one stops at once; where others handle it, it is theirs.
        """
        import signal
        import threading

        usual = signal.default_int_handler
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or signal.getsignal(signal.SIGINT) is not usual:
            with signals_wait():
                yield
            return

        def on_interrupt(number: int, frame: Any) -> None:
            if self._signalled:
                usual(number, frame)
            self._signalled = True
            self.stop("interrupted")

        signal.signal(signal.SIGINT, on_interrupt)
        try:
            with signals_wait():
                yield
        finally:
            signal.signal(signal.SIGINT, usual)

    def _call(self, event: str) -> None:
        for callback in self.settings.callbacks:
            method = getattr(callback, event, None)
            if event == "on_epoch" and not any(hasattr(callback, other) for other in EVENTS):
                method = callback
            if method is not None:
                try:
                    with users_code():
                        method(self)
                except KeyboardInterrupt:  # between two steps: everything is whole
                    if self._signalled:
                        raise
                    self.stop("interrupted")


def _weighted(result: Any, name: str) -> tuple[Any, float]:
    """A value and its weight, from a value or the pair of them."""
    if isinstance(result, Sequence) and not isinstance(result, str):
        if len(result) != 2:
            raise TypeError(
                f"fit: {name} returned {len(result)} values, expected a scalar or a pair (scalar, weight)"
            )
        return result[0], float(result[1])
    return result, 1.0
