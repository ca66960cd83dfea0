"""Speech as its users run it: in a process of its own."""

import re
import struct
import wave

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.examples import run_example

pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    return run_example("speech.py", *arguments, check=check)


@pytest.fixture(scope="module")
def speakers(tmp_path_factory):
    """A quick run on speakers, shared by the tests that look at it."""
    out = tmp_path_factory.mktemp("speakers")
    return out, run("--quick", "--out", out).stdout


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A quick run on digits."""
    out = tmp_path_factory.mktemp("digits")
    return out, run("--quick", "--task", "digits", "--out", out).stdout


def read(out, *arguments, check=0):
    return run("--task", "digits", "--out", out, *arguments, check=check)


def write(path, x, rate=8000, width=2, n_channels=1):
    """Numbers between -1 and 1 as a WAV file; several channels are all the same."""
    values = (x * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2")
    if width == 1:
        values = (values // 256 + 128).astype("u1")
    with wave.open(str(path), "wb") as file:
        file.setparams((n_channels, width, rate, len(x), "NONE", ""))
        file.writeframes(np.repeat(values, n_channels).tobytes())
    return path


@pytest.fixture
def speech(example):
    """The script as a module."""
    return example("speech")


@pytest.fixture
def sound(speech):
    return speech.sound


def test_speakers_are_told_apart(speakers):
    out, said = speakers
    assert float(re.search(r"held out: (\d+\.\d+)% right", said).group(1)) > 80  # most frequent: 23.8 %
    assert "logistic regression 96.8 %" in said
    assert len(re.findall(r"^ +[1-9] +\d+ +\d+ ", said, re.M)) == 9
    assert {p.name for p in out.iterdir()} == {"speech_speakers_quick.npz"}


def test_who_speaks_in_a_users_file(speakers, tmp_path):
    out, _ = speakers
    path = tmp_path / "frames.csv"
    path.write_text("\n".join(",".join(f"{0.1 * k:.1f}" for k in range(12)) for _ in range(9)))
    said = run("--predict", path, "--out", out).stdout
    assert re.fullmatch(rf"{path}: speaker [1-9] \(probability [01]\.\d+\)\n", said)
    path.write_text("")
    assert "12 numbers in each line" in run("--predict", path, "--out", out, check=2).stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "must have 12 numbers in each line"),
        ("1,2,3\n", "must have 12 numbers in each line"),
        (",".join(["nan"] * 12), "one line for each step, and none may be NaN"),
        ("1,2\n1,2,3\n", "is no table of numbers"),
        ("a,b\n", "is no table of numbers"),
        (b"\xff\xfe\x00", "is no table of numbers"),
    ],
)  # fmt: skip
def test_bad_tables_get_one_sentence(speech, tmp_path, capsys, content, message):
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit):
        speech.read_utterance(path)
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_digits_are_read(digits):
    out, said = digits
    at_20_db = float(re.search(r"20 dB +\d+\.\d+% +(\d+\.\d+)%", said).group(1))
    assert at_20_db < 40  # one digit in ten by chance, at the right places
    assert len(re.findall(r"^ +\d+ dB ", said, re.M)) == 5
    assert {p.name for p in out.iterdir()} == {"speech_digits_quick.npz", "speech_digits_quick.png"}
    assert (out / "speech_digits_quick.png").read_bytes()[:4] == b"\x89PNG"


def test_a_demo_can_be_read_again(digits):
    out, _ = digits
    said = read(out, "--demo", "31415").stdout
    path = out / "speech_demo.wav"
    heard = re.fullmatch(rf"{path}: (\d+) \(probability [01]\.\d+\)\n", said).group(1)
    assert len(heard) >= 3
    lines = read(out, "--predict", path, path).stdout.splitlines()
    assert lines == [said.strip()] * 2
    path.unlink()


@pytest.mark.parametrize(
    ("rate", "width", "n_channels"), [(8000, 1, 1), (8000, 2, 2), (16000, 2, 1), (44100, 1, 2), (5000, 2, 1)]
)
def test_recordings_of_any_format_are_the_same(sound, tmp_path, rate, width, n_channels):
    """A tone that comes and goes, as it is read from one format and from another."""

    def tone(rate):
        t = np.arange(rate) / rate
        return 0.6 * np.sin(2 * np.pi * 700 * t) * np.sin(np.pi * t) ** 2

    path = write(tmp_path / "tone.wav", tone(rate), rate, width, n_channels)
    x = sound.read_wav(path)
    assert x.shape == (8000,)
    np.testing.assert_allclose(x, tone(8000), atol=0.01 if width == 1 else 1e-3)
    assert sound.log_mel(x).shape == (30, sound.FEATURES)


def chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def wav(samples, coding=1, bits=16, n_channels=1, rate=8000, extra=b"", before=b"", kind=b"RIFF"):
    """A WAV file put together by hand."""
    wide = n_channels * bits // 8
    form = struct.pack("<HHIIHH", coding, n_channels, rate, rate * wide, wide, bits) + extra
    body = b"WAVE" + chunk(b"fmt ", form) + before + chunk(b"data", samples)
    return kind + struct.pack("<I", len(body)) + body


def extensible(subformat, bits=16):
    """What follows in a header with the tag 0xFFFE: its size, the bits that count, speakers, a GUID."""
    return struct.pack("<HHIH", 22, bits, 4, subformat) + bytes.fromhex("000000001000800000aa00389b71")


def samples():
    t = np.arange(4000)
    return (20000 * np.sin(t / 9) * np.hanning(4000)).astype("<i2")


@pytest.mark.parametrize(
    ("content", "scale"),
    [
        (lambda x: wav(x.tobytes()), 1),
        (lambda x: wav(x.tobytes(), 0xFFFE, extra=extensible(1)), 1),
        (lambda x: wav(np.repeat(x, 2).tobytes(), 0xFFFE, n_channels=2, extra=extensible(1)), 1),
        (lambda x: wav((x // 256 + 128).astype("u1").tobytes(), 0xFFFE, 8, extra=extensible(1, 8)), 256),
        (lambda x: wav(x.tobytes(), before=chunk(b"LIST", b"odd") + chunk(b"fact", b"1234")), 1),
        (lambda x: wav(x.tobytes()) + chunk(b"LIST", b"what follows"), 1),
        (lambda x: wav(b"")[:-4] + b"\xff\xff\xff\xff" + x.tobytes(), 1),  # written to a pipe
        (lambda x: b"RIFF\0\0\0\0" + wav(b"")[8:] + x.tobytes(), 1),
    ],
)
def test_headers_of_all_kinds(sound, tmp_path, capsys, content, scale):
    (tmp_path / "a.wav").write_bytes(content(samples()))
    np.testing.assert_allclose(sound.read_wav(tmp_path / "a.wav"), samples() / 2**15, atol=scale / 2**15)
    assert capsys.readouterr().err == ""


def test_a_recording_that_is_cut_short(sound, tmp_path, capsys):
    (tmp_path / "a.wav").write_bytes(wav(samples().tobytes())[:-3001])
    np.testing.assert_array_equal(sound.read_wav(tmp_path / "a.wav"), samples()[:2499] / 2**15)
    assert capsys.readouterr().err.endswith("a.wav is cut short by 3,001 bytes; what is there is read\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav(bytes(9000), 3, 32), "has samples as floating point; save it as PCM with 16 bits"),
        (wav(bytes(9000), 0xFFFE, 32, extra=extensible(3, 32)), "has samples as floating point"),
        (wav(bytes(9000), 7, 8), "has samples in mu-law"),
        (wav(bytes(9000), 0x1234), "has samples in the coding 0x1234"),
        (wav(bytes(9000), bits=24), "has samples of 24 bits; save it with 16, or with 8"),
        (wav(bytes(9000), 0xFFFE, 24, extra=extensible(1, 24)), "has samples of 24 bits"),
        (wav(bytes(9000), n_channels=0), "it says that it has no channels"),
        (wav(bytes(9000), rate=0), "no samples in a second"),
        (wav(bytes(9000), bits=0), "is no WAV file that can be read"),
        (wav(bytes(9000), kind=b"RIFX"), "it is of the kind RIFX; save it as an ordinary WAV file"),
        (wav(bytes(9000))[:36], "it has no samples"),
        (b"RIFF\x24\0\0\0WAVE" + chunk(b"data", bytes(99)), "come before what says how they are written"),
        (b"RIFF\x24\0\0\0WAVE" + chunk(b"fmt ", b"1"), "is too short"),
        (b"OggS" + bytes(99), "it does not begin with RIFF and WAVE"),
        (wav(b""), "is too short: 0.00 s"),
    ],
)
def test_recordings_that_are_not_read(sound, tmp_path, capsys, content, message):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(SystemExit):
        sound.read_wav(tmp_path / "a.wav")
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_frames_as_spreadsheets_write_them(speech, tmp_path):
    x = np.arange(36).reshape(3, 12) / 8 + 0.5
    text = "\n".join(";".join(f"{v:.3f}".replace(".", ",") for v in row) for row in x)
    (tmp_path / "a.csv").write_bytes(text.encode("utf-16"))
    np.testing.assert_array_equal(speech.read_utterance(tmp_path / "a.csv"), x)


def test_hard_clips(digits, speech):
    """Those of the package, the same for one seed, and those that we mix like them."""
    (row, said), *_ = found = list(speech.captchas(2, seed=0))
    (again, _), *_ = speech.captchas(2, seed=0)
    np.testing.assert_array_equal(row, again)
    assert row.shape[1] == speech.sound.FEATURES
    assert all(len(row) * speech.sound.SECONDS > 5 and re.fullmatch("[0-9]{4}", said) for row, said in found)
    voices, beep = speech.recordings()
    assert len(voices) == 36
    x = speech.sound.in_babble(voices, said, np.random.default_rng(0), beep)
    assert 3 < len(x) / speech.sound.RATE < 15
    assert np.isfinite(x).all()


def test_bad_recordings_get_one_sentence(digits, sound, tmp_path, capsys):
    path = tmp_path / "bad.wav"

    def complaint():
        with pytest.raises(SystemExit):
            sound.read_wav(path)
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    assert "bad.wav cannot be read: No such file" in complaint()
    for content in (b"", b"RIFF", b"hello, this is a text", b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00"):
        path.write_bytes(content)
        assert "is no WAV file that can be read" in complaint()
    write(path, np.ones(4000))
    content = bytearray(path.read_bytes())
    content[16] = 255  # a part that is longer than the file
    path.write_bytes(content)
    assert "is no WAV file that can be read" in complaint()
    write(path, np.zeros(0))
    assert "is too short: 0.00 s" in complaint()
    write(path, np.zeros(4000))
    assert "is silent" in complaint()
    write(path, np.ones(4000), rate=100)
    assert "has 100 samples in a second" in complaint()
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 3, 8000, 0, "NONE", ""))
        file.writeframes(bytes(9000))
    assert "has samples of 24 bits" in complaint()
    out, _ = digits
    assert "has samples of 24 bits" in read(out, "--predict", path, check=2).stderr
    assert "'12a' has something else than digits" in read(out, "--demo", "12a", check=2).stderr


def test_wrong_checkpoints(tmp_path):
    assert "there is no file" in run("--predict", "a", "--out", tmp_path, check=2).stderr
    (tmp_path / "speech_digits.npz").write_text("hello")
    assert "is no checkpoint" in read(tmp_path, "--demo", "1", check=2).stderr
    tg.save(tmp_path / "speech_speakers.npz", {"w": tg.ones(2)}, example="speech.py", task="digits")
    assert "is of --task digits" in run("--predict", "a", "--out", tmp_path, check=2).stderr
    assert "--demo is for --task digits" in run("--demo", "1", "--out", tmp_path, check=2).stderr
