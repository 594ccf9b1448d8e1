"""Names of weights at the command line: `weights`, and the commands that take a name in place of a file."""

import hashlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import deblurgan as package
from deblurgan import cli
from deblurgan.networks.tutorial import generator_model
from deblurgan.weights import catalogue
from deblurgan.weights.catalogue import KNOWN, Entry
from deblurgan.weights.hdf5 import save_weights
from tests.cli.program import deblurgan, error_of
from tests.photographs import names, noise, pixels, save
from tests.served import served


@pytest.fixture(scope="module")
def small_generator(tmp_path_factory):
    """Weights of a small generator of the tutorial's."""
    path = tmp_path_factory.mktemp("weights") / "g.weights.h5"
    save_weights(generator_model(ngf=4, n_blocks=1), path)
    return path


@pytest.fixture
def small(small_generator, monkeypatch, tmp_path):
    """The server of weights that are known as `small`, without a published SHA-256; they are to lie at `cached`."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DEBLURGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with served() as server:
        server.files["g"] = small_generator.read_bytes()
        server.cached = tmp_path / "cache" / "small.weights.h5"
        entry = Entry(
            "small", "tutorial's", "noise", "MIT", "https://example.org", server.cached.name,
            size=1_600_000, addresses=(f"{server.address}/g",),
        )  # fmt: skip
        monkeypatch.setitem(KNOWN, "small", entry)
        yield server


@pytest.fixture
def pairs(tmp_path):
    """A folder with one pair in A and B."""
    for number, side in enumerate("AB"):
        save(tmp_path / "pairs" / side / "x.png", noise(seed=number))
    return tmp_path / "pairs"


def downloading(server):
    """The lines that are said when it is downloaded."""
    digest = hashlib.sha256(server.files["g"]).hexdigest()
    return [
        f"small: downloading {server.address}/g",
        f"{server.cached}: SHA-256 {digest}, noted in small.weights.h5.json: any other is refused from now on",
    ]


def table(text):
    """The cells of each row of the list, by the first."""
    rows = [re.split(r" {2,}", line) for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_weights_are_listed_with_what_is_known_of_them(small, monkeypatch):
    result = deblurgan("weights")
    assert (result.exit_code, result.stderr) == (0, "")
    *rows, last = result.stdout.splitlines()
    assert last == f"`deblurgan weights get NAME` downloads into {small.cached.parent}"
    listed = table("\n".join(rows))
    assert list(listed) == ["name", *KNOWN]
    assert listed["name"] == ["network", "trained on", "published PSNR", "licence", "size", "state"]
    assert listed["maxim-realblur-j"] == [
        "MAXIM S-3", "RealBlur-J", "32.84 dB (RealBlur-J)", "Apache-2.0", "unknown", "to be downloaded",
    ]  # fmt: skip
    assert listed["nafnet-gopro-64"] == [
        "NAFNet, width 64", "GOPRO", "33.71 dB (GOPRO)", "MIT", "272 MB", "to be downloaded",
    ]  # fmt: skip
    assert listed["deblurgan-2019"][1:3] == ["unknown", "none"]
    assert listed["maxim-gopro"][-1] == "shipped"
    assert listed["small"][-2:] == ["2 MB", "to be downloaded"]
    assert max(map(len, rows)) <= 118
    assert small.asked == []
    catalogue.get("small", lambda line: None)
    assert table(deblurgan("weights").stdout)["small"][-2:] == ["0 MB", "cached"]


def test_get_downloads_once_and_prints_the_path(small):
    result = deblurgan("weights", "get", "small")
    assert (result.exit_code, result.stdout) == (0, f"{small.cached}\n")
    assert result.stderr.splitlines() == downloading(small)
    again = deblurgan("weights", "get", "small")
    assert (again.exit_code, again.stdout, again.stderr) == (0, f"{small.cached}\n", "")
    assert small.asked == ["g"]


def test_path_prints_the_path_or_how_to_get_there(small):
    result = deblurgan("weights", "path", "small")
    assert result.stdout == ""
    assert error_of(result) == (
        f"small: expected at {small.cached}, not there yet; get it with `deblurgan weights get small`"
    )
    small.cached.parent.mkdir()
    small.cached.write_bytes(b"by hand")
    result = deblurgan("weights", "path", "small")
    assert (result.exit_code, result.stdout) == (0, f"{small.cached}\n")
    assert "noted in small.weights.h5.json" in result.stderr
    small.cached.write_bytes(b"changed")
    assert error_of(deblurgan("weights", "path", "small")).startswith(f"{small.cached}: expected the SHA-256 that ")
    result = deblurgan("weights", "path", "maxim-gopro")
    assert result.stdout == f"{catalogue.place('maxim-gopro')}\n"


@pytest.mark.parametrize("command", ["get", "path"])
def test_a_misspelt_name_gets_the_nearest(command, small):
    message = error_of(deblurgan("weights", command, "maxim-gorpo"))
    assert message.startswith("weights: expected one of maxim-gopro, ")
    assert message.endswith("received maxim-gorpo; did you mean maxim-gopro?")
    assert error_of(deblurgan("weights", command, "a\nb")).endswith(r"received 'a\nb'")


def test_a_failed_download_is_one_line_and_leaves_nothing(small):
    small.files.clear()
    message = error_of(deblurgan("weights", "get", "small"), others=["small: downloading "])
    assert message == (
        f"small: cannot be downloaded from {small.address}/g: 404 Not Found. By hand: get it there, or as "
        f"https://example.org tells, and put it at {small.cached}"
    )
    assert names(small.cached.parent) == []


@pytest.mark.parametrize("arguments", [["get"], ["path"], ["get", ""], ["got", "small"], ["get", "small", "x"]])
def test_bad_usage_is_told(arguments, small):
    result = deblurgan("weights", *arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert small.asked == []


def test_deblur_downloads_the_weights_that_it_is_given_by_name(small, small_generator, tmp_path):
    save(tmp_path / "in" / "x.png", noise())
    arguments = ["--input_dir", "in", "--precision", "float32", "--output_dir"]
    deblurgan("deblur", "--weight_path", small_generator, *arguments, "expected")
    result = deblurgan("deblur", "--weight_path", "small", *arguments, "out")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[:2] == downloading(small)
    np.testing.assert_array_equal(pixels("out/x.png"), pixels("expected/x.png"))
    again = deblurgan("deblur", "--weight_path=small", *arguments, "again")
    assert again.exit_code == 0
    assert "SHA-256" not in again.stderr
    assert small.asked == ["g"]


def test_a_dry_run_and_a_command_that_cannot_work_download_nothing(small, tmp_path):
    save(tmp_path / "in" / "x.png", noise())
    assert deblurgan("deblur", "--weight_path", "small", "--dry_run", "in", "--output_dir", "out").exit_code == 0
    for command in ("deblur", "test", "evaluate"):
        assert deblurgan(command, "--weight_path", "small", "--input_dir", "missing").exit_code != 0
    assert deblurgan("export", "small", "x.onnx", "--int8").exit_code == 1
    assert small.asked == []


@pytest.mark.parametrize("command", ["test", "evaluate"])
def test_names_and_runs_serve_where_pictures_are_compared(command, mine, pairs):
    printed = []
    for weights in ("mine", "small"):
        result = deblurgan(command, "--weight_path", weights, "--input_dir", pairs)
        assert result.exit_code == 0
        printed.append(result.stdout)
    assert printed[0] == printed[1]


@pytest.fixture
def mine(small, small_generator, tmp_path):
    """A run of that name in the folder weights; its weights."""
    run = tmp_path / "weights" / "mine" / "generator_best.weights.h5"
    run.parent.mkdir(parents=True)
    shutil.copyfile(small_generator, run)
    return run


def test_a_run_is_exported_by_its_name(mine):
    assert deblurgan("export", "mine", "saved").exit_code == 0


@pytest.mark.parametrize("given", ["small", "mine", "weights/mine"])
def test_names_and_runs_serve_where_weight_files_are_read(given, small, mine, small_generator):
    inspected = deblurgan("inspect", given)
    path = small.cached if given == "small" else os.path.join("weights", "mine", mine.name)
    expected = deblurgan("inspect", small_generator).stdout.replace(str(small_generator), str(path))
    assert inspected.stdout == expected
    assert deblurgan("convert", given, "out.keras").exit_code == 0
    assert "tutorial generator, " in deblurgan("inspect", "out.keras").stdout
    image = noise()
    expected = package.load(small_generator, precision="float32").restore(image)
    np.testing.assert_array_equal(package.load(given, precision="float32").restore(image), expected)


@pytest.mark.parametrize("command", ["inspect", "convert", "export"])
def test_weights_that_are_not_there_get_the_nearest_name_where_files_are_read(command, small):
    target = {"inspect": [], "convert": ["out.keras"], "export": ["out.onnx"]}[command]
    message = error_of(deblurgan(command, "smal", *target))
    assert message == "smal: expected a weight file, found nothing; did you mean small?"
    assert error_of(deblurgan(command, "zzz", *target)) == "zzz: expected a weight file, found nothing"


@pytest.mark.parametrize("command", ["deblur", "test", "evaluate"])
def test_weights_that_are_not_there_get_the_nearest_name(command, small, pairs):
    places = [] if command == "evaluate" else ["--output_dir", "out"]

    def error(name):
        folder = pairs / "A" if command == "deblur" else pairs
        return error_of(deblurgan(command, "--weight_path", name, "--input_dir", folder, *places))

    assert error("maxim-gorpo") == "--weight_path maxim-gorpo: no such file; did you mean maxim-gopro?"
    assert error("generator.h5") == "--weight_path generator.h5: no such file"


def test_a_folder_of_that_name_does_not_stand_in_for_the_weights_in_the_package(small, small_generator, tmp_path):
    (tmp_path / "maxim-gopro").mkdir()
    shipped = catalogue.place("maxim-gopro")
    assert cli.common.located(None) == shipped
    shutil.copyfile(small_generator, "generator.h5")
    assert cli.common.located(None) == Path("generator.h5")
