"""Which sources of random numbers a training has, and which of them a checkpoint cannot hold."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from ..data import DataLoader
from ..data.sampler import SeededSampler
from ..nn import Module


def generators_of(model: Module, batches: Any) -> tuple[list[Any], list[str]]:
    """The generators of a model's layers, and of what a DataLoader's order and samples come from; and what
    else draws there, named.
    """
    generators, others = [], []
    owners = [(module, vars(module)) for module in model.modules()]
    owners += [(part, getattr(part, "__dict__", {})) for part in _parts(batches)]
    for owner, held in owners:
        for name, value in held.items():
            for found in _sources(value, 0):
                if hasattr(found, "bit_generator"):
                    generators.append(found)
                else:
                    others.append(f"{type(owner).__name__}.{name} (a {type(found).__name__})")
    return generators, others


def _sources(value: Any, depth: int) -> Iterator[Any]:
    """What draws random numbers, itself or in lists and dictionaries."""
    if hasattr(value, "bit_generator") or isinstance(value, random.Random) or _is_numpys_former(value):
        yield value
    elif isinstance(value, (list, tuple, Mapping)) and depth < 5 and len(value) < 1000:
        for inside in value.values() if isinstance(value, Mapping) else value:
            yield from _sources(inside, depth + 1)


def _is_numpys_former(value: Any) -> bool:
    return type(value).__name__ == "RandomState" and hasattr(value, "get_state")


def _parts(batches: Any) -> list[Any]:
    """What a DataLoader's order and samples come from, but for samplers whose generator is in its state."""
    if not isinstance(batches, DataLoader):
        return []
    found: list[Any] = [
        batches.batch_sampler,
        getattr(batches.batch_sampler, "sampler", None),
        batches.sampler,
    ]
    dataset = batches.dataset
    while dataset is not None and len(found) < 10:
        found.append(dataset)
        dataset = getattr(dataset, "dataset", None)
    parts: list[Any] = []
    for part in found:
        if part is not None and not isinstance(part, SeededSampler) and all(part is not p for p in parts):
            parts.append(part)
    return parts
