"""`fit`: a training loop with validation, early stopping, checkpoints and exact resume, as one call."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..backend.naming import describe
from ..io.atomic import check_writable, file_name
from ..io.structure import Arrays, encoded
from ..nn import Module
from ..optim.lr_scheduler import ReduceLROnPlateau
from . import files
from .history import COLUMNS, History, is_jsonl
from .run import EVENTS, Run
from .settings import Settings, is_function


def fit(
    model: Module,
    loss: Callable[[Any, Any], Any],
    batches: Any,
    optimizer: Any,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    validate: Any = None,
    metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None,
    monitor: str | None = None,
    mode: str = "min",
    patience: int | None = None,
    restore_best: bool = True,
    checkpoint: Any = None,
    resume: bool = False,
    extras: Mapping[str, Any] | None = None,
    log: Any = None,
    clip: float | None = None,
    scheduler: Any = None,
    scheduler_every: str = "epoch",
    callbacks: Any = (),
    progress: bool = True,
) -> History:
    """Trains a model and returns the `History`: one row of numbers for each epoch.

        def loss(model, batch):
            x, y = batch
            return F.cross_entropy(model(x), y)

        history = tg.fit(model, loss, loader, optimizer, epochs=10, validate=valid_loader, patience=3)

    loss: a function of the model and a batch that returns a scalar tensor, or a pair of it and its weight in
        the epoch's mean (a number: samples, tokens; 1 otherwise).
    batches: a DataLoader, a list, anything that can be iterated over once for each epoch; or a function of
        the epoch's number (from 0) that returns it.
    epochs, minutes: when to stop, whichever comes first; both count from the start of the first of several
        resumed runs. At least one is needed.
    validate: batches that `loss` is measured on after each epoch, in eval mode and without a graph, as
        "valid_loss"; or a function of the model that returns a number or a dictionary of numbers.
    metrics: more to measure on them: name -> function of the model and a batch that returns a number, a
        scalar tensor, or a pair of it and its weight.
    monitor: the column that says which epoch is best ("valid_loss" where there is one), lowest or, with
        mode="max", highest; one in which it is NaN never is. After `patience` epochs without a better one
        training stops. At the end the model has the best epoch's weights, or, with `restore_best=False` or
        nothing to monitor, the last ones.
    checkpoint: a file for `tg.load`: "model" is the best epoch's weights, "optimizer" the optimiser, and
        `extras`, a dictionary of plain data, stands beside them. Written after epochs (as often as costs at
        most a twentieth of the time), at the end, and at Ctrl-C.
    resume: goes on from `checkpoint` where it exists. The run goes on bit for bit as it would have without
        the interruption: weights, optimiser, scheduler, random numbers (the package's generator, those of the
        model's layers, of a DataLoader's sampler and dataset), the position in the data (a DataLoader's with
        samplers of this package; otherwise the first batches of the epoch are drawn again and left out), and
        whatever `loss` and callbacks give with a `state_dict()`.
    log: a file for the rows, .csv or .jsonl.
    clip: the largest norm of the gradient (`clip_grad_norm_`).
    scheduler: stepped after each epoch, or after each step with `scheduler_every="step"`.
        ReduceLROnPlateau is given the monitored value.
    callbacks: functions of the `Run` that are called after each epoch, or objects with any of the methods
        `on_start`, `on_step`, `on_epoch` and `on_end`.
    progress: a bar on a terminal (with tqdm), else a line after epochs.

    Ctrl-C finishes the step at hand, saves, and returns the history with `interrupted` true; a second one
    stops at once. A checkpoint that cannot be written is a warning, and training goes on. On a GPU the loss
    is read twice a second where it is shown, else once in a while.

    Raises ValueError or TypeError for arguments that make no sense, FloatingPointError where a loss is NaN or
    infinite, naming the step.
    """
    _check(model, loss, optimizer, epochs, minutes, patience, mode, scheduler_every, checkpoint, resume, log)
    if monitor is None and validate is not None:
        monitor = "valid_loss"
    if patience is not None and monitor is None:
        raise ValueError('fit: patience needs something to monitor; give validate, or monitor="loss"')
    if metrics and (validate is None or is_function(validate)):
        raise ValueError("fit: metrics are measured on the batches of validate; give validate some batches")
    for name in metrics or ():
        if name in COLUMNS:
            raise ValueError(f"fit: a metric cannot be called {name!r}, which is a column already")
    for name in extras or ():
        if name in ("model", "optimizer", "fit"):
            raise ValueError(f"fit: {name!r} is an entry of the checkpoint already; call the extra otherwise")
    if isinstance(scheduler, ReduceLROnPlateau) and (monitor is None or scheduler_every != "epoch"):
        raise ValueError('fit: ReduceLROnPlateau needs validate, or monitor="loss", and goes by epochs')
    if mode == "max" and monitor is None:
        raise ValueError('fit: mode="max" needs something to monitor; give validate, or monitor')
    if scheduler is None and scheduler_every != "epoch":
        raise ValueError("fit: scheduler_every needs a scheduler")
    if extras and checkpoint is None:
        raise ValueError("fit: extras stand in the checkpoint; give its file name as checkpoint")
    encoded(dict(extras or {}), "extras", Arrays())  # a TypeError now, not after the first epoch
    settings = Settings(
        loss=loss, batches=batches, epochs=epochs, seconds=math.inf if minutes is None else 60.0 * minutes,
        validate=validate, metrics=dict(metrics or {}), monitor=monitor, mode=mode, patience=patience,
        restore_best=restore_best, checkpoint=checkpoint, extras=dict(extras or {}), log=log, clip=clip,
        scheduler=scheduler, scheduler_every=scheduler_every, progress=progress,
        callbacks=list(callbacks) if isinstance(callbacks, Iterable) else [callbacks],
    )  # fmt: skip
    for callback in settings.callbacks:
        if not callable(callback) and not any(hasattr(callback, event) for event in EVENTS):
            raise TypeError(
                f"fit: a callback must be a function, or have a method {' or '.join(EVENTS)}, "
                f"got {describe(callback)}"
            )
    run = Run(model, optimizer, settings)
    if resume and os.path.exists(checkpoint):
        files.resume(run)
    return run.train()


def _check(
    model: Any, loss: Any, optimizer: Any, epochs: Any, minutes: Any, patience: Any, mode: str,
    scheduler_every: str, checkpoint: Any, resume: bool, log: Any,
) -> None:  # fmt: skip
    if not isinstance(model, Module):
        raise TypeError(f"fit: model must be a Module, got {describe(model)}")
    if not callable(loss):
        raise TypeError(f"fit: loss must be a function of the model and a batch, got {describe(loss)}")
    if not hasattr(optimizer, "param_groups"):
        raise TypeError(f"fit: optimizer must be an Optimizer, got {describe(optimizer)}")
    if epochs is None and minutes is None:
        raise ValueError("fit: give epochs or minutes, so that it comes to an end")
    for name, value in (("epochs", epochs), ("minutes", minutes), ("patience", patience)):
        if value is not None and not value > 0:
            raise ValueError(f"fit: {name} must be positive, got {value}")
    if mode not in ("min", "max"):
        raise ValueError(f'fit: mode must be "min" or "max", got {mode!r}')
    if scheduler_every not in ("epoch", "step"):
        raise ValueError(f'fit: scheduler_every must be "epoch" or "step", got {scheduler_every!r}')
    if resume and checkpoint is None:
        raise ValueError("fit: resume needs a checkpoint to go on from; give its file name as checkpoint")
    if log is not None:
        is_jsonl(log)
    for name, path in (("checkpoint", checkpoint), ("log", log)):
        if path is None:
            continue
        path = file_name(path, f"fit: {name}")
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise FileNotFoundError(f"fit: the folder of {name} {path!r} does not exist; make it first")
        check_writable(path, f"fit: {name}")
