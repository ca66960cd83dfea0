"""What a training writes and reads: checkpoint and log, and everything that exact resume needs."""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

from ..backend import bits_of, get_rng_state, set_rng_state
from ..backend.native import native
from ..io import load, save
from ..states import reading_state
from .mean import Mean
from .state import RunState


def keeps_its_place(batches: Any) -> bool:
    """Whether batches go on after `load_state_dict`; else the first ones of an epoch are drawn again."""
    return hasattr(batches, "load_state_dict") and getattr(batches, "keeps_its_place", True)


def state_of(thing: Any) -> Any:
    """Its state dict, or None where it has none."""
    return thing.state_dict() if hasattr(thing, "state_dict") else None


def random_state(run: RunState) -> dict[str, Any]:
    """Where all random numbers stand: the package's generator, and those of the model's layers."""
    own = [dict(generator.bit_generator.state) for generator in run.generators]
    return {"package": get_rng_state(), "layers": own}


def set_random_state(run: RunState, state: dict[str, Any]) -> None:
    """Puts them back."""
    set_rng_state(state["package"])
    for generator, own in zip(run.generators, state["layers"], strict=True):
        generator.bit_generator.state = own


class Files:
    """The checkpoint and the log of a run.

    Each is written so often as takes at most a twentieth of the time. What cannot be written is a warning:
    hours of training are worth more than a stop, the older file is still there, and space may be made.
    """

    def __init__(self, run: RunState) -> None:
        self.run, self.settings = run, run.settings
        self._due = {"checkpoint": 0.0, "log": 0.0}
        self.is_written = False  # whether the checkpoint is that of the latest `write`

    def write(self, always: bool = False, only: str | None = None) -> None:
        """Writes what it is time for; with `always`, both; or the `only` one of them."""
        for what, path in (("checkpoint", self.settings.checkpoint), ("log", self.settings.log)):
            if only is not None and what != only:
                continue
            begin = time.perf_counter()
            if path is None or not (always or begin >= self._due[what]):
                continue
            if what == "checkpoint":
                self.is_written = False
                if not self.run.is_whole:
                    warnings.warn(
                        "fit: a step was broken off in its middle, and what it left is not saved; the "
                        f"checkpoint {os.fsdecode(path)!r} is the last whole one",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                    continue
            try:
                getattr(self, f"write_{what}")()
                self.is_written = self.is_written or what == "checkpoint"
            except OSError as error:
                reason = getattr(error.__cause__ or error, "strerror", None) or error
                warnings.warn(
                    f"fit: the {what} {os.fsdecode(path)!r} could not be written ({reason}); "
                    "the older file is as it was, and training goes on",
                    RuntimeWarning,
                    stacklevel=2,
                )
            end = time.perf_counter()
            self._due[what] = end + 19 * (end - begin)

    def write_log(self) -> None:
        """The rows so far."""
        if self.settings.log is not None and self.run.history.rows:
            self.run.history.write(self.settings.log)

    def write_checkpoint(self) -> None:
        """The best weights where anything is monitored, else the latest; under "fit", what `resume` reads."""
        run = self.run
        run.read_losses()  # a NaN is found before it is saved
        weights, best = run.model.state_dict(), run.best_weights
        progress = {
            "epoch": run.epoch, "step": run.step, "batch": run.batch, "seconds": run.seconds,
            "mean": run.mean.state(), "rows": run.history.rows, "best": run.history.best,
            "best_step": run.best_step, "n_worse": run.n_worse, "monitor": self.settings.monitor,
            "latest": None if best is None or run.best_step == run.step else weights,
            "epoch_start": run.epoch_start, "position": run.position,
            "scheduler": state_of(self.settings.scheduler),
            "callbacks": [state_of(callback) for callback in self.settings.callbacks],
            "native": native.compiles,
        }  # fmt: skip
        save(
            self.settings.checkpoint,
            best or weights,
            run.optimizer,
            **{**self.settings.extras, "fit": progress},
        )


def snapshot(run: RunState) -> dict[str, Any]:
    """The place in the data, and where random numbers stand: with the weights, where a resumed run begins."""
    return {
        "random": random_state(run),
        "batches": state_of(run.settings.batches),
        "loss": state_of(run.settings.loss),
    }


def resume(run: RunState) -> None:
    """Takes over a checkpoint. Raises ValueError where it is not of such a run, or is damaged."""
    settings, name = run.settings, repr(os.fsdecode(run.settings.checkpoint))
    saved = load(settings.checkpoint)
    if not isinstance(saved, dict) or not isinstance(saved.get("fit"), dict):
        raise ValueError(f"fit: {name} was not written by fit; give another file, or resume=False")
    progress = saved["fit"]
    wrong = next((key for key, kinds in _KINDS.items() if not _is(progress.get(key, ...), kinds)), None)
    if wrong is not None:
        raise ValueError(f"fit: {name} is damaged, or of another version: its {wrong!r} is no such thing")
    if progress["monitor"] != settings.monitor:
        raise ValueError(
            f"fit: {name} is of a run that monitored {progress['monitor']!r}, this one monitors "
            f"{settings.monitor!r}; ask for the same, or give resume=False"
        )
    try:
        with reading_state("its state"):
            _take(run, saved, progress)
    except ValueError as reason:
        raise ValueError(
            f"fit: the checkpoint {name} is of another model or optimiser ({reason}); give another file, or "
            "resume=False"
        ) from reason


_KINDS: dict[str, tuple[type, ...]] = {
    "epoch": (int,), "step": (int,), "batch": (int,), "seconds": (int, float), "mean": (list,),
    "rows": (list,), "best": (dict, type(None)), "best_step": (int,), "n_worse": (int,),
    "monitor": (str, type(None)), "latest": (dict, type(None)), "epoch_start": (dict, type(None)),
    "position": (dict,), "callbacks": (list,), "scheduler": (object,),
}  # fmt: skip


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    return value is not ... and isinstance(value, kinds) and (not isinstance(value, bool) or object in kinds)


def _take(run: RunState, saved: dict[str, Any], progress: dict[str, Any]) -> None:
    """What is saved becomes the run's."""
    settings, position = run.settings, progress["position"]
    for state in (position["random"], progress["epoch_start"]):
        if state is not None:
            _check_random_state(run, state)
    mean = Mean.of([float(number) for number in progress["mean"]])
    rows, best = progress["rows"], progress["best"]
    if not all(isinstance(row, dict) and "epoch" in row for row in rows):
        raise ValueError("its rows are damaged")
    if best is not None and settings.monitor is not None:
        float(best[settings.monitor])
    latest = progress["latest"]
    run.model.load_state_dict(saved["model"] if latest is None else latest)
    run.optimizer.load_state_dict(saved["optimizer"])
    for thing, state in (
        (settings.scheduler, progress["scheduler"]),
        (settings.batches, position["batches"]),
        (settings.loss, position["loss"]),
        *zip(settings.callbacks, progress["callbacks"], strict=False),
    ):
        drawn_again = thing is settings.batches and not keeps_its_place(thing)
        if state is not None and hasattr(thing, "load_state_dict") and not drawn_again:
            thing.load_state_dict(state)
    if settings.monitor is not None and progress["best_step"] >= 0:
        run.best_weights = saved["model"]
    run.epoch, run.step, run.batch = progress["epoch"], progress["step"], progress["batch"]
    run.mean, run.history.rows, run.history.best = mean, rows, best
    run.best_step, run.n_worse = progress["best_step"], progress["n_worse"]
    run.epoch_start, run.seconds_before = progress["epoch_start"], progress["seconds"]
    run.position = run.resumed_at = position
    run.was_native = progress.get("native")
    set_random_state(run, position["random"])


def _check_random_state(run: RunState, state: Any) -> None:
    """Raises ValueError for what `random_state` does not give of such a run."""
    bits_of(state["package"])
    if len(state["layers"]) != len(run.generators):
        raise ValueError("it is of a model whose layers have other rngs")
    for generator, own in zip(run.generators, state["layers"], strict=True):
        if type(bits_of(own)) is not type(generator.bit_generator):
            raise ValueError("it is of a model whose layers have rngs of another kind")
