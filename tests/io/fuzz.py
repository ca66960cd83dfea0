"""Files that were damaged by chance or on purpose: whatever is done to them, a reader gives what was saved or
raises ValueError, at once and in little memory.

    python -m tests.io.fuzz 100000                     # so many of each kind; half an hour
    python -m tests.io.fuzz 100000 load_state_dict     # of one kind

A mutated file differs from a whole one in bits, bytes, pieces that are cut out, doubled or put elsewhere, or
in words that its readers understand. What is read from it must be what was saved, where the format has check
sums, and of the file's size in any case.
"""

from __future__ import annotations

import copy
import json
import random
import struct
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

SLOW = 5.0  # seconds in which no file of this size is read
WORDS = [
    b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x93NUMPY",
    b"|V0", b"|O", b">f4", b"<U9", b"'shape': (1000000, 1000000)", b"structure", b"array0", b"[" * 300,
    b'{"dict":', b'{"tuple":', b'{"tensor":"array0"}', b'{"float":"nan"}', b"NaN", b"null", b"-1", b"1e999",
    b'"F32"', b'"F64"', b'"shape":[-1,-4]', b'"data_offsets":[0,8]', b'"__metadata__"', b"\xc3", b"9" * 20,
]  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The file after one to four changes."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, n = rng.randrange(len(found) + 1), min(1 + int(rng.expovariate(0.1)), len(found))
        what = rng.randrange(8)
        if what == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            found[at : at + n] = rng.randbytes(n)
        elif what == 2:
            del found[at : at + n]
        elif what == 3:
            found[at:at] = rng.randbytes(n)
        elif what == 4:
            start = rng.randrange(len(found) + 1)
            found[at:at] = found[start : start + n]
        elif what == 5:
            word = rng.choice(WORDS)
            found[at : at + rng.choice((0, len(word)))] = word
        elif what == 6:
            del found[at:]
        elif at + 8 <= len(found):  # a number of the format: a length, a place
            size = rng.choice((2, 4, 8))
            number = rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, len(found), rng.getrandbits(64)))
            found[at : at + size] = (number % 256**size).to_bytes(size, "little")
    return bytes(found)


def repacked(data: bytes, rng: random.Random) -> bytes:
    """A checkpoint whose contents are changed and whose check sums are right: what is in it is looked at."""
    parts = members(data)
    name = rng.choice(list(parts))
    changed = dict(parts)
    changed[name] = mutated(parts[name], rng)
    if name == "structure.npy" and rng.random() < 0.9:  # the words alone, under a header that fits
        words = mutated(parts[name][128:], rng)
        changed[name] = npy(f"'|u1', 'fortran_order': False, 'shape': ({len(words)},)", words)
    return packed(changed)


VALUES = [
    None, True, 0, 1, -1, 10**6, 2**63, 10**40, 0.5, "", "a", "inf", [], {}, {"tuple": []}, {"dict": []},
    {"dict": [["a", 1]]}, {"dict": [[0, {"dict": []}]]}, {"float": "nan"}, {"float": "inf"}, {"float": "1"},
    {"tensor": "array0"}, {"tensor": "array1"}, {"array": "array2"}, {"x": 1}, [1, 2], ["a"], [-1, 4], "F64",
    {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
]  # fmt: skip


def retold(words: bytes, rng: random.Random) -> bytes:
    """Words in JSON with a value or two replaced, left out, or put elsewhere."""
    tree = json.loads(words)
    for _ in range(rng.choice((1, 1, 2))):
        places = list(places_in(tree))
        holder, key = rng.choice(places)
        what = rng.randrange(4)
        if what == 0 and isinstance(holder, list):
            del holder[key]
        elif what == 1 and isinstance(holder, list):
            holder.insert(key, copied(rng.choice(VALUES)))
        elif what == 2:
            other, at = rng.choice(places)
            holder[key] = copied(other[at])
        else:
            holder[key] = copied(rng.choice(VALUES))
    return json.dumps(tree).encode()


def copied(value: Any) -> Any:
    """A value in JSON that nothing else holds."""
    return json.loads(json.dumps(value))


def places_in(tree: Any) -> Any:
    """Where values stand: what holds them, and under which name or number."""
    names = tree if isinstance(tree, dict) else range(len(tree))
    for name in list(names):
        yield tree, name
        if isinstance(tree[name], (dict, list)) and tree[name]:
            yield from places_in(tree[name])


def reworded(data: bytes, rng: random.Random) -> bytes:
    """A checkpoint whose structure says something else, in good JSON."""
    parts = members(data)
    words = retold(parts["structure.npy"][128:], rng)
    content = npy(f"'|u1', 'fortran_order': False, 'shape': ({len(words)},)", words)
    return packed({**parts, "structure.npy": content})


def altered(data: bytes, rng: random.Random) -> bytes:
    """A checkpoint as `save` writes it, of something else: a value or two are others, or are missing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.npz"
        path.write_bytes(data)
        tree = tg.load(path)
        for _ in range(rng.choice((1, 1, 1, 2))):
            places = list(places_in(tree))
            holder, key = rng.choice(places)
            if rng.random() < 0.3:
                del holder[key]
            else:
                other, at = rng.choice(places)
                holder[key] = copy.deepcopy(rng.choice((other[at], *ALTERED)))
        try:
            tg.save(path, tree["model"], tree["optimizer"],
                    **{k: v for k, v in tree.items() if k not in ("model", "optimizer")})  # fmt: skip
        except Exception:  # what holds itself now
            return data
        return path.read_bytes()


ALTERED = [
    None, True, 0, 1, -1, 10**6, 2**63, 10**40, 0.5, -0.5, float("nan"), float("inf"), "", "a", "PCG64", {},
    (), [1, 2], ["a"], {"a": 1}, {0: {}}, tg.zeros(3), tg.ones(3, 2), tg.tensor(2), [[]], (1, 2), {"lr": "x"},
]  # fmt: skip


def resized(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header says something else, in good JSON."""
    length = int.from_bytes(data[:8], "little")
    words = retold(data[8 : 8 + length], rng)
    return len(words).to_bytes(8, "little") + words + data[8 + length :]


def npy(said: str, content: bytes) -> bytes:
    """An array as NumPy writes it."""
    words = f"{{'descr': {said}, }}".encode()
    words += b" " * (-(len(words) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words + content


def members(data: bytes) -> dict[str, bytes]:
    """The parts of an archive, as they follow each other."""
    found, at = {}, 0
    while data[at : at + 4] == b"PK\3\4":
        length, extra = struct.unpack_from("<2H", data, at + 26)
        name = data[at + 30 : at + 30 + length].decode()
        (size,) = struct.unpack_from("<Q", data, at + 30 + length + 4)  # NumPy writes it in the extra field
        begin = at + 30 + length + extra
        found[name], at = data[begin : begin + size], begin + size
    return found


def packed(parts: dict[str, bytes]) -> bytes:
    """An archive of parts."""
    body, directory = b"", b""
    for name, part in parts.items():
        fields = struct.pack("<5H3I2H", 20, 0, 0, 0, 0, zlib.crc32(part), len(part), len(part), len(name), 0)
        entry = struct.pack("<3H", 0, 0, 0) + struct.pack("<2I", 0, len(body))
        directory += b"PK\1\2\x14\0" + fields + entry + name.encode()
        body += b"PK\3\4" + fields + name.encode() + part
    end = struct.pack("<4H2IH", 0, 0, len(parts), len(parts), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


# ---------------------------------------------------------------- what is read


def net() -> Any:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def trained(folder: Path) -> tuple[Path, Path, Path]:
    """A checkpoint of save, one of fit, and a safetensors file."""
    tg.manual_seed(0)
    model = net()
    optimizer = optim.Adam(model.parameters())
    schedule = optim.lr_scheduler.StepLR(optimizer, 1)
    tg.fit(
        model, *problem(), optimizer, epochs=2, checkpoint=folder / "fit.npz", progress=False,
        monitor="loss", scheduler=schedule,
    )  # fmt: skip
    extras = {"vocab": ["a", "b"], "best": float("inf"), "more": {"nested": [1, 2.5, (3, None)], 4: True}}
    tg.save(folder / "save.npz", model, optimizer, **extras)
    tg.io.save_safetensors(folder / "weights.safetensors", model, {"format": "pt"})
    return folder / "save.npz", folder / "fit.npz", folder / "weights.safetensors"


def problem() -> tuple[Any, Any]:
    return lambda model, x: model(x).square().mean(), [tg.ones(2, 2)]


def load(path: Path) -> Any:
    return tg.load(path)


def load_safetensors(path: Path) -> Any:
    return tg.io.load_safetensors(path)


def resume(path: Path) -> None:
    """A training that goes on from the file, and has nothing left to do."""
    model = net()
    optimizer = optim.Adam(model.parameters())
    schedule = optim.lr_scheduler.StepLR(optimizer, 1)
    settings = {"monitor": "loss", "scheduler": schedule, "progress": False}
    tg.fit(model, *problem(), optimizer, epochs=2, checkpoint=path, resume=True, **settings)


def load_state(path: Path) -> None:
    """State dicts of a file that can be read."""
    saved = tg.load(path)
    model = net()
    optimizer = optim.Adam(model.parameters())
    schedule = optim.lr_scheduler.SequentialLR(
        optimizer,
        [optim.lr_scheduler.StepLR(optimizer, 2), optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)],
        [3],
    )
    if isinstance(saved, dict) and isinstance(saved.get("model"), dict):
        model.load_state_dict(saved["model"])
    if isinstance(saved, dict) and isinstance(saved.get("optimizer"), dict):
        optimizer.load_state_dict(saved["optimizer"])
    scaler = nn.amp.GradScaler()
    loader = tg.data.DataLoader([1, 2, 3], shuffle=True, rng=1)
    for name, thing in (("schedule", schedule), ("scaler", scaler), ("loader", loader)):
        if isinstance(saved, dict) and isinstance(saved.get(name), dict):
            thing.load_state_dict(saved[name])
    if isinstance(saved, dict) and isinstance(saved.get("words"), dict):
        tg.data.WordVocab.from_state(saved["words"])


def states(folder: Path) -> bytes:
    """A checkpoint with the states of all that has one."""
    model = net()
    optimizer = optim.Adam(model.parameters())
    model(tg.ones(2, 2)).sum().backward()
    optimizer.step()
    steps, cosine = (
        optim.lr_scheduler.StepLR(optimizer, 2),
        optim.lr_scheduler.CosineAnnealingLR(optimizer, 5),
    )
    tg.save(
        folder / "states.npz", model, optimizer,
        schedule=optim.lr_scheduler.SequentialLR(optimizer, [steps, cosine], [3]).state_dict(),
        scaler=nn.amp.GradScaler().state_dict(), words=tg.data.WordVocab.build("a b a").state_dict(),
        loader=tg.data.DataLoader([1, 2, 3], shuffle=True, rng=1).state_dict(),
    )  # fmt: skip
    return (folder / "states.npz").read_bytes()


def kinds(folder: Path) -> dict[str, tuple[bytes, Any, Any]]:
    """Name of a kind: a whole file, what mutates it, what reads it."""
    save, fit, weights = (path.read_bytes() for path in trained(folder))
    return {
        "load": (save, mutated, load),
        "load, with check sums": (save, repacked, load),
        "load, in good JSON": (save, reworded, load),
        "load_safetensors": (weights, mutated, load_safetensors),
        "load_safetensors, in good JSON": (weights, resized, load_safetensors),
        "load_state_dict": (states(folder), altered, load_state),
        "fit(resume=True)": (fit, altered, resume),
        "fit(resume=True), in good JSON": (fit, reworded, resume),
    }


def fails(path: Path, read: Any) -> str | None:
    """What is wrong with how a file is read; None where it is read, or refused as it should be."""
    begin = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except ValueError as error:
        text = str(error)
        if "\n" in text or len(text) > 2000:
            return f"says {text[:300]!r}"
    except Exception as error:
        return f"raises {type(error).__name__}: {str(error)[:200]}"
    spent = time.perf_counter() - begin
    return f"takes {spent:.1f} s" if spent > SLOW else None


def fuzzed(name: str, folder: Path, n: int, seconds: float = float("inf"), seed: int = 0) -> tuple[int, dict]:
    """Reads up to n mutated files of a kind. How many it were, and what was wrong: sentence -> seed."""
    data, mutate, read = kinds(folder)[name]
    wrong: dict[str, int] = {}
    (folder / "whole").write_bytes(data)
    read(folder / "whole")
    begin, path, i = time.perf_counter(), folder / "mutated", 0
    for i in range(1, n + 1):
        path.write_bytes(mutate(data, random.Random(f"{name} {seed} {i}")))
        found = fails(path, read)
        if found is not None:
            wrong.setdefault(found, i)
        if time.perf_counter() - begin > seconds:
            break
    return i, wrong


def main(arguments: list[str]) -> int:
    n = int(arguments[0]) if arguments else 100_000
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments[1:] or kinds(Path(folder)):
            done, wrong = fuzzed(name, Path(folder), n)
            print(json.dumps({"kind": name, "files": done, "wrong": wrong}), flush=True)
            failed += len(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
