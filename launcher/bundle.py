"""The engine for a machine without a network: its packages in files of a chosen size, and back again.

A bundle is one tar archive cut into parts, and bundle.json, which names each part with its SHA-256. It serves machines with
the Python and the kind of system that it was made on.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

from launcher import engine
from launcher.install_steps import Say, failure

MANIFEST = "bundle.json"
MB = 1_000_000
BLOCK = 1 << 20


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int
    sha256: str


class Manifest(BaseModel):
    """bundle.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: engine.Device
    python: str
    """Such as 3.11: the one that the packages are for."""
    requirements_sha256: str
    parts: tuple[Part, ...]


def write(device: engine.Device, out: Path, part_mb: int, say: Say, root: Path = engine.ROOT) -> Manifest:
    """Downloads what the engine is made of and writes it to `out`, a new or empty folder. Errors: EngineError."""
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise engine.EngineError(f"{out} is not empty: give a new folder for the bundle")
    requirements = engine.lock(device, root)
    with tempfile.TemporaryDirectory(dir=out, prefix=".packages-") as folder:
        wheels = Path(folder)
        _download(requirements, wheels, say)
        say(f"writing parts of {part_mb} MB")
        with Splitter(out, f"engine-{device}.tar", part_mb * MB) as parts:
            with tarfile.open(fileobj=parts, mode="w|") as archive:
                for file in sorted(wheels.iterdir()):
                    archive.add(file, file.name)
            made = Manifest(
                device=device, python=_python_of(engine.base_python()), requirements_sha256=_hash(requirements),
                parts=parts.close(),
            )  # fmt: skip
    (out / MANIFEST).write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return made


def _download(requirements: Path, wheels: Path, say: Say) -> None:
    """What `engine.steps` installs: torch with all that it requires, the others alone."""
    plain = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off", "-d", str(wheels))
    pip, pinned = (engine.base_python(), "-m", "pip", "download", *plain), ("-c", str(requirements))
    torch = f"torch=={engine.pins(requirements)['torch']}"
    for name, argv in (
        ("pip, setuptools and torch", (*pip, *pinned, "pip", "setuptools", torch)),
        ("packages", (*pip, "--no-deps", "-r", str(requirements))),
    ):
        say(f"downloading {name}")
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise engine.EngineError(
                f"{name} could not be downloaded: {failure((done.stdout + done.stderr).splitlines())}"
            )


class Splitter(io.RawIOBase):
    """A file to write to that becomes several, each of at most `most` bytes."""

    def __init__(self, folder: Path, name: str, most: int):
        self._folder, self._name, self._most = folder, name, most
        self._done: list[Part] = []
        self._file: BinaryIO | None = None

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        rest = memoryview(data)
        while rest:
            if self._file is None:
                self._path = self._folder / f"{self._name}.{len(self._done):03}"
                self._file, self._size, self._hash = self._path.open("wb"), 0, hashlib.sha256()
            now, rest = rest[: self._most - self._size], rest[self._most - self._size :]
            self._file.write(now)
            self._hash.update(now)
            self._size += len(now)
            if self._size == self._most:
                self._finish()
        return len(data)

    def _finish(self) -> None:
        self._file.close()
        self._done.append(Part(name=self._path.name, size=self._size, sha256=self._hash.hexdigest()))
        self._file = None

    def close(self) -> tuple[Part, ...]:
        """All parts."""
        if self._file is not None:
            self._finish()
        super().close()
        return tuple(self._done)


def unpack(folder: Path, device: engine.Device, wheels: Path, root: Path = engine.ROOT) -> None:
    """Writes the bundle's packages to `wheels`. Errors: EngineError for one that is damaged, or made for something else."""
    made = _manifest(folder)
    python = _python_of(engine.base_python())
    if (made.device, made.python) != (device, python):
        text = f"the bundle in {folder} is for {made.device} and Python {made.python}, not for {device} and Python {python}"
        raise engine.EngineError(f"{text}: make one with `launcher engine bundle --device {device}`")
    if made.requirements_sha256 != _hash(engine.lock(device, root)):
        raise engine.EngineError(f"the bundle in {folder} was made for other pins than these: make it anew")
    for part in made.parts:
        _verify(folder / part.name, part)
    wheels.mkdir(parents=True, exist_ok=True)
    reader = _Joined(folder / part.name for part in made.parts)
    with closing(reader), tarfile.open(fileobj=reader, mode="r|") as archive:
        archive.extractall(wheels, filter="data")


def _manifest(folder: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise engine.EngineError(
            f"{folder} holds no bundle: {MANIFEST} cannot be read ({type(error).__name__})"
        ) from error


def _verify(path: Path, part: Part) -> None:
    if not path.is_file():
        raise engine.EngineError(f"the bundle lacks {part.name}: copy it again")
    if path.stat().st_size != part.size or _hash(path) != part.sha256:
        raise engine.EngineError(f"{path} is damaged: copy it again")


class _Joined:
    """Several files, read one after the other as one."""

    def __init__(self, paths: Iterator[Path]):
        self._paths, self._file = paths, io.BytesIO()

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self._file.read(size - len(found))
            if not more:
                self._file.close()
                path = next(self._paths, None)
                if path is None:
                    break
                self._file = path.open("rb")
            found += more
        return found

    def close(self) -> None:
        self._file.close()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _python_of(python: str) -> str:
    if python == sys.executable:
        return "{}.{}".format(*sys.version_info)
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
