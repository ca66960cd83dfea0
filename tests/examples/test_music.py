"""The composer as its users run it: in a process of its own; and its MIDI files, read back."""

import re
import struct

import pytest

from tests.examples import run_example

pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    return run_example("music.py", *arguments, check=check)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A quick run, shared by the tests that look at it."""
    out = tmp_path_factory.mktemp("music")
    return out, run("--quick", "--out", out).stdout


def read_midi(content):
    """What is in a MIDI file by its standard: the ticks of a quarter note, and (begin, end, channel, key) of
    every note.
    """
    magic, size, kind, n_tracks, ticks = struct.unpack(">4sIHHH", content[:14])
    assert (magic, size, kind, n_tracks) == (b"MThd", 6, 0, 1)
    magic, size = struct.unpack(">4sI", content[14:22])
    track = content[22:]
    assert magic == b"MTrk"
    assert size == len(track)
    now, i, notes, held, ended = 0, 0, [], {}, False
    while i < len(track):
        assert not ended
        wait = 0
        while True:
            wait, more = wait << 7 | track[i] & 127, track[i] & 128
            i += 1
            if not more:
                break
        now += wait
        status = track[i]
        if status == 0xFF:
            ended = track[i + 1] == 0x2F
            i += 3 + track[i + 2]
            continue
        key, loudness = track[i + 1], track[i + 2]
        assert status >> 4 in (8, 9)
        assert key < 128
        if status >> 4 == 9 and loudness:
            assert (status & 15, key) not in held
            held[status & 15, key] = now
        else:
            notes.append((held.pop((status & 15, key)), now, status & 15, key))
        i += 3
    assert ended
    assert not held
    return ticks, notes


def test_quick_run_learns_and_writes_music(quick):
    out, said = quick
    nats = float(re.search(r"held out: (\S+) nats per frame", said).group(1))
    assert nats < 14.5  # every key alike: 4 ln 53 = 15.9
    assert "lstm 8.5" in said
    assert {p.name for p in out.iterdir()} == {
        "music_quick.npz", "music_quick.png", "chorale_quick.mid", "chorale_quick.png"
    }  # fmt: skip
    ticks, notes = read_midi((out / "chorale_quick.mid").read_bytes())
    assert {channel for _, _, channel, _ in notes} <= {0, 1, 2, 3}
    assert max(end for _, end, _, _ in notes) <= 64 * ticks
    assert all(33 <= key <= 84 and begin < end for begin, end, _, key in notes)
    assert all((end - begin) % ticks == 0 for begin, end, _, _ in notes)


def test_three_voices_to_a_melody(quick):
    out, _ = quick
    said = run("--demo", "G4 G4 D5 F#5 Bb4", "--out", out).stdout
    assert "5 quarter notes" in said
    ticks, notes = read_midi((out / "chorale.mid").read_bytes())
    soprano = sorted(
        (begin // ticks, end // ticks, key) for begin, end, channel, key in notes if channel == 0
    )
    assert soprano == [(0, 2, 67), (2, 3, 74), (3, 4, 78), (4, 5, 70)]  # a held key is one note
    for bad in ("H4", "C", "C9", "do re mi"):
        done = run("--demo", bad, "--out", out, check=2)
        assert "is no note" in done.stderr or "is not between A1 and C6" in done.stderr
        assert done.stderr.count("\n") == 1


def test_no_checkpoint(tmp_path):
    assert "there is no file" in run("--demo", "--out", tmp_path, check=2).stderr
    (tmp_path / "music.npz").write_text("hello")
    assert "is no checkpoint" in run("--demo", "--out", tmp_path, check=2).stderr
