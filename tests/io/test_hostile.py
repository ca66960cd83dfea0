"""Files that nobody has saved: each is refused with one sentence, at once, before memory is taken for it."""

import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

import tinygrad_rnn as tg

from . import fuzz

WORDS = b'{"format": "tinygrad_rnn checkpoint", "version": 1, "content": %s}'


def structure(content):
    words = WORDS % content
    return fuzz.npy(f"'|u1', 'fortran_order': False, 'shape': ({len(words)},)", words)


def archive(content=b'{"dict": [["a", {"array": "array0"}]]}', **parts):
    found = {"structure.npy": structure(content)}
    found.update({f"{name}.npy": part for name, part in parts.items()})
    return fuzz.packed(found)


def array(said, content=b""):
    return fuzz.npy(said, content)


def numbers(kind="'<f4'", shape="(2,)", content=b"\0" * 8):
    return array(f"{kind}, 'fortran_order': False, 'shape': {shape}", content)


def zipped(**settings):
    """By the usual library, with its settings."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **settings) as made:
        made.writestr("structure.npy", structure(b'{"dict": [["a", {"array": "array0"}]]}'))
        made.writestr("array0.npy", numbers(shape="(250000,)", content=b"\0" * 1_000_000))
    return file.getvalue()


def deep(n):
    return b'{"dict": [["a", ' + b"[" * n + b"]" * n + b"]]}"


def encrypted():
    data = bytearray(archive(array0=numbers()))
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + at] |= 1
    return bytes(data)


def twice():
    whole = {"structure.npy": structure(b'{"dict": [["a", {"array": "array0"}]]}'), "array0.npy": numbers()}
    data = fuzz.packed({**whole, "array1.npy": numbers()})
    return data.replace(b"array1", b"array0")


def with_a_gap():
    """A byte between two members that belongs to none, everything else being right."""
    data = archive(array0=numbers())
    second, end = data.rindex(b"PK\3\4"), data.rindex(b"PK\5\6")
    entry = data.rindex(b"PK\1\2")
    found = bytearray(data)
    struct.pack_into("<I", found, entry + 42, second + 1)
    struct.pack_into("<I", found, end + 16, data.index(b"PK\1\2") + 1)
    return bytes(found[:second] + b"x" + found[second:])


HOSTILE = {
    "a gap": (with_a_gap(), "'array0.npy' does not follow the one before it"),
    "no elements": (archive(array0=numbers("'|V0'", "(1000000, 1000000)", b"")), "not described"),
    "16 GiB": (archive(array0=numbers(shape="(4294967296,)", content=b"")), "0 bytes for .* of 17179869184"),
    "nothing": (archive(array0=numbers(shape="(0, 9223372036854775807, 9)", content=b"")), "of shape"),
    "compressed": (zipped(compression=zipfile.ZIP_DEFLATED), "'structure.npy' is compressed"),
    "encrypted": (encrypted(), "is encrypted"),
    "objects": (archive(array0=numbers("'|O'")), "not described as an array of numbers"),
    "strings": (archive(array0=numbers("'<U2'", "(1,)")), "not described as an array of numbers"),
    "big-endian": (archive(array0=numbers("'>f4'")), "not described as an array of numbers"),
    "an unknown name": (archive(other=numbers()), "it has a member 'other.npy'"),
    "a name twice": (twice(), "two members 'array0.npy'"),
    "an array named twice": (
        archive(b'{"dict": [["a", {"array": "array0"}], ["b", {"array": "array0"}]]}', array0=numbers()),
        "names an array that it does not have, or has given already",
    ),
    "an array that is not named": (archive(b'{"dict": []}', array0=numbers()), "does not name array0"),
    "a name that is not there": (archive(), "names an array that it does not have"),
    "nested": (archive(deep(101)), "nested more than 100 deep"),
    "nested beyond reading": (archive(deep(100_000)), "nested too deep"),
    "a key twice": (archive(b'{"dict": [["a", 1], ["a", 2]]}'), "the key 'a' twice"),
    "no dictionary": (archive(b"[1]"), "is no dictionary"),
    "NaN": (archive(b'{"dict": [["a", NaN]]}'), "has NaN for a number"),
    "words twice": (archive(b'1, "content": 2'), "a name twice"),
    "trailing bytes": (archive(array0=numbers()) + b"x", "cut short"),
    "bytes in front": (b"PK" + archive(array0=numbers()), "not where its end says"),
}  # fmt: skip


def test_what_is_made_here_is_read_where_it_is_whole(tmp_path):
    (tmp_path / "x").write_bytes(archive(array0=numbers()))
    assert tg.load(tmp_path / "x")["a"].tolist() == [0, 0]
    (tmp_path / "x").write_bytes(zipped())
    assert tg.load(tmp_path / "x")["a"].shape == (250000,)
    (tmp_path / "x").write_bytes(archive(deep(90)))
    tg.load(tmp_path / "x")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_checkpoints(tmp_path, name):
    data, message = HOSTILE[name]
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as error:
            tg.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(error.value).startswith(f"load: {str(path)!r} is cut short or damaged, ")
    assert "\n" not in str(error.value)
    assert peak < 200_000 + 20 * len(data)  # of the words; what is said of arrays is not believed


def test_reading_takes_the_files_memory(tmp_path):
    path, size = tmp_path / "x.npz", 4_000_000
    tg.save(path, a=tg.zeros(size // 8), b=tg.zeros(size // 8))
    tg.io.save_safetensors(tmp_path / "x.safetensors", {"a": tg.zeros(size // 4)})
    for read in (lambda: tg.load(path), lambda: tg.io.load_safetensors(tmp_path / "x.safetensors")):
        tracemalloc.start()
        try:
            found = read()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert found["a"].numel()
        if tg.current_backend().name == "numpy":
            assert peak < 1.1 * size


def test_a_large_archives_numbers_are_read(tmp_path, monkeypatch):
    """Of more than 2 GB: places and sizes stand in extra fields, and the end is another."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    tg.save(tmp_path / "x.npz", a=tg.ones(600), b=tg.zeros(700), c=3)
    assert b"PK\6\6" in (tmp_path / "x.npz").read_bytes()
    back = tg.load(tmp_path / "x.npz")
    assert (back["a"].sum().item(), back["b"].shape, back["c"]) == (600, (700,), 3)


def safetensors(header, body=b""):
    return struct.pack("<Q", len(header)) + header + body


def entry(name, start, end, shape="[1]", dtype='"F32"'):
    return f'"{name}":{{"dtype":{dtype},"shape":{shape},"data_offsets":[{start},{end}]}}'.encode()


@pytest.mark.parametrize(
    ("header", "body", "message"),
    [
        (b"{" + entry("a", 0, 4) + b"," + entry("b", 8, 12) + b"}", 12, "there is a gap before b"),
        (b"{" + entry("a", 4, 8) + b"}", 8, "there is a gap before a"),
        (b"{" + entry("a", 0, 4) + b"," + entry("b", 0, 4) + b"}", 4, "there is an overlap at b"),
        (b"{" + entry("a", 0, 8, "[2]") + b"," + entry("b", 4, 8) + b"}", 8, "there is an overlap at b"),
        (b"{" + entry("a", 0, 4) + b"}", 8, "its tensors take 4 bytes, and there are 8"),
        (b"{" + entry("a", 0, 8, "[-1, -2]") + b"}", 8, "negative or too large"),
        (b"{" + entry("a", 0, 4, "[1.0]") + b"}", 4, "not described by whole numbers"),
        (b"{" + entry("a", 0, 4, "[true]") + b"}", 4, "not described by whole numbers"),
        (b"{" + entry("a", 0, 4, "3") + b"}", 4, "not described by whole numbers"),
        (b"{" + entry("a", 0, 2**34, "[4294967296]") + b"}", 0, "its tensors take 17179869184 bytes"),
        (b"{" + entry("a", 0, 4) + b"," + entry("a", 0, 4) + b"}", 4, "has a name twice"),
        (b"[1]", 0, "is no dictionary"),
        (b'{"a":{"dtype":"F32"}}', 0, "not described by dtype, shape and data_offsets"),
        (b'{"__metadata__":{"a":1}}', 0, "metadata are no strings"),
        (b"{" + b'"a":[' * 1000 + b"]" * 1000 + b"}", 0, "its header"),
        (b"[" * 100_000, 0, "nested too deep"),
        (b"\xff" * 8, 0, "cannot be read"),
    ],
)
def test_hostile_safetensors(tmp_path, header, body, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(header, b"\0" * body))
    with pytest.raises(ValueError, match=message) as error:
        tg.io.load_safetensors(path)
    assert str(error.value).endswith("it is cut short or no safetensors file")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        for read in (tg.load, tg.io.load_safetensors):
            with pytest.raises(ValueError, match="is no file but a device or a pipe"):
                read(path)


def test_what_is_saved_is_what_is_read(tmp_path):
    """Whatever the machine's order of bytes, and no deeper than is read again."""
    path = tmp_path / "x.npz"
    tg.save(path, a=np.arange(3, dtype=">f4"), b=np.arange(6, dtype=">i2").reshape(2, 3).T)
    back = tg.load(path)
    assert back["a"].tolist() == [0, 1, 2]
    assert back["b"].tolist() == [[0, 3], [1, 4], [2, 5]]
    nested: list = []
    for _ in range(98):
        nested = [nested]
    tg.save(path, a=nested)
    assert tg.load(path)["a"] == nested
    before = path.read_bytes()
    for value in ([[[nested]]], nested):
        if value is nested:
            nested.append(nested)
        with pytest.raises(ValueError, match="is nested more than 100 deep, or holds itself"):
            tg.save(path, a=value)
    assert path.read_bytes() == before


def test_a_state_names_no_function_of_numpys(tmp_path):
    """What is called by a name in a file is a source of bits, and nothing else."""
    state = tg.get_rng_state()
    for name in ("seed", "rand", "Generator", "__name__", "nothing", 3, None):
        with pytest.raises(ValueError, match="generator of random numbers is damaged"):
            tg.set_rng_state({**state, "bit_generator": name})
    assert tg.get_rng_state() == state


@pytest.mark.parametrize("name", ["load", "load, with check sums", "load, in good JSON", "load_safetensors",
                                  "load_safetensors, in good JSON", "load_state_dict", "fit(resume=True)",
                                  "fit(resume=True), in good JSON"])  # fmt: skip
@pytest.mark.host
def test_mutated_files(tmp_path, name):
    """A minute of `python -m tests.io.fuzz`."""
    assert name in fuzz.kinds(tmp_path)
    done, wrong = fuzz.fuzzed(name, tmp_path, 1500, seed=1)
    assert done == 1500
    assert not wrong
