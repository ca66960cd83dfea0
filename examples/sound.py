"""What speech.py does to sound: WAV files, features, and spoken digits mixed into strings."""

import functools
import struct
import sys
import wave

import common
import numpy as np

PCM, EXTENSIBLE = 1, 0xFFFE  # how samples are written
CODINGS = {3: "as floating point", 6: "in A-law", 7: "in mu-law", 0x11: "in ADPCM", 0x55: "in MP3"}
RATE = 8000  # samples in a second
WINDOW, HOP = 256, 128  # samples of a spectrum, 32 ms, and from one to the next
N_MELS = 40  # bands of a spectrum
FEATURES = 2 * N_MELS  # of a frame: two spectra
SECONDS = 2 * HOP / RATE  # from one frame to the next


def read_wav(path):
    """A WAV file of 8 or 16 bits as one channel of numbers between -1 and 1, 8000 in a second."""
    try:
        with open(path, "rb") as file:
            (coding, n_channels, rate, width), content, missing = parts_of(file.read())
    except OSError as error:
        common.fail(f"{path} cannot be read: {error.strerror}")
    except ValueError as error:
        common.fail(f"{path} is no WAV file that can be read: {error}")
    if coding != PCM:
        named = CODINGS.get(coding, f"in the coding {coding:#06x}")
        common.fail(f"{path} has samples {named}; save it as PCM with 16 bits")
    if width not in (1, 2):
        common.fail(f"{path} has samples of {8 * width} bits; save it with 16, or with 8")
    if rate < RATE // 2:
        common.fail(f"{path} has {rate} samples in a second; for speech {RATE // 2} are needed")
    if missing:
        print(
            f"{common.name()}: {path} is cut short by {missing:,} bytes; what is there is read",
            file=sys.stderr,
        )
    content = content[: len(content) // (width * n_channels) * width * n_channels]
    values = np.frombuffer(content, "<i2") / 2**15 if width == 2 else np.frombuffer(content, "u1") / 128 - 1
    x = values.reshape(-1, n_channels).mean(1)
    if len(x) < 0.1 * rate:
        common.fail(f"{path} is too short: {len(x) / rate:.2f} s; at least 0.1 s are needed")
    if np.ptp(x) == 0:
        common.fail(f"{path} is silent")
    if rate == RATE:
        return x
    n = round(len(x) * RATE / rate)  # the same spectrum, cut off at the new rate's half, or filled up to it
    return np.fft.irfft(np.fft.rfft(x), n) * (n / len(x))


def parts_of(content):
    """What a WAV file says of its samples (coding, channels, samples in a second, bytes of one), those
    samples, and how many bytes of them are missing. Raises ValueError. Python's own reader knows the
    extensible header, which 16-bit recordings have, too, from version 3.12 on only.
    """
    if content[:4] not in (b"RIFF", b"RIFX", b"RF64") or content[8:12] != b"WAVE":
        raise ValueError("it does not begin with RIFF and WAVE")
    if content[:4] != b"RIFF":
        raise ValueError(f"it is of the kind {content[:4].decode()}; save it as an ordinary WAV file")
    at, form = 12, None
    while at + 8 <= len(content):
        name, (size,) = content[at : at + 4], struct.unpack("<I", content[at + 4 : at + 8])
        body = content[at + 8 : at + 8 + size]
        if name == b"data":
            if form is None:
                raise ValueError("its samples come before what says how they are written")
            (whole,) = struct.unpack("<I", content[4:8])
            if size > 2**31 - 2**16 or whole == size == 0:  # written to a pipe, where sizes are not known yet
                return form, content[at + 8 :], 0
            return form, body, size - len(body)
        if len(body) < size:
            raise ValueError("it ends too early")
        if name == b"fmt ":
            if size < 16:
                raise ValueError("what says how its samples are written is too short")
            coding, n_channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            if coding == EXTENSIBLE and size >= 26:
                (coding,) = struct.unpack("<H", body[24:26])  # the beginning of a GUID
            if not n_channels or not rate or not bits:
                raise ValueError("it says that it has no channels, no samples in a second, or none at all")
            form = coding, n_channels, rate, (bits + 7) // 8
        at += 8 + size + size % 2
    raise ValueError("it has no samples" if form else "it ends too early")


def write_wav(path, x):
    """Samples, 8000 in a second, as a WAV file of 16 bits."""
    values = (x * (0.9 * 2**15 / np.abs(x).max())).astype("<i2")
    try:
        with open(path, "wb") as stream, wave.open(stream) as file:
            file.setparams((1, 2, RATE, len(values), "NONE", ""))
            file.writeframes(values.tobytes())
    except OSError as error:
        common.fail(f"{path} cannot be written: {error.strerror}", 1)


@functools.cache
def _filters():
    """The triangles of the mel scale, (frequencies, N_MELS), 100 to 4000 Hz (O'Shaughnessy 1987)."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (100, RATE / 2))
    edges = 700 * (10 ** (np.linspace(low, high, N_MELS + 2) / 2595) - 1)
    f = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0, np.minimum((f - left) / (middle - left), (right - f) / (right - middle)))


def log_mel(x):
    """Samples -> frames (n, FEATURES): the logarithm of the power in each band, mean 0, variance 1."""
    pieces = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(pieces)) ** 2 @ _filters()
    logs = np.log(power + 1e-6 * power.max() + 1e-12)
    logs = ((logs - logs.mean()) / (logs.std() + 1e-6)).astype("float32")
    return logs[: len(logs) // 2 * 2].reshape(-1, FEATURES)


def said(sound, rng, duration, level):
    """A recording at a duration and a level of chance."""
    at = np.arange(0, len(sound) - 0.5, 1 / rng.uniform(*duration)).round().astype(int)
    return rng.uniform(*level) * sound[at.clip(max=len(sound) - 1)]


def silence(seconds):
    return np.zeros(int(seconds * RATE))


def string(recordings, digits, rng, duration, level, pause):
    """Digits one after the other with pauses of chance before, between and after."""
    pieces = [silence(rng.uniform(*pause))]
    for digit in digits:
        pieces += [said(recordings[digit], rng, duration, level), silence(rng.uniform(*pause))]
    return np.concatenate(pieces)


def noise(n, rng):
    """n samples between white and pink, of mean power 1."""
    size = 1 << max(1, (n - 1).bit_length())  # for which the Fourier transform is fast
    f = np.fft.rfftfreq(size, 1 / RATE)
    spectrum = np.fft.rfft(rng.standard_normal(size)) * np.maximum(f, 50) ** -rng.uniform(0, 0.5)
    x = np.fft.irfft(spectrum)[:n]
    return x / np.sqrt((x**2).mean())


def in_noise(recordings, digits, rng, snr):
    """A string of digits, each 0.8 to 1.25 times as long and 0.5 to 2 times as loud as recorded, with pauses
    of 0.05 to 0.35 s, and noise `snr` dB below the mean power of the voice.
    """
    x = string(recordings, digits, rng, (0.8, 1.25), (0.5, 2.0), (0.05, 0.35))
    power = (x**2).sum() / np.count_nonzero(x)
    return x + np.sqrt(power * 10 ** (-snr / 10)) * noise(len(x), rng)


def in_babble(recordings, digits, rng, beep, pause=(0.3, 1.5)):
    """A string of digits as the package captcha mixes its clips, but with shorter pauses: over recordings
    said backwards and white noise, with three beeps before and one after.
    """
    voice = string(recordings, digits, rng, (0.9, 1.2), (0.8, 1.2), pause)
    others, n = [*recordings.values()], 0
    pieces = []
    while n < len(voice):
        pieces += [said(others[rng.integers(len(others))][::-1], rng, (0.8, 1.6), (0.2, 0.6))]
        pieces += [silence(rng.uniform(0, 0.1))]
        n += len(pieces[-1]) + len(pieces[-2])
    a, b = voice, np.concatenate(pieces)[: len(voice)] + rng.integers(-2, 2, len(voice)) / 128
    mixed = a + b + np.where((a < 0) & (b < 0), a * b, -a * b)
    gap, last = silence(0.2), said(beep, rng, (1.4, 1.4), (1, 1))
    return np.concatenate([beep, gap, beep, gap, beep, mixed, last])
