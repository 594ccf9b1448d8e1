"""`deblurgan deblur` as anyone starts with it: without weights, without an output folder."""

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from deblurgan import devices
from deblurgan.cli import common
from deblurgan.networks.tutorial import generator_model
from deblurgan.restoring import opening
from deblurgan.weights import catalogue
from deblurgan.weights.hdf5 import save_keras2
from tests.cli.program import deblurgan, told
from tests.photographs import names, noise, pixels, save

ROOT = Path(__file__).parents[2]
CROP = ROOT / "tests" / "data" / "GOPRO_crops" / "test" / "GOPR0410_11_00"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inverted(monkeypatch):
    """Let the commands invert pictures instead of loading a network; the list of the weights that they asked for."""

    def invert(image):
        return 255 - image

    invert.engine, invert.engine_precision, invert.quality = "tensorflow", None, "made up"
    invert.pixels_done = 0
    asked = []

    def open_restorer(path, **options):
        asked.append((path, options["quality"]))
        return invert

    monkeypatch.setattr(opening, "open_restorer", open_restorer)
    return asked


# The whole program with its own weights


def test_a_real_picture_gains_without_any_option(here):
    """A process of its own, from a cold start, with what is in the package alone."""
    blurred = shutil.copy(CROP / "blur" / "001193.png", here / "truck.png")
    before = Path(blurred).read_bytes()
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "deblurgan", "deblur", "truck.png"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    device = f"CPU ({devices.platform.machine()}), {devices.resolve_precision('auto')}"
    assert (ran.returncode, ran.stderr.splitlines()) == (
        0,
        ["Weights: maxim-gopro, quality fast (1 stage)", f"Device: {device}"],
    )
    assert ran.stdout == "1 of 1 pictures restored: truck_deblurred.png\n"
    assert names(here) == ["truck.png", "truck_deblurred.png"]
    assert (here / "truck.png").read_bytes() == before
    sharp = pixels(CROP / "sharp" / "001193.png")
    psnr = [peak_signal_noise_ratio(sharp, pixels(here / name)) for name in names(here)]
    assert psnr[1] > psnr[0] + 1


# Which weights


@pytest.mark.parametrize("command", ["deblur", "test", "evaluate"])
def test_without_weights_those_of_the_package_are_taken_or_generator_h5_where_it_is(inverted, here, command):
    for side in "AB":
        save(here / "pairs" / side / "0.png", noise())
    arguments = [here / "pairs" / "A"] if command == "deblur" else ["--input_dir", here / "pairs"]
    arguments += [] if command == "evaluate" else ["--output_dir", here / "out"]
    assert deblurgan(command, *arguments).exit_code == 0
    (here / "generator.h5").touch()
    assert deblurgan(command, *arguments, "--quality", "best").exit_code == 0
    assert deblurgan(command, *arguments, "--weight_path", "maxim-gopro").exit_code == 0
    shipped = catalogue.place("maxim-gopro")
    assert inverted == [(shipped, None), (Path("generator.h5"), "best"), (shipped, None)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small generator of the tutorial, as Keras 2 wrote it."""
    path = tmp_path_factory.mktemp("weights") / "generator.h5"
    save_keras2(generator_model((None, None, 3), ngf=4, n_blocks=1), path)
    return path


def test_a_generator_in_the_working_folder_is_taken_and_said(here, tiny):
    shutil.copy(tiny, here / "generator.h5")
    save(here / "a.png", noise())
    result = deblurgan("deblur", "a.png", "--precision", "float32")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == ["Weights: generator.h5", f"Device: {devices.describe('float32')}"]
    assert names(here) == ["a.png", "a_deblurred.png", "generator.h5"]


def test_a_quality_of_weights_without_stages_is_refused(here, tiny):
    save(here / "a.png", noise())
    result = deblurgan("deblur", "a.png", "--weight_path", tiny, "--quality", "preview")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: quality: expected the weights of a network with stages, such as maxim-gopro; ")
    assert names(here) == ["a.png"]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("90", "received 90; the quality of JPEG files is --jpeg_quality"),
        ("beste", "received beste; did you mean best?"),
        ("quick", "received quick"),
    ],
)
@pytest.mark.parametrize("command", ["deblur", "test", "evaluate"])
def test_an_unknown_quality_is_refused_with_a_hint(command, value, hint):
    arguments = ["a.png"] if command == "deblur" else []
    result = deblurgan(command, *arguments, "--quality", value)
    assert result.exit_code == 2
    expected = f"Invalid value for '--quality': expected one of preview, fast, balanced, best, {hint}"
    assert result.stderr.splitlines()[-1] == f"Error: {expected}"


# Beside the pictures


def test_a_result_goes_beside_its_picture(inverted, here):
    photo = save(here / "photos" / "my photo.jpg", noise())
    result = deblurgan("deblur", photo)
    assert (result.exit_code, told(result)) == (0, [])
    assert result.stdout == f"1 of 1 pictures restored: {here / 'photos' / 'my photo_deblurred.jpg'}\n"
    assert names(here / "photos") == ["my photo.jpg", "my photo_deblurred.jpg"]
    assert deblurgan("deblur", photo, "--format", "png", "--suffix", "_x").exit_code == 0
    np.testing.assert_array_equal(pixels(here / "photos" / "my photo_x.png"), 255 - pixels(photo))
    assert names(here) == ["photos"]


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_result_never_goes_over_a_file(inverted, here, more):
    save(here / "a.png", noise())
    save(here / "b.png", noise())
    (here / "a_deblurred.png").write_bytes(b"mine")
    result = deblurgan("deblur", "a.png", "b.png", *more)
    assert result.exit_code == 1
    assert told(result) == [
        "failed: a_deblurred.png: is there already, and a result beside its picture replaces nothing; expected "
        "--skip_existing, another --suffix, or an --output_dir",
        "Error: 1 of 2 pictures failed",
    ]
    assert (here / "a_deblurred.png").read_bytes() == b"mine"
    assert names(here) == ["a.png", "a_deblurred.png", "b.png", "b_deblurred.png"]
    result = deblurgan("deblur", "a.png", "b.png", "--skip_existing")
    assert (result.exit_code, told(result)) == (0, [])
    assert "(2 were there already)" in result.stdout
    assert (here / "a_deblurred.png").read_bytes() == b"mine"


def test_a_file_that_appears_meanwhile_is_not_replaced_either(here, monkeypatch):
    def restore(image):
        (here / "a_deblurred.png").write_bytes(b"mine")
        return image

    restore.engine_precision = restore.quality = None
    restore.pixels_done = 0
    monkeypatch.setattr(opening, "open_restorer", lambda path, **options: restore)
    save(here / "a.png", noise())
    result = deblurgan("deblur", "a.png")
    assert result.exit_code == 1
    assert "a_deblurred.png: is there already" in result.stderr
    assert (here / "a_deblurred.png").read_bytes() == b"mine"
    assert names(here) == ["a.png", "a_deblurred.png"]


def test_a_folder_with_earlier_results_gets_those_of_new_pictures(inverted, here):
    for name in ("a.png", "sub/b.png"):
        save(here / "in" / name, noise())
    assert deblurgan("deblur", "in", "--recursive").exit_code == 0
    assert names(here / "in") == ["a.png", "a_deblurred.png", "sub"]
    save(here / "in" / "c.png", noise())
    result = deblurgan("deblur", "in", "--recursive", "--skip_existing")
    assert result.stdout == "1 of 3 pictures restored: in/c_deblurred.png (2 were there already)\n"
    assert names(here / "in") == ["a.png", "a_deblurred.png", "c.png", "c_deblurred.png", "sub"]
    assert names(here / "in" / "sub") == ["b.png", "b_deblurred.png"]


def test_pictures_of_a_zip_file_go_beside_it(inverted, here):
    save(here / "x.png", noise())
    (here / "archives").mkdir()
    with zipfile.ZipFile(here / "archives" / "z.zip", "w") as archive:
        archive.write("x.png", "holiday/x.png")
    assert deblurgan("deblur", "archives/z.zip").exit_code == 0
    assert names(here / "archives") == ["x_deblurred.png", "z.zip"]
    np.testing.assert_array_equal(pixels(here / "archives" / "x_deblurred.png"), 255 - noise())


def test_a_video_goes_beside_itself_and_never_over_a_file(inverted, here):
    av = pytest.importorskip("av")
    with av.open(str(here / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10, options={"slices": "4"})
        stream.width, stream.height, stream.pix_fmt = 32, 24, "bgr0"
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise(seed=number), "rgb24")))
        container.mux(stream.encode())
    result = deblurgan("deblur", "clip.mkv")
    assert result.exit_code == 0, result.stderr
    assert names(here) == ["clip.mkv", "clip_deblurred.mkv"]
    with av.open(str(here / "clip_deblurred.mkv")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 3
    assert np.abs(frames[1].astype(int) - (255 - noise(seed=1))).mean() < 60  # lossy, of noise
    before = (here / "clip_deblurred.mkv").read_bytes()
    result = deblurgan("deblur", "clip.mkv")
    assert result.exit_code == 1
    assert "failed: clip_deblurred.mkv: is there already" in result.stderr
    assert (here / "clip_deblurred.mkv").read_bytes() == before


def test_a_dry_run_tells_the_places_and_loads_and_writes_nothing(here, monkeypatch):
    monkeypatch.setattr(opening, "open_restorer", lambda *_, **options: pytest.fail("not for a dry run"))
    monkeypatch.setattr(common, "located", lambda path: pytest.fail("not for a dry run"))
    for name in ("in/a.png", "in/b.jpg", "in/b_deblurred.jpg"):
        save(here / name, noise())
    result = deblurgan("deblur", "in", "--dry_run", "--skip_existing")
    assert result.stdout.splitlines() == [
        "in/a.png -> in/a_deblurred.png",
        "in/b.jpg -> in/b_deblurred.jpg (exists: skipped)",
    ]
    assert result.exit_code == 0
    result = deblurgan("deblur", "in", "--dry_run")
    assert result.stdout.splitlines()[1:] == ["in/b.jpg -> in/b_deblurred.jpg (exists: refused)"]
    assert names(here / "in") == ["a.png", "b.jpg", "b_deblurred.jpg"]


def test_watching_needs_a_folder_for_the_results(here):
    (here / "in").mkdir()
    result = deblurgan("deblur", "in", "--watch")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "Error: Missing option '--output_dir', which --watch needs."


def test_standard_input_goes_to_standard_output_and_not_beside_other_inputs(inverted, here):
    content = io.BytesIO()
    Image.fromarray(noise()).save(content, format="PNG")
    result = deblurgan("deblur", "-", input=content.getvalue())
    assert result.exit_code == 0
    np.testing.assert_array_equal(pixels(io.BytesIO(result.stdout_bytes)), 255 - noise())
    save(here / "a.png", noise())
    result = deblurgan("deblur", "-", "a.png", input=content.getvalue())
    assert result.exit_code == 2
    assert "Missing option '--output_dir', which standard input beside other inputs needs." in result.stderr
    assert names(here) == ["a.png"]


def test_a_comparison_works_beside_the_pictures(inverted, here):
    save(here / "in" / "a.png", noise())
    assert deblurgan("deblur", "in/a.png", "--compare", "page.html").exit_code == 0
    assert "<figure" in (here / "page.html").read_text()
    result = deblurgan("deblur", "in/a.png", "--suffix", "_x", "--compare", "in")
    assert result.exit_code == 1
    assert names(here / "in") == ["a.png", "a_deblurred.png"]


def test_nothing_is_loaded_where_no_picture_is_left_to_be_restored(here, monkeypatch):
    monkeypatch.setattr(opening, "open_restorer", lambda *_, **options: pytest.fail("nothing is left"))
    save(here / "a.png", noise())
    save(here / "a_deblurred.png", noise(seed=1))
    result = deblurgan("deblur", "a.png")
    assert (result.exit_code, result.stdout) == (1, "0 of 1 pictures restored\n")
    assert "failed: a_deblurred.png: is there already" in result.stderr
    result = deblurgan("deblur", "a.png", "--skip_existing")
    assert (result.exit_code, result.stdout) == (0, "0 of 1 pictures restored (1 were there already)\n")
