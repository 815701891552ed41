"""A bundle of a tiny engine: made from wheels in a folder, carried in parts, and installed without any index."""

import ensurepip
import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from launcher import bundle, engine
from launcher.install_steps import run_all
from launcher.rundir import read_json

PINS = engine.pins(engine.lock("cpu"))
PACKAGES = (*engine.CHECKED["cpu"], "setuptools")


def wheel(folder: Path, name: str, version: str) -> None:
    """A package of one empty module."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        f"{name.replace('-', '_')}/__init__.py": "",
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in files) + f"{stem}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for file, text in (files | {f"{stem}.dist-info/RECORD": record}).items():
            archive.writestr(file, text)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project whose engine is tiny, and whose packages come from a folder alone."""
    source, root = tmp_path / "source", tmp_path / "project"
    source.mkdir()
    root.mkdir()
    pip = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    shutil.copy(pip, source)
    for name in PACKAGES:
        wheel(source, name, PINS.get(name, "80.0"))
    pins = {"pip": pip.name.split("-")[1]} | {name: PINS.get(name, "80.0") for name in PACKAGES}
    text = "".join(f"{name}=={version}\n" for name, version in pins.items())
    engine.lock("cpu", root).write_text(text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return root


def silent(_: str) -> None:
    pass


def test_a_bundle_installs_where_there_is_no_index(project, tmp_path, monkeypatch):
    out = tmp_path / "bundle"
    made = bundle.write("cpu", out, 1, silent, project)
    assert len(made.parts) > 1
    assert [part.size for part in made.parts[:-1]] == [1_000_000] * (len(made.parts) - 1)
    assert {path.name for path in out.iterdir()} == {"bundle.json", *(part.name for part in made.parts)}
    assert read_json(out / "bundle.json")["python"] == "{}.{}".format(*sys.version_info)
    monkeypatch.delenv("PIP_FIND_LINKS")
    wheels = tmp_path / "wheels"
    bundle.unpack(out, "cpu", wheels, project)
    folder = project / ".engine" / "cpu"
    folder.mkdir(parents=True)
    run_all(engine.steps(folder, engine.lock("cpu", project), engine.base_python(), None, wheels), folder, silent)
    installed = engine.find("cpu", project, {})
    assert installed.versions == {name: PINS[name] for name in engine.CHECKED["cpu"]}


def test_a_bundle_is_only_used_whole_and_for_what_it_was_made_for(project, tmp_path):
    out, wheels = tmp_path / "bundle", tmp_path / "wheels"
    made = bundle.write("cpu", out, 1, silent, project)
    engine.lock("cuda", project).write_text("torch==1\n")

    def refusal(device: engine.Device = "cpu") -> str:
        with pytest.raises(engine.EngineError) as caught:
            bundle.unpack(out, device, wheels, project)
        return str(caught.value)

    assert "is for cpu and Python" in refusal("cuda")
    lock = engine.lock("cpu", project)
    pins = lock.read_text()
    lock.write_text(pins + "more==1\n")
    assert "made for other pins" in refusal()
    lock.write_text(pins)
    last = out / made.parts[-1].name
    content = bytearray(last.read_bytes())
    content[7] ^= 1
    last.write_bytes(content)
    assert refusal() == f"{last} is damaged: copy it again"
    last.unlink()
    assert refusal() == f"the bundle lacks {last.name}: copy it again"
    (out / "bundle.json").write_text("{")
    assert "holds no bundle" in refusal()
    assert not wheels.exists()


def test_a_bundle_is_not_written_over_anything(project, tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(engine.EngineError, match="is not empty"):
        bundle.write("cpu", tmp_path, 1, silent, project)


def test_a_package_that_the_index_lacks_is_named(project, tmp_path):
    lock = engine.lock("cpu", project)
    lock.write_text(lock.read_text() + "second-opinion-test==1\n")
    with pytest.raises(engine.EngineError, match="packages could not be downloaded: .*second-opinion-test==1"):
        bundle.write("cpu", tmp_path / "bundle", 1, silent, project)


@pytest.mark.parametrize("most", [1, 3, 7, 100])
def test_parts_put_together_are_what_was_written(tmp_path, most):
    blocks = [b"", b"abc", b"defghij" * 3, b"k"]
    with bundle.Splitter(tmp_path, "x", most) as parts:
        for block in blocks:
            parts.write(block)
        done = parts.close()
    whole = b"".join((tmp_path / part.name).read_bytes() for part in done)
    assert whole == b"".join(blocks)
    assert all(hashlib.sha256((tmp_path / part.name).read_bytes()).hexdigest() == part.sha256 for part in done)
    assert all(part.size == most for part in done[:-1])
