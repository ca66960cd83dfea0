"""What the rest of the package may ask of an array library."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any  # an array of the library in use: numpy.ndarray, cupy.ndarray, ...


class ArrayModule:
    """An array library as ops see it: its own functions by name (`xp.tanh`), and the few on which libraries
    differ.

    The first use of a function looks it up in the library and keeps it, so that later uses cost an attribute
    access. A function that a library lacks or spells differently is a method of the subclass, with the reason
    beside it.
    """

    name: str  # "numpy", "cupy"
    device_type: str  # "cpu", "cuda"
    array_type: type
    library: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "library":
            raise AttributeError(name)
        value = getattr(self.library, name)
        setattr(self, name, value)
        return value

    def __repr__(self) -> str:
        return f"<array module {self.name}>"

    def is_available(self) -> bool:
        """Whether arrays can be made here and now."""
        return True

    def owner(self, array: Array) -> Array:
        """The array that owns the memory `array` looks into: itself, or the one it is a view of."""
        base = array.base
        return base if isinstance(base, self.array_type) else array

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        raise NotImplementedError

    def from_numpy(self, array: np.ndarray[Any, Any]) -> Array:
        raise NotImplementedError

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        """`target[index] += values` in place, where `index` may name a place many times."""
        raise NotImplementedError

    def sigmoid(self, x: Array, out: Array | None = None) -> Array:
        """Logistic function by way of tanh: no overflow on either side, and tanh is the faster of the two."""
        half = 0.5
        y = self.multiply(x, half, out=out)
        if y.dtype.kind != "f":
            raise TypeError("sigmoid needs floating values")
        y = self.tanh(y, out=out)
        y = self.multiply(y, half, out=out)
        return self.add(y, half, out=out)
