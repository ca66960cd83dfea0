"""A file is written whole or not at all; and what stood in the way is one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from ..backend.naming import kind

_REASONS = {
    errno.EACCES: "there is no permission to write in its folder",
    errno.EPERM: "there is no permission to write in its folder",
    errno.ENOSPC: "the disk is full",
}


def reason(error: OSError) -> str:
    """Why the system refused to write."""
    return f"{_REASONS[error.errno]} ({error.strerror})" if error.errno in _REASONS else str(error.strerror)


@contextlib.contextmanager
def replacing(path: Any, name: str = "save") -> Iterator[BinaryIO]:
    """A file to write into that takes the place of `path` when the block ends well.

    It is written beside it, flushed to the disk and renamed. Whatever goes wrong before that, a full disk or
    Ctrl-C, leaves the old file as it was and removes the new one; what a killed process has left of it, the
    next one that writes to `path` removes. A link stays, and what it leads to is replaced.

    Raises OSError of the usual kinds (FileNotFoundError where there is no such folder) with a sentence that
    names `path`, ValueError for a device or a pipe; `name` is who writes.
    """
    path = file_name(path, name)
    with _sentences(path, name), _beside(_target(path, name)) as file:
        yield file


def check_writable(path: str, name: str) -> None:
    """Raises now what `replacing` would raise later: for a folder, a device, no permission, a full disk."""
    with _sentences(path, name):
        handle, temporary = _opened_beside(_target(path, name))
        os.close(handle)
        os.unlink(temporary)


def _target(path: str, name: str) -> str:
    """What a path leads to: an ordinary file, or nothing yet."""
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "")
    if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
        raise ValueError(f"{name}: {path!r} is a device or a pipe; give the name of a file")
    return target


def file_name(path: Any, name: str) -> str:
    """The path as a string. Raises TypeError for what is no path, ValueError for what names no file."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"{name}: expected the name of a file, got {kind(path)}")
    path = os.fsdecode(path)
    if not path or "\0" in path:
        raise ValueError(f"{name}: {path!r} is no name of a file")
    return path


@contextlib.contextmanager
def _sentences(path: str, name: str) -> Iterator[None]:
    """Errors of the system, worded for people: the path that was given, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        folder = os.path.dirname(path)
        if isinstance(error, IsADirectoryError):
            text = f"{path!r} is a folder; give the name of a file in it"
        elif isinstance(error, (FileNotFoundError, NotADirectoryError)):
            why = "is a file" if os.path.isfile(folder) else "does not exist; make it first"
            text = f"{path!r} cannot be written: the folder {folder!r} {why}"
        else:
            text = f"{path!r} cannot be written: {reason(error)}"
        worded = type(error)(f"{name}: {text}")  # the number alone, or Python would word it anew
        worded.errno = error.errno
        raise worded from error


def _mode(path: str) -> int:
    """The permissions of the file that is replaced, or of a new one."""
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(os.stat(path).st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _opened_beside(path: str) -> tuple[int, str]:
    """A new file in the folder of another, open, and its name. It says whose it is: one that is there already
    is of a process that was killed.
    """
    import hashlib
    import tempfile  # here, because it takes time

    folder, last = os.path.split(path)
    digest = hashlib.sha256(os.fsencode(f"{_machine()}/{last}")).hexdigest()[:16]
    start = f".writing.{digest}."
    if path not in tidied:
        tidied.add(path)
        _tidy(folder, start)
    return tempfile.mkstemp(dir=folder, prefix=f"{start}{os.getpid()}.", suffix=".part")


tidied: set[str] = set()  # what this process has written to before


def _machine() -> str:
    """The machine's name: the numbers of processes are its own."""
    return os.uname().nodename if hasattr(os, "uname") else ""


def _tidy(folder: str, start: str) -> None:
    """Removes the unfinished files of processes that are no more."""
    if os.name != "posix":  # elsewhere asking for a process by its number may end it
        return
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            number = name[len(start) :].partition(".")[0]
            unfinished = name.startswith(start) and name.endswith(".part") and number.isdecimal()
            if unfinished and not is_running(int(number)):
                os.unlink(os.path.join(folder, name))


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is somebody else's
        return True
    return True


@contextlib.contextmanager
def _beside(path: str) -> Iterator[BinaryIO]:
    folder = os.path.dirname(path)
    handle, temporary = _opened_beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))  # mkstemp's files are their owner's alone
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the rename itself is to survive a crash
        with contextlib.suppress(OSError):
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
