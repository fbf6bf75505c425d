"""Reads and writes the files of a repository: whole or not at all, and never one that lies outside of it."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from attrs import frozen

MOST_BYTES = 1024 * 1024


class NotOurs(Exception):
    """A file can't be read or may not be written; the message names it and says why."""


@frozen
class Repository:
    """A directory tree.

    :param root: absolute, without symlinks.
    """

    root: Path

    def read(self, name: str) -> str | None:
        """Read a text file, with its line ends as `write` gives them back; None when there is none.

        :raises NotOurs: it is no text file of this repository.
        """
        try:
            raw = self._read(self._place(name), name)
            return None if raw is None else raw.decode()
        except UnicodeDecodeError:
            raise NotOurs(f"{name} is not in UTF-8.") from None
        except OSError as error:
            raise NotOurs(f"{name} can't be read: {error.strerror}.") from None

    def write(self, name: str, text: str) -> None:
        """Replace a file, or make it; its mode stays. A symlink within the repository stays one.

        :raises NotOurs: it can't be written.
        """
        place = self._place(name)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._replace(place, text.encode())
        except OSError as error:
            raise NotOurs(f"{name} can't be written: {error.strerror}.") from None

    def remove(self, name: str) -> None:
        """Remove a file, and the directories that held nothing else.

        :raises NotOurs: it can't be removed.
        """
        place = self._place(name)
        try:
            place.unlink(missing_ok=True)
        except OSError as error:
            raise NotOurs(f"{name} can't be removed: {error.strerror}.") from None
        for directory in place.parents:
            if directory == self.root:
                return
            try:
                directory.rmdir()
            except OSError:
                return  # something else is in it

    def names(self, directory: str, suffix: str) -> list[str]:
        """Name the files of a directory that end so.

        :raises NotOurs: the directory is not in this repository.
        """
        place = self._place(directory)
        return sorted(f"{directory}/{path.name}" for path in place.glob(f"*{suffix}")) if place.is_dir() else []

    def _place(self, name: str) -> Path:
        """Give where a file really lies."""
        try:
            place = (self.root / name).resolve()
        except (OSError, RuntimeError):
            raise NotOurs(f"{name} can't be found: its symlinks go round in a circle.") from None
        if not place.is_relative_to(self.root):
            raise NotOurs(f"{name} leads out of the repository, to {place}: replace the symlink by a file.")
        return place

    def _read(self, place: Path, name: str) -> bytes | None:
        try:
            handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with open(handle, "rb") as opened:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise NotOurs(f"{name} is no regular file.")
            raw = opened.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise NotOurs(f"{name} has more than {MOST_BYTES} bytes.")
        return raw

    def _replace(self, place: Path, content: bytes) -> None:
        fresh = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            with open(handle, "wb") as opened:
                opened.write(content)
                opened.flush()
                with suppress(FileNotFoundError):
                    os.fchmod(handle, stat.S_IMODE(place.stat().st_mode))
                os.fsync(handle)
            fresh.rename(place)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise


def find_root(directory: Path) -> Path:
    """Give the root of the git repository that a directory is in; without one, the directory itself."""
    start = directory.resolve()
    return next((place for place in (start, *start.parents) if (place / ".git").exists()), start)
