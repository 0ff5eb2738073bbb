"""A disk whose power can be cut: ext4 in a file, shut down without writing out what it has not synced yet."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_NOLOGFLUSH = struct.pack("I", 2)


class Unavailable(Exception):
    """This machine has no such disk; says why."""


class Disk:
    """A file system of 96 MB in ``folder``. Needs root, mkfs.ext4 and a loop device. Raises Unavailable."""

    def __init__(self, folder: Path) -> None:
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            raise Unavailable("only root can mount a disk")
        if shutil.which("mkfs.ext4") is None:
            raise Unavailable("there is no mkfs.ext4 here")
        self._image = folder / "disk.img"
        self.folder = folder / "disk"
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(96 << 20)
        self._run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()

    def sync(self) -> None:
        """What is there now stays there."""
        os.sync()

    def cut(self) -> None:
        """From now on nothing reaches the disk."""
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _NOLOGFLUSH)
        finally:
            os.close(fd)

    def restart(self) -> None:
        """Power is back: what had reached the disk is there."""
        self._run("umount", str(self.folder))
        self._mount()

    def close(self) -> None:
        """Take the disk away."""
        subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)

    def _mount(self) -> None:
        self._run("mount", "-o", "loop", str(self._image), str(self.folder))

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"{command[0]}: {done.stderr.strip()}")
