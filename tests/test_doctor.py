"""What `deblurgan doctor` finds, and what it finds wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from deblurgan import doctor
from deblurgan.cli import main
from deblurgan.restoring import opening

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return what installs a package that has nothing but metadata."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, version, requires=()):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {text}" for text in requires)]
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))

    return install


def said(*options):
    result = CliRunner().invoke(main, ["doctor", *options])
    assert not result.exception or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout


def test_every_extra_for_users_is_known():
    extras = PYPROJECT.read_text("utf-8").split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    for_work_on_it = {"browser", "dev", "docs", "torch"}
    assert set(doctor.GIVES) == set(re.findall(r"^(\w+) = \[", extras, re.MULTILINE)) - for_work_on_it


def test_what_is_required_and_is_not_there_or_too_old_is_told(installed):
    installed("new", "3.1")
    installed("old", "1.0")
    requires = ["new>=3", "old>=2", "gone", "other-system>=1; sys_platform == 'none'", "of-extra>=4; extra == 'x'"]
    installed("mine", "1", requires)
    assert doctor.unmet("mine") == [
        "mine: expected old>=2, found 1.0; pip install 'old>=2'",
        "mine: expected gone, found none; pip install 'gone'",
    ]
    assert doctor.unmet("mine", "x") == ["mine: expected of-extra>=4, found none; pip install 'of-extra>=4'"]
    installed("of-extra", "4.0rc1")
    assert [requirement.name for requirement in doctor.required("mine", "x")] == ["of-extra"]
    assert doctor.unmet("mine", "x") == ["mine: expected of-extra>=4, found 4.0rc1; pip install 'of-extra>=4'"]


def test_an_extra_of_what_is_required_is_required(installed):
    installed("big", "2.0", ["library>=1; extra == 'with-library'"])
    installed("mine", "1", ["big>=1", "big[with-library]>=1; extra == 'gpu'"])
    assert doctor.unmet("mine") == []
    assert doctor.unmet("mine", "gpu") == ["big: expected library>=1, found none; pip install 'library>=1'"]
    installed("library", "1.5")
    assert doctor.unmet("mine", "gpu") == []


def test_a_package_may_stand_for_another(installed, monkeypatch):
    monkeypatch.setitem(doctor.STAND_INS, "big", ("big-gpu", "big-cpu"))
    assert doctor.version("big") is None
    installed("big-cpu", "2.5", ["library; extra == 'gpu'"])
    assert doctor.version("big") == "2.5"
    installed("mine", "1", ["big>=2", "big[gpu]>=2; extra == 'gpu'"])
    assert doctor.unmet("mine") == []
    assert doctor.unmet("mine", "gpu") == ["big: expected library, found none; pip install 'library'"]


def test_folders_are_written_to_and_left_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("DEBLURGAN_CACHE", str(tmp_path / "deep" / "cache"))
    section = doctor.Section("folders")
    doctor._folders(section)
    assert section.found["weights"]["path"] == str(tmp_path / "deep" / "cache")
    assert section.found["weights"]["state"] == "can be written"
    assert (section.wrong, list(tmp_path.iterdir())) == ([], [])


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEBLURGAN_CACHE", str(tmp_path / "file" / "cache"))
    section = doctor.Section("folders")
    doctor._folders(section)
    assert section.wrong == [
        f"{tmp_path}/file/cache: the folder for weights cannot be written: Not a directory; the environment variable "
        "DEBLURGAN_CACHE names another"
    ]


def test_all_is_well_here():
    code, text = said("--json")
    found = json.loads(text)
    assert (code, found["wrong"]) == (0, [])
    assert list(found) == ["versions", "extras", "folders", "weights", "machine", "self-test", "wrong"]
    assert found["self-test"]["result"] == "passed"
    assert found["weights"]["maxim-gopro"] == "shipped"


def test_a_picture_that_comes_out_otherwise_is_wrong(monkeypatch):
    monkeypatch.setattr(opening, "open_restorer", lambda path, quality: lambda picture: picture)
    code, text = said()
    blurred, restored = (
        np.asarray(Image.open(doctor.PICTURES / name), float) for name in ("blurred.png", "restored.png")
    )
    off = np.abs(blurred - restored).mean()
    assert off > 2 * doctor.MOST
    assert code == 1
    expected = "expected a picture that is at most 1.0 of 255 levels off in the mean"
    assert text.endswith(f"\nwrong\n  self-test: {expected}, received {off:.1f}\n")


def test_a_tensorflow_that_cannot_be_imported_is_told_after_all_else(monkeypatch):
    def fail():
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor, "start_quietly", fail)
    code, text = said()
    assert code == 1
    assert text.startswith("versions\n  deblurgan ")
    assert text.endswith("\nwrong\n  machine: libcudart.so.12: cannot open shared object file\n")


def test_a_gpu_that_is_not_used_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "DRIVER", tmp_path)
    for names, told in (((), True), (("NVIDIA H200",), False)):
        monkeypatch.setattr(doctor, "gpu_names", lambda names=names: names)
        section = doctor.Section("machine")
        doctor._machine(section)
        assert ("GPU" in section.found) == told
