"""What speech.py does to sound: WAV files, features, and spoken digits mixed into strings."""

import functools
import wave

import common
import numpy as np

RATE = 8000  # samples in a second
WINDOW, HOP = 256, 128  # samples of a spectrum, 32 ms, and from one to the next
N_MELS = 40  # bands of a spectrum
FEATURES = 2 * N_MELS  # of a frame: two spectra
SECONDS = 2 * HOP / RATE  # from one frame to the next


def read_wav(path):
    """A WAV file of 8 or 16 bits as one channel of numbers between -1 and 1, 8000 in a second."""
    try:
        with wave.open(str(path), "rb") as file:
            n_channels, width, rate, n_samples = file.getparams()[:4]
            content = file.readframes(n_samples)
    except OSError as error:
        common.fail(f"{path} cannot be read: {error.strerror}")
    except (wave.Error, EOFError, RuntimeError) as error:
        common.fail(f"{path} is no WAV file that can be read: {str(error) or 'it ends too early'}")
    if width not in (1, 2):
        common.fail(f"{path} has samples of {8 * width} bits; save it with 16, or with 8")
    if rate < RATE // 2:
        common.fail(f"{path} has {rate} samples in a second; for speech {RATE // 2} are needed")
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
