"""Disks that kill the process."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from pathlib import Path
from typing import NoReturn

from storage.disk import OsDisk


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody outlives that")


class DeadlyDisk(OsDisk):
    """Kills the process at its n-th call, before anything of it is done."""

    def __init__(self, number: int) -> None:
        self.left = number

    def reach(self) -> None:
        self.left -= 1
        if not self.left:
            die()

    def create(self, path: str) -> int:
        self.reach()
        return super().create(path)

    def write(self, descriptor: int, data: memoryview) -> int:
        self.reach()
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self.reach()
        super().sync(descriptor)

    def sync_folder(self, path: str) -> None:
        self.reach()
        super().sync_folder(path)

    def close(self, descriptor: int) -> None:
        self.reach()
        super().close(descriptor)


class TearingDisk(DeadlyDisk):
    """Does half of the write that it kills at."""

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.left == 1:
            OsDisk.write(self, descriptor, data[: len(data) // 2])
        return super().write(descriptor, data)


class ForgetfulDisk(DeadlyDisk):
    """What was not synced is gone after the kill, as after a power cut: bytes, and names of files."""

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self.bytes: dict[int, list[bytes]] = defaultdict(list)
        self.names: list[str] = []

    def create(self, path: str) -> int:
        self.names.append(path)
        return super().create(f"{path}.unsynced")

    def write(self, descriptor: int, data: memoryview) -> int:
        self.reach()
        self.bytes[descriptor].append(bytes(data))
        return len(data)

    def sync(self, descriptor: int) -> None:
        self.reach()
        os.write(descriptor, b"".join(self.bytes.pop(descriptor, [])))
        os.fdatasync(descriptor)

    def sync_folder(self, path: str) -> None:
        super().sync_folder(path)
        while self.names:
            name = self.names.pop()
            Path(f"{name}.unsynced").rename(name)

    def close(self, descriptor: int) -> None:
        self.bytes.pop(descriptor, None)
        super().close(descriptor)
