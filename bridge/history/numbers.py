"""Arrays of numbers as they are stored, and back again: always the very same doubles.

What is recorded is rounded, so a column is nearly always decimal: it is kept as integers (the values times the smallest
power of ten that brings all of them back), each as the step from the one before, in as few bytes as the largest needs.
A column that is not decimal is kept as doubles, each combined with the one before by XOR, as Gorilla does (Pelkonen
et al., 2015). Bytes of one significance stand together, one name's values after another's, and are compressed.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CORRUPT: tuple[type[Exception], ...] = (
    isal_zlib.error,  # type: ignore[assignment]  # isal types its error as an instance
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    struct.error,
)
"""What reading something back raises when it is not what was written."""
MOST_DECIMALS = 12
EXACT = 2.0**53
"""Integers up to here are doubles, so their quotient by a power of ten is the double next to the decimal number."""
SAMPLE = 1_000
LEVEL = 6
DOUBLES = 255
_HEADER = struct.Struct("<BBHII")
"""Decimals (or ``DOUBLES``), bytes of a step, nothing, polls, and names."""


def pack(values: Floats) -> bytes:
    """An array of one poll as it is stored."""
    return isal_zlib.compress(values.tobytes(), level=1)


def unpack(data: bytes) -> Floats:
    """The array of one poll as it was; read-only. Raises one of ``CORRUPT``."""
    return np.frombuffer(isal_zlib.decompress(data), dtype=np.float64)


def encode(values: Floats) -> bytes:
    """A column, shape (polls, names), as it is stored."""
    polls, names = values.shape
    turned = np.ascontiguousarray(values.T)
    decimals = _decimals(turned)
    if decimals is None:
        bits = turned.view(np.uint64)
        steps = bits.copy()
        steps[:, 1:] ^= bits[:, :-1]
        return zlib.compress(_HEADER.pack(DOUBLES, 8, 0, polls, names) + _planes(steps), LEVEL)
    first, deltas = _steps(turned, decimals)
    width = deltas.dtype.itemsize
    head = _HEADER.pack(decimals, width, 0, polls, names)
    return zlib.compress(head + _planes(first) + _planes(deltas), LEVEL)


def decode(data: bytes, polls: int, names: int) -> Floats:
    """The column that was stored, name by name in memory. Raises one of ``CORRUPT``, also for another shape."""
    content = isal_zlib.decompress(data)
    decimals, width, _, *shape = _HEADER.unpack_from(content)
    if shape != [polls, names]:
        raise ValueError(f"a column of {shape[0]} polls and {shape[1]} names, instead of {polls} and {names}")
    body = np.frombuffer(content, dtype=np.uint8, offset=_HEADER.size)
    if decimals == DOUBLES:
        bits = _joined(body, names, polls, np.dtype(np.uint64))
        doubles: Floats = np.bitwise_xor.accumulate(bits, axis=1).view(np.float64)
        return doubles.T
    first = _joined(body[: 8 * names], names, 1, np.dtype(np.int64))
    deltas = _joined(body[8 * names :], names, polls, np.dtype(f"<i{width}"))
    unknown = deltas == np.iinfo(deltas.dtype).min
    some = unknown.any()
    numbers = np.cumsum(np.where(unknown, 0, deltas) if some else deltas, axis=1, dtype=np.int64)
    numbers += first
    found: Floats = numbers / 10.0**decimals
    if some:
        found[unknown] = np.nan
    return found.T


def _decimals(values: Floats) -> int | None:
    """The fewest decimals that all values have; None where one has too many, or is infinite, or a negative zero."""
    known = values[~np.isnan(values)]
    if not np.isfinite(known).all() or np.signbit(known[known == 0.0]).any():
        return None
    some, largest = known[:: max(1, len(known) // SAMPLE)], float(np.abs(known).max(initial=0.0))
    for decimals in range(MOST_DECIMALS + 1):
        if largest >= EXACT / 10.0**decimals:
            return None
        if _is_decimal(some, decimals) and _is_decimal(known, decimals):
            return decimals
    return None


def _is_decimal(values: Floats, decimals: int) -> bool:
    scaled = np.rint(values * 10.0**decimals)
    return bool((scaled / 10.0**decimals == values).all())


def _steps(values: Floats, decimals: int) -> tuple[Integers, Integers]:
    """Each name's first known value, and all steps from the last known one; the smallest integer is "not known"."""
    names, polls = values.shape
    known = ~np.isnan(values)
    numbers = np.rint(np.where(known, values, 0.0) * 10.0**decimals).astype(np.int64)
    rows = np.arange(names)
    first = numbers[rows, known.argmax(axis=1)] if polls else np.zeros(names, dtype=np.int64)
    before = np.maximum.accumulate(np.where(known, np.arange(polls), -1), axis=1)
    lasting = np.where(before >= 0, numbers[rows[:, None], before], first[:, None])
    deltas = np.diff(lasting, axis=1, prepend=first[:, None])
    largest = int(np.abs(deltas).max(initial=0))
    width = next(width for width in (1, 2, 4, 8) if largest < 2 ** (8 * width - 1))
    deltas[~known] = -(2 ** (8 * width - 1))
    return first[:, None], deltas.astype(f"<i{width}")


def _planes(numbers: NDArray[np.generic]) -> bytes:
    """Integers, shape (names, polls), byte by byte: all of the lowest first."""
    size = numbers.dtype.itemsize
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(numbers.size, size).T.tobytes()


def _joined(planes: NDArray[np.uint8], names: int, polls: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Integers again, shape (names, polls)."""
    if dtype.itemsize == 1:
        return planes.view(dtype).reshape(names, polls)
    together = planes.reshape(dtype.itemsize, names * polls).T
    return np.ascontiguousarray(together).view(dtype).reshape(names, polls)
