import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from PIL import Image

from deblurgan import cli, files
from deblurgan.devices import policy
from deblurgan.jobs import watching
from deblurgan.networks.tutorial import discriminator_model
from deblurgan.pictures.pixels import resize
from deblurgan.restoring import opening
from deblurgan.restoring import restorer as restorers
from deblurgan.scoring.metrics import PSNR, SSIM
from deblurgan.weights.any_file import load
from deblurgan.weights.hdf5 import save_weights
from tests.cli.program import deblurgan, error_of, parsed, said, succeeds, told
from tests.photographs import names, noise, pixels, save

ROOT = Path(__file__).parents[2]
COMMANDS = ("organize", "synthesize", "train", "gan", "deblur", "test", "evaluate")
ALL_COMMANDS = (
    "organize",
    "synthesize",
    "combine",
    "split",
    "train",
    "recipes",
    "gan",
    "deblur",
    "batch",
    "web",
    "test",
    "evaluate",
    "weights",
    "inspect",
    "convert",
    "export",
    "doctor",
)
SCRIPTS = ("organize_gopro_dataset.py", "train.py", "deblur.py")


def options(command):
    return [parameter for parameter in cli.main.commands[command].params if isinstance(parameter, click.Option)]


FLAGS = ("side_by_side", "resume", "legacy_batchnorm", "recursive", "overwrite", "skip_existing", "dry_run", "watch")
NO_DEFAULT = (
    *FLAGS,
    "tta",
    "memory",
    "csv_path",
    "json_path",
    "table_path",
    "html_path",
    "assume",
    "changes",
    "sources",
    "file_format",
    "compare",
    "suffix",
)
REQUIRED = {
    "organize": ["--dir_out", "out"],
    "synthesize": ["--input_dir", "in", "--output_dir", "out"],
    "deblur": ["--input_dir", "in", "--output_dir", "out"],
}


@pytest.fixture(scope="session")
def images(gopro_crops, tmp_path_factory):
    """Folder with train and test, organised from GOPRO's layout by the command."""
    folder = tmp_path_factory.mktemp("images")
    succeeds("organize", "--dir_in", gopro_crops, "--dir_out", folder)
    return folder


@pytest.fixture
def small_pairs(photos, tmp_path):
    """Folder with three pairs of 48x64 pictures in A and B."""
    for side, photo in zip("AB", photos, strict=True):
        for number in range(3):
            save(tmp_path / "pairs" / side / f"{number}.png", photo[40 * number :][:48, :64])
    return tmp_path / "pairs"


# Help


def test_the_commands_are_listed_in_the_order_of_their_use_with_whole_sentences():
    text = succeeds("--help")
    listed = text.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in listed] == list(ALL_COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize("help_option", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_describes_every_option(command, help_option):
    text = " ".join(succeeds(command, help_option).split())
    assert text.startswith(f"Usage: deblurgan {command} [OPTIONS] ")
    assert len(options(command)) >= 4
    for option in options(command):
        assert option.opts[0] in text
        assert option.help[0].isupper() or option.help.startswith(("crop: ", "transpose: "))
        assert re.match(r".*[.\]]$", option.help)
        assert " ".join(option.help.split()) in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_names_its_default_or_is_required(command):
    context = cli.main.commands[command].make_context(command, list(REQUIRED.get(command, [])))
    for option in options(command):
        _, described = option.get_help_record(context)
        if option.required:
            assert described.endswith("[required]")
        elif option.opts[0] in REQUIRED.get(command, []):  # or another in its place
            continue
        elif context.params[option.name] not in (None, {}, ()) and not option.is_flag:
            assert f"[default: {context.params[option.name]}]" in described
        elif option.name not in NO_DEFAULT:
            assert "[default: " in described


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_has_the_help_of_its_command(script):
    command = {"organize_gopro_dataset.py": "organize"}.get(script, script.removesuffix(".py"))
    shown = subprocess.run(
        [sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True, timeout=120
    )
    assert shown.stderr == ""
    assert shown.stdout.startswith(f"Usage: {script} [OPTIONS]")
    assert all(option.opts[0] in shown.stdout for option in options(command))


def test_the_version_is_the_packages():
    from deblurgan import __version__

    assert succeeds("--version").strip().endswith(__version__)


@pytest.mark.parametrize(
    "code",
    [
        "import deblurgan",
        "import deblurgan.cli",
        "from deblurgan.cli import main; main(['--help'])",
        *(f"from deblurgan.cli import main; main(['{command}', '--help'])" for command in COMMANDS),
        *(f"import runpy; sys.argv = ['{script}', '--help']; runpy.run_path({script!r}, run_name='__main__')"
          for script in SCRIPTS),
        "from deblurgan.cli import main; main(['deblur', '--input_dir', 'missing', '--output_dir', 'out'])",
        "from deblurgan.cli import main; main(['evaluate', '--input_dir', 'missing'])",
        "from deblurgan.cli import main; main(['web', '--help'])",
        "from deblurgan.cli import main; main(['weights'])",
        "from deblurgan.cli import main; main(['weights', 'path', 'maxim-gopro'])",
    ],
)  # fmt: skip
def test_help_and_early_errors_do_not_load_tensorflow(code):
    program = f"""
import atexit, sys
heavy = ("tensorflow", "keras", "h5py", "gradio")
atexit.register(lambda: print("LOADED", [name for name in heavy if name in sys.modules]))
{code}
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert ran.stdout.splitlines()[-1] == "LOADED []"
    assert "Traceback" not in ran.stderr


# Options


def test_the_commands_are_these():
    assert tuple(cli.main.commands) == ALL_COMMANDS


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("train", {"n_images": -1, "batch_size": 16, "log_dir": None, "epoch_num": 4, "critic_updates": 5}),
        ("deblur", {"weight_path": None, "input_dir": Path("in"), "output_dir": Path("out")}),
        ("test", {"n_images": 4, "weight_path": None, "input_dir": Path("images/test")}),
        ("organize", {"dir_in": Path("GOPRO_Large"), "dir_out": Path("out")}),
    ],
)
def test_the_options_of_the_scripts_of_2018_are_there_with_their_defaults(command, defaults):
    params = parsed(command, REQUIRED.get(command, []))
    assert {name: params[name] for name in defaults} == defaults


def test_the_batch_size_of_the_test_script_of_2018_is_the_number_of_pictures():
    assert parsed("test", ["--batch_size", "7"])["n_images"] == 7


@pytest.mark.parametrize(("command", "missing"), [("organize", "--dir_out"), ("deblur", "--input_dir")])
def test_a_required_option_is_asked_for(command, missing):
    error = error_of(deblurgan(command), others=("Usage: ", "Try ", ""))
    assert missing in error


@pytest.mark.parametrize(
    ("command", "pair"),
    [
        (["deblur", "a.png"], "engine=openvino"),
        (["deblur", "a.png"], "precision=float32"),
        (["deblur", "a.png"], "path=other.h5"),
        (["test", "--input_dir", "pairs"], "memory=1000"),
        (["evaluate", "--input_dir", "pairs"], "strength=0"),
        (["evaluate", "--input_dir", "pairs"], "tta=true"),
        (["convert", "a.h5", "b.h5"], "source=c.h5"),
        (["export", "a.h5", "b.onnx"], "max_cost=100"),
        (["deblur", "a.png"], "residual"),
    ],
)
def test_what_is_no_assumption_is_refused(command, pair):
    error = error_of(deblurgan(*command, "--assume", pair), others=("Usage: ", "Try ", ""))
    assert "'--assume'" in error
    assert error.endswith(f"expected NAME=VALUE with a name that `deblurgan inspect` shows, received {pair}")


def sample(option):
    """A value for `option` on the command line, as text."""
    if isinstance(option.type, click.Choice):
        return option.type.choices[-1]
    if option.name == "quality":  # checked by a callback
        return "balanced"
    name = type(option.type).__name__
    return {"IntParamType": "23", "IntRange": "23", "FloatParamType": "0.25", "FloatRange": "0.25"}.get(
        name, "some-folder/a_b-c"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_may_be_spelled_with_dashes_or_underscores(command):
    required = REQUIRED.get(command, [])
    for option in options(command):
        if option.multiple or option.name in ("noise", "jpeg"):  # take NAME=VALUE and the like
            continue
        for spelling in option.opts:
            value = [] if option.is_flag else [sample(option)]
            results = []
            for dashed in (spelling, "--" + spelling[2:].replace("_", "-")):
                results.append(parsed(command, [*required, dashed, *value]))
                if value:
                    results.append(parsed(command, [*required, f"{dashed}={value[0]}"]))
            assert all(result == results[0] for result in results)
            assert str(results[0][option.name]) == (value[0] if value else "True")


def test_values_with_underscores_and_dashes_stay_as_they_are():
    arguments = ["--dir-in", "my_data-set", "--dir_out", "an-out_folder", "--blur", "blur_gamma"]
    assert parsed("organize", arguments) == {
        "dir_in": Path("my_data-set"),
        "dir_out": Path("an-out_folder"),
        "blur": "blur_gamma",
        "link": "copy",
    }


def test_an_unknown_option_is_refused():
    assert "--n_imags" in error_of(deblurgan("train", "--n_imags", "3"), others=("Usage: ", "Try ", ""))


@pytest.mark.parametrize("command", ["train", "deblur", "test", "evaluate"])
def test_an_unknown_precision_is_refused_with_the_choices(command):
    result = deblurgan(command, *REQUIRED.get(command, []), "--precision", "half")
    error = error_of(result, others=("Usage: ", "Try ", ""))
    assert "--precision" in error
    assert all(precision in error for precision in ("half", "auto", "float32", "bfloat16", "float16"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--n_images", "many"],
        ["train", "--learning_rate", "fast"],
        ["train", "--preprocess", "stretch"],
        ["deblur", *REQUIRED["deblur"], "--resize", "15"],
        ["deblur", *REQUIRED["deblur"], "--resize", "-256"],
        ["organize", *REQUIRED["organize"], "--blur", "motion"],
        ["organize", *REQUIRED["organize"], "--link", "soft"],
    ],
)
def test_a_value_that_the_option_does_not_take_is_refused(arguments):
    error = error_of(deblurgan(*arguments), others=("Usage: ", "Try ", ""))
    assert arguments[-2] in error
    assert arguments[-1] in error


# Pairs that do not fit, in every command that takes them


@pytest.fixture(params=["test", "evaluate"])
def on_pairs(request, small_pairs, tmp_path):
    """A function that runs each command that works on pairs on `small_pairs`, and returns its error."""
    places = ["--output_dir", tmp_path / "out"] if request.param != "evaluate" else []

    def run(folder=small_pairs):
        result = deblurgan(request.param, "--input_dir", folder, *places)
        assert not (tmp_path / "out").exists()
        return error_of(result)

    return run


def test_a_missing_folder_of_pairs_is_named(on_pairs, tmp_path):
    assert on_pairs(tmp_path / "nope").startswith(f"{tmp_path / 'nope'}: expected a folder with A (blurred) and B")


@pytest.mark.parametrize(("side", "kind"), [("A", "blurred"), ("B", "sharp")])
def test_a_missing_side_is_named(on_pairs, small_pairs, side, kind):
    shutil.rmtree(small_pairs / side)
    assert on_pairs() == f"{small_pairs}: expected a folder {side} with the {kind} pictures, found none"


def test_empty_sides_are_refused(on_pairs, small_pairs):
    for path in small_pairs.glob("*/*.png"):
        path.unlink()
    assert on_pairs() == f"{small_pairs}: expected pictures in A and B, found none"


def test_pictures_without_a_partner_are_listed(on_pairs, small_pairs):
    (small_pairs / "A" / "0.png").unlink()
    (small_pairs / "B" / "2.png").rename(small_pairs / "B" / "3.png")
    assert on_pairs() == f"{small_pairs}: 3 pictures have no partner of the same name: A/2.png, B/0.png, B/3.png"


@pytest.mark.parametrize("command", ["test", "evaluate"])
def test_pairs_of_different_sizes_are_reported_and_the_others_done(command, weights, small_pairs, tmp_path):
    save(small_pairs / "B" / "1.png", noise(40, 64))
    out = tmp_path / ("out" if command == "test" else "out.json")
    option = "--output_dir" if command == "test" else "--json"
    result = deblurgan(command, "--weight_path", weights, "--input_dir", small_pairs, option, out)
    assert error_of(result, others=("failed: 1: ",)) == "1 of 3 pairs failed"
    assert result.stderr.count("failed: 1: ") == 1
    if command == "test":
        assert names(out) == ["results0.png", "results2.png"]
    else:
        assert [row["name"] for row in json.loads(out.read_text())["pairs"]] == ["0", "2"]


@pytest.mark.parametrize("command", ["test", "evaluate"])
def test_no_pictures_at_all_are_refused(command, small_pairs):
    error = error_of(deblurgan(command, "--input_dir", small_pairs, "--n_images", 0))
    assert error == "n_images: expected a positive number, or -1 for all, received 0"


# Weights that do not fit


@pytest.fixture(params=["deblur", "test", "evaluate"])
def with_weights(request, small_pairs, tmp_path):
    """A function that runs each command that takes weights with the file given, and returns its error."""

    def run(path):
        command = request.param
        places = [] if command == "evaluate" else ["--output_dir", tmp_path / "out"]
        folder = small_pairs / "A" if command == "deblur" else small_pairs
        result = deblurgan(command, "--weight_path", path, "--input_dir", folder, *places)
        assert not (tmp_path / "out").exists()
        assert result.stdout == ""
        return error_of(result)

    return run


def test_missing_weights_are_named_with_the_option(with_weights, tmp_path):
    assert with_weights(tmp_path / "no.h5") == f"--weight_path {tmp_path / 'no.h5'}: no such file"


def test_an_error_about_an_odd_name_is_one_line(with_weights, tmp_path):
    assert with_weights(tmp_path / "line\nbreak.h5") == f"--weight_path {tmp_path}/line\\nbreak.h5: no such file"


def test_a_folder_for_weights_is_refused(with_weights, tmp_path):
    assert with_weights(tmp_path).startswith(f"{tmp_path}: expected a weight file, found a folder")


@pytest.mark.parametrize("content", [b"", b"some text\n", b"PK\x03\x04 not a zip", b"\x89HDF\r\n\x1a\n cut short"])
def test_a_file_that_holds_no_weights_is_refused(with_weights, tmp_path, content):
    (tmp_path / "text.h5").write_bytes(content)
    error = with_weights(tmp_path / "text.h5")
    assert re.match(rf"{re.escape(str(tmp_path))}/text.h5: (damaged, or not|expected) a weight file", error)


def test_the_weights_of_a_discriminator_are_refused(with_weights, tmp_path):
    save_weights(discriminator_model((16, 16, 3), ndf=2), tmp_path / "critic.weights.h5")
    error = with_weights(tmp_path / "critic.weights.h5")
    assert error.startswith(f"{tmp_path / 'critic.weights.h5'}: expected a generator")
    assert "found those of a tutorial discriminator" in error


def test_weights_with_one_tensor_of_another_shape_are_refused_by_layer_and_shapes(with_weights, weights, tmp_path):
    shutil.copy(weights, tmp_path / "odd.weights.h5")
    with h5py.File(tmp_path / "odd.weights.h5", "r+") as file:
        layer = file["layers/conv2d_1/vars"]
        assert layer["0"].shape == (3, 3, 4, 8)
        del layer["0"]
        layer["0"] = np.zeros((3, 3, 5, 8), np.float32)
    error = with_weights(tmp_path / "odd.weights.h5")
    assert error.startswith(f"{tmp_path / 'odd.weights.h5'}: layer ")
    assert "expected shapes 3x3x4x8 + 8, found 3x3x5x8 + 8" in error


# Organising


def test_organize_sorts_into_pairs_and_says_what_it_did(gopro_crops, tmp_path):
    output = succeeds("organize", "--dir-in", gopro_crops, "--dir-out", tmp_path / "images")
    assert output.splitlines() == [
        "train: 6 pairs; 12 files written, 0 already there",
        "test: 3 pairs; 6 files written, 0 already there",
    ]
    for side, kind in (("A", "blur"), ("B", "sharp")):
        copy = tmp_path / "images" / "test" / side / "GOPR0384_11_00_000203.png"
        assert copy.read_bytes() == (gopro_crops / "test" / "GOPR0384_11_00" / kind / "000203.png").read_bytes()
    again = succeeds("organize", "--dir_in", gopro_crops, "--dir_out", tmp_path / "images")
    assert "0 files written, 12 already there" in again


def test_organize_takes_the_blur_it_is_told_and_tells_what_it_leaves_out(tmp_path):
    scene = tmp_path / "GOPRO" / "train" / "scene"
    for seed, kind in enumerate(("blur", "blur_gamma", "sharp")):
        save(scene / kind / "1.png", noise(seed=seed))
    save(scene / "blur_gamma" / "2.png", noise())
    (tmp_path / "GOPRO" / "train" / "half" / "sharp").mkdir(parents=True)
    arguments = ["--dir_in", tmp_path / "GOPRO", "--dir_out", tmp_path / "out", "--blur", "blur_gamma"]
    result = deblurgan("organize", *arguments)
    assert result.exit_code == 0
    assert result.stdout == "train: 1 pairs; 2 files written, 0 already there\n"
    assert result.stderr.splitlines() == [
        "left out: train/half: no blur_gamma folder",
        "left out, has no partner: train/scene/blur_gamma/2.png",
    ]
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "train" / "A" / "scene_1.png"), noise(seed=1))


def test_organize_reports_files_that_cannot_be_read(tmp_path):
    for kind in ("blur", "sharp"):
        save(tmp_path / "GOPRO" / "train" / "scene" / kind / "1.png", noise())
    (tmp_path / "GOPRO" / "train" / "scene" / "blur" / "2.png").mkdir()
    save(tmp_path / "GOPRO" / "train" / "scene" / "sharp" / "2.png", noise())
    result = deblurgan("organize", "--dir_in", tmp_path / "GOPRO", "--dir_out", tmp_path / "out")
    assert error_of(result, others=("failed: train/scene/blur/2.png: ",)) == "1 of 4 files could not be read"
    assert "2 pairs; 2 files written, 0 already there" in result.stdout


def test_organize_looks_in_gopro_large_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = error_of(deblurgan("organize", "--dir_out", "images"))
    assert error == "GOPRO_Large: expected a folder or a zip archive, found nothing there"
    assert names(tmp_path) == []


# Deblurring


def deblur(weights, input_dir, output_dir, *more):
    return deblurgan("deblur", "--weight_path", weights, "--input_dir", input_dir, "--output_dir", output_dir, *more)


def test_deblur_restores_a_folder_as_the_library_does(weights, images, tmp_path):
    result = deblur(weights, images / "test" / "A", tmp_path / "out", "--precision", "float32")
    assert result.exit_code == 0
    assert result.stdout == f"3 of 3 pictures restored into {tmp_path / 'out'}\n"
    assert result.stderr == said(weights, "float32")
    assert names(tmp_path / "out") == names(images / "test" / "A")
    generator = load(weights)  # takes sides that are multiples of 4
    for name in names(tmp_path / "out"):
        blurred, restored = pixels(images / "test" / "A" / name), pixels(tmp_path / "out" / name)
        height, width = blurred.shape[:2]
        x = (
            np.pad(blurred, [(0, -height % 4), (0, -width % 4), (0, 0)], "reflect")[np.newaxis] / np.float32(127.5)
            - 1
        )
        expected = np.asarray(generator(x, training=False))[0, :height, :width] * 127.5 + 127.5
        assert restored.shape == blurred.shape
        assert np.abs(restored - expected).max() < 0.6


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("command", ["deblur", "test", "evaluate"])
def test_the_network_computes_in_the_precision_asked_for(
    command, precision, weights, small_pairs, tmp_path, monkeypatch
):
    asked = []

    class Negative:
        engine, engine_precision, quality, pixels_done = "tensorflow", None, None, 0

        def __init__(self, model, **options):
            asked.append(model.get_layer("in_conv").dtype_policy.name)

        def __call__(self, image):
            return 255 - image

    monkeypatch.setattr(opening, "Restorer", Negative)
    folder = small_pairs / "A" if command == "deblur" else small_pairs
    places = [] if command == "evaluate" else ["--output_dir", tmp_path / "out"]
    arguments = ["--weight_path", weights, "--input_dir", folder, "--precision", precision]
    result = deblurgan(command, *arguments, *places)
    assert result.exit_code == 0
    assert result.stderr == said(weights, precision)
    assert asked == [policy(precision)]


def test_deblur_restores_one_picture_of_any_size(weights, tmp_path):
    source = save(tmp_path / "one picture.png", noise(37, 50))
    assert deblur(weights, source, tmp_path / "out").exit_code == 0
    assert pixels(tmp_path / "out" / "one picture.png").shape == (37, 50, 3)


def test_deblur_resize_and_side_by_side_give_the_tutorials_pictures(weights, images, tmp_path):
    source = images / "test" / "A"
    assert deblur(weights, source, tmp_path / "out", "--side_by_side", "--resize", 256).exit_code == 0
    assert deblur(weights, source, tmp_path / "alone", "--resize", 256).exit_code == 0
    for name in names(source):
        both = pixels(tmp_path / "out" / name)
        assert both.shape == (256, 512, 3)
        np.testing.assert_array_equal(both[:, :256], resize(pixels(source / name), (256, 256)))
        np.testing.assert_array_equal(both[:, 256:], pixels(tmp_path / "alone" / name))


def test_deblur_reports_what_it_cannot_restore_and_does_the_rest(weights, small_pairs, tmp_path):
    folder = small_pairs / "A"
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "line\nbreak.png").write_bytes(b"")
    Image.fromarray(noise()).quantize(16).save(folder / "few.png")
    result = deblur(weights, folder, tmp_path / "out")
    error = error_of(result, others=(f"{folder / 'few.png'}: the palette", "failed: "))
    assert error == "2 of 5 pictures failed"
    assert result.exit_code == 1
    assert result.stdout == f"3 of 5 pictures restored into {tmp_path / 'out'}\n"
    assert names(tmp_path / "out") == ["0.png", "2.png", "few.png"]
    assert result.stderr.count(": the palette becomes RGB\n") == 1
    failures = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert [failure.split(".png")[0] for failure in failures] == [
        f"failed: {folder / '1'}",
        f"failed: '{folder}/line\\nbreak",
    ]


def test_deblur_refuses_a_missing_and_an_empty_folder(weights, tmp_path):
    assert error_of(deblur(weights, tmp_path / "nope", tmp_path / "out")) == (
        f"{tmp_path / 'nope'}: expected a picture or a folder of pictures, found nothing"
    )
    (tmp_path / "empty").mkdir()
    assert error_of(deblur(weights, tmp_path / "empty", tmp_path / "out")).startswith(
        f"{tmp_path / 'empty'}: expected pictures ("
    )
    assert names(tmp_path) == ["empty"]


def test_deblur_takes_files_patterns_folders_and_zip_files(fake_restorer, small_pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "more" / "sub" / "x.png", noise())
    with zipfile.ZipFile("z.zip", "w") as archive:
        archive.write(small_pairs / "A" / "0.png", "z.png")
    arguments = ["pairs/A/0.png", "pairs/A/[12].png", "z.zip", "--input_dir", "more", "--recursive"]
    out = succeeds("deblur", *arguments, "--output_dir", "out", "--format", "tiff", "--suffix", "_deblurred")
    assert out == "5 of 5 pictures restored into out\n"
    assert sorted(str(path.relative_to("out")) for path in Path("out").rglob("*.*")) == [
        "0_deblurred.tif", "1_deblurred.tif", "2_deblurred.tif", "sub/x_deblurred.tif", "z_deblurred.tif",
    ]  # fmt: skip
    succeeds("deblur", *arguments, "--output_dir", "out.zip")
    assert len(zipfile.ZipFile("out.zip").namelist()) == 5
    np.testing.assert_array_equal(pixels("out/sub/x_deblurred.tif"), 255 - noise())


def test_deblur_reads_standard_input_and_writes_standard_output(fake_restorer):
    content = io.BytesIO()
    Image.fromarray(noise()).save(content, format="PNG")
    result = deblurgan("deblur", "-", input=content.getvalue())
    assert result.exit_code == 0
    np.testing.assert_array_equal(pixels(io.BytesIO(result.stdout_bytes)), 255 - noise())
    assert told(result) == ["1 of 1 pictures restored into -"]


def test_deblur_lists_what_it_would_do_and_does_nothing(small_pairs, tmp_path):
    out = tmp_path / "out"
    save(out / "1.webp", noise())
    (small_pairs / "A" / "line\nbreak.png").touch()
    arguments = ["deblur", small_pairs / "A", "--output_dir", out, "--format", "webp", "--skip_existing"]
    assert succeeds(*arguments, "--dry_run").splitlines() == [
        f"{small_pairs / 'A' / '0.png'} -> {out / '0.webp'}",
        f"{small_pairs / 'A' / '1.png'} -> {out / '1.webp'} (exists: skipped)",
        f"{small_pairs / 'A' / '2.png'} -> {out / '2.webp'}",
        f"{small_pairs / 'A' / 'line'}\\nbreak.png -> {out / 'line'}\\nbreak.webp",
    ]
    assert names(out) == ["1.webp"]


def test_deblur_skips_what_exists_and_overwrites_what_it_may(fake_restorer, small_pairs, tmp_path):
    folder = small_pairs / "A"
    before = {name: pixels(folder / name) for name in names(folder)}
    save(tmp_path / "out" / "1.png", noise())
    out = succeeds("deblur", folder, "--output_dir", tmp_path / "out", "--skip_existing")
    assert out == f"2 of 3 pictures restored into {tmp_path / 'out'} (1 were there already)\n"
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "1.png"), noise())
    succeeds("deblur", folder, "--output_dir", folder, "--overwrite")
    for name, array in before.items():
        np.testing.assert_array_equal(pixels(folder / name), 255 - array)


def test_deblur_refuses_two_pictures_with_one_result_before_it_starts(small_pairs, tmp_path):
    result = deblurgan("deblur", small_pairs / "A", small_pairs / "B", "--output_dir", tmp_path / "out")
    both = f"{small_pairs / 'A' / '0.png'} and {small_pairs / 'B' / '0.png'}"
    assert error_of(result) == f"{tmp_path / 'out' / '0.png'}: would be the result of two pictures, {both}"
    assert not (tmp_path / "out").exists()


def test_deblur_compares_on_a_page_and_in_a_folder(fake_restorer, small_pairs, tmp_path):
    arguments = ["deblur", small_pairs / "A", "--output_dir", tmp_path / "out", "--compare"]
    succeeds(*arguments, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("<figure ") == 3
    succeeds(*arguments, tmp_path / "both")
    assert pixels(tmp_path / "both" / "0.png").shape == (48, 2 * 64 + 8, 3)
    assert "--side_by_side" in error_of(deblurgan(*arguments, tmp_path / "both", "--side_by_side"))


def test_deblur_writes_the_quality_and_refuses_more_pixels_than_are_asked_for(fake_restorer, small_pairs, tmp_path):
    arguments = ["deblur", small_pairs / "A" / "0.png", "--output_dir", tmp_path / "out", "--format", "jpg"]
    sizes = []
    for quality in (20, 90):
        succeeds(*arguments, "--jpeg_quality", quality)
        sizes.append((tmp_path / "out" / "0.jpg").stat().st_size)
    assert sizes[0] < sizes[1]
    result = deblurgan(*arguments, "--max_pixels", 48 * 64 - 1)
    assert "limit, 3071; --max_pixels raises it" in result.stderr
    succeeds(*arguments, "--max_pixels", 48 * 64)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ([], {}),
        (["--tta", "--strength", "0"], {"tta": True, "strength": 0.0}),
        (["--strength", "0.5", "--assume", "residual=false"], {"strength": 0.5, "residual": False}),
        (["--engine", "openvino"], {"engine": "openvino"}),
        (["--memory", "1.5GB"], {"memory": "1.5GB"}),
        (["--quality", "balanced"], {"quality": "balanced"}),
    ],
)
def test_deblur_hands_on_how_to_restore(options, given, fake_restorer, small_pairs, tmp_path, monkeypatch):
    asked = []

    def open_restorer(path, **options):
        asked.append(options)
        return fake_restorer

    monkeypatch.setattr(opening, "open_restorer", open_restorer)
    succeeds("deblur", small_pairs / "A", "--output_dir", tmp_path / "out", *options)
    plain = {"quality": None, "precision": "auto", "engine": None, "tta": False, "strength": 1.0, "memory": None}
    assert asked == [plain | given]


def in_pauses(monkeypatch, *script):
    """Do the next of these in each pause of `--watch`, and Ctrl-C after the last."""
    steps = list(script)

    def pause(seconds):
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    monkeypatch.setattr(watching.time, "sleep", pause)


def test_deblur_watches_a_folder_until_ctrl_c(fake_restorer, tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    in_pauses(
        monkeypatch,
        lambda: save(folder / "a.png", noise()),
        lambda: (folder / "bad.png").touch(),
        lambda: None,
        lambda: save(folder / "b.png", noise()),
        lambda: None,
        lambda: None,
    )
    result = deblurgan("deblur", folder, "--output_dir", tmp_path / "out", "--watch")
    assert names(tmp_path / "out") == ["a.png", "b.png"]
    assert result.stdout.splitlines() == [
        str(tmp_path / "out" / "a.png"),
        str(tmp_path / "out" / "b.png"),
        f"2 pictures restored into {tmp_path / 'out'}",
    ]
    assert told(result) == [
        "Watching; Ctrl-C ends it.",
        f"failed: {folder / 'bad.png'}: not a readable image (the file is empty)",
        "Error: 1 pictures failed",
    ]
    assert result.exit_code == 1


def test_watching_outlasts_folders_that_go_and_forgets_failures_that_have_gone(fake_restorer, tmp_path, monkeypatch):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    save(folder / "a.bmp", noise())
    (folder / "bad.png").touch()
    in_pauses(
        monkeypatch,
        lambda: None,
        lambda: [(folder / "a.bmp").unlink(), save(folder / "a.png", noise())],  # of the same result
        lambda: None,
        lambda: [shutil.rmtree(out), out.touch(), save(folder / "b.png", noise())],
        lambda: None,
        lambda: [out.unlink(), save(folder / "b.png", noise(), compress_level=0)],
        lambda: None,
        lambda: folder.rename(tmp_path / "away"),
        lambda: (tmp_path / "away").rename(folder),
        lambda: (folder / "bad.png").unlink(),
        lambda: None,
    )
    result = deblurgan("deblur", folder, "--output_dir", out, "--watch", "--format", "webp")
    assert result.stdout.splitlines() == [
        *(str(out / name) for name in ("a.webp", "a.webp", "b.webp")),
        f"3 pictures restored into {out}",
    ]
    assert told(result) == [
        "Watching; Ctrl-C ends it.",
        f"failed: {folder / 'bad.png'}: not a readable image (the file is empty)",
        f"failed: {out}: expected a folder, found a file",
        f"{folder}: expected a picture or a folder of pictures, found nothing",
    ]
    assert result.exit_code == 0


def test_watching_goes_on_after_two_pictures_of_one_result_and_leaves_out_what_it_writes(
    fake_restorer, tmp_path, monkeypatch
):
    folder = tmp_path / "in"
    folder.mkdir()
    in_pauses(
        monkeypatch,
        lambda: [save(folder / name, noise()) for name in ("a.png", "a.bmp", "c.png")],
        lambda: None,
        lambda: None,
        lambda: save(folder / "a.tif", noise()),
        *[lambda: None] * 3,
    )
    places = ["--output_dir", folder / "out", "--compare", folder / "both"]
    result = deblurgan("deblur", folder, *places, "--watch", "--recursive", "--format", "webp")
    assert names(folder / "out") == names(folder / "both") == ["a.webp", "c.webp"]
    first = folder / "a.bmp"
    assert told(result) == [
        "Watching; Ctrl-C ends it.",
        *(
            f"failed: {folder / 'out' / 'a.webp'}: would be the result of two pictures, {first} and {folder / name}"
            for name in ("a.png", "a.tif")
        ),
        "Error: 2 pictures failed",
    ]


def test_deblur_does_the_others_when_one_is_missing(fake_restorer, small_pairs, tmp_path):
    result = deblurgan(
        "deblur", small_pairs / "A" / "0.png", tmp_path / "none.png", small_pairs / "A" / "1.png",
        "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert names(tmp_path / "out") == ["0.png", "1.png"]
    assert error_of(result, ["failed: "]) == "1 of 3 pictures failed"
    assert f"failed: {tmp_path / 'none.png'}: expected a picture" in result.stderr


def test_deblur_does_not_make_a_folder_with_the_name_of_a_picture(small_pairs, tmp_path):
    result = deblurgan("deblur", small_pairs / "A" / "0.png", "--output_dir", tmp_path / "sharp.png")
    assert error_of(result).startswith(f"--output_dir {tmp_path / 'sharp.png'}: expected a folder, ")
    assert not (tmp_path / "sharp.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["A/0.png", "--output_dir", "out"],
        ["A", "--output_dir", "out.zip"],
        ["A", "--output_dir", "-"],
        ["A", "--output_dir", "out", "--dry_run"],
        ["A", "--output_dir", "out", "--compare", "page.html"],
        ["A", "B", "--output_dir", "A/../B", "--overwrite"],
        ["A", "--output_dir", "out", "--compare", "A"],
    ],
)
def test_watching_needs_folders(arguments, small_pairs, monkeypatch):
    monkeypatch.chdir(small_pairs)
    assert error_of(deblurgan("deblur", "--watch", *arguments)).startswith("--watch: expected ")
    assert names(small_pairs) == ["A", "B"]


def test_deblur_refuses_to_write_where_the_input_is(weights, small_pairs):
    error = error_of(deblur(weights, small_pairs / "A", small_pairs / "B" / ".." / "A"))
    assert error.endswith("could be replaced; choose another folder, or allow it with --overwrite")


@pytest.mark.parametrize("command", ["deblur", "test"])
def test_an_output_folder_that_is_not_writable_is_refused(command, weights, small_pairs, tmp_path, monkeypatch):
    folder = small_pairs / "A" if command == "deblur" else small_pairs
    arguments = [command, "--weight_path", weights, "--input_dir", folder, "--output_dir", tmp_path / "out"]
    (tmp_path / "out").touch()
    assert error_of(deblurgan(*arguments)) == f"{tmp_path / 'out'}: expected a folder, found a file"
    (tmp_path / "out").unlink()
    monkeypatch.setattr(files.os, "access", lambda path, mode: Path(path) != tmp_path / "out")
    assert error_of(deblurgan(*arguments)) == f"{tmp_path / 'out'}: the folder is not writable"


@pytest.mark.parametrize(
    ("output", "number"), [("out", signal.SIGINT), ("out.zip", signal.SIGTERM), ("out", signal.SIGHUP)]
)
def test_an_ended_deblurring_says_so_and_keeps_what_is_done(
    weights, small_pairs, tmp_path, monkeypatch, output, number
):
    restore = restorers.Restorer.__call__
    save(small_pairs / "A" / "1.png", noise())

    def ended(restorer, image):
        if image.shape[0] == 24:
            signal.raise_signal(number)
        return restore(restorer, image)

    monkeypatch.setattr(restorers.Restorer, "__call__", ended)
    result = deblur(weights, small_pairs / "A", tmp_path / output, "--compare", tmp_path / "page.html")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Aborted!"
    assert names(tmp_path) == [output, "page.html", "pairs"]
    if output == "out":
        assert names(tmp_path / "out") == ["0.png"]
    else:
        with zipfile.ZipFile(tmp_path / output) as archive:
            assert archive.namelist() == ["0.png"]
    assert (tmp_path / "page.html").read_text().count("<h2>") == 1
    assert signal.getsignal(number) is (signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.mark.parametrize(
    ("closed", "arguments", "error"),
    [
        ((0, 1, 2), ["--output_dir", "out"], ""),
        ((1,), ["--output_dir", "-"], "Error: --output_dir -: expected a file or a pipe as standard output, which"),
        ((0,), ["-", "--output_dir", "out"], "failed: -: "),
    ],
)
def test_streams_may_be_closed(weights, tmp_path, closed, arguments, error):
    save(tmp_path / "a.png", noise())
    command = [sys.executable, "-m", "deblurgan", "deblur", "a.png", "--weight_path", str(weights), *arguments]
    closing = " ".join(f"{number}>&-" for number in closed)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        f"{shlex.join(command)} {closing}", shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in ran.stderr
    assert error in ran.stderr
    assert (ran.returncode == 0) is (not error)
    assert (tmp_path / "out" / "a.png").exists() is (closed != (1,))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_behind_standard_output_is_one_line():
    command = f"{shlex.join([sys.executable, '-m', 'deblurgan', 'recipes'])} >/dev/full"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (1, "Error: standard output: cannot be written: No space left on device\n")


def test_deblur_py_works_from_anywhere_and_says_nothing_but_what_matters(weights, small_pairs, tmp_path):
    (small_pairs / "A" / "2.png").unlink()
    (tmp_path / "elsewhere").mkdir()
    arguments = ["--weight_path", weights, "--input_dir", "../pairs/A", "--output_dir", "my out"]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    ran = subprocess.run(
        [sys.executable, ROOT / "deblur.py", *arguments],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.stdout == "2 of 2 pictures restored into my out\n"
    assert ran.stderr == said(weights)
    assert ran.returncode == 0
    assert names(tmp_path / "elsewhere" / "my out") == ["0.png", "1.png"]


# The tutorial's strips


def test_test_writes_strips_and_names_them(weights, images, tmp_path):
    out = tmp_path / "strips"
    output = succeeds("test", "--weight_path", weights, "--input_dir", images / "test", "--output_dir", out)
    assert output.splitlines() == [str(out / f"results{number}.png") for number in range(3)]
    assert names(out) == ["results0.png", "results1.png", "results2.png"]
    deblur(weights, images / "test" / "A", tmp_path / "deblurred")
    for number, name in enumerate(names(images / "test" / "A")):
        sharp, blurred, restored = np.split(pixels(out / f"results{number}.png"), 3, axis=1)
        np.testing.assert_array_equal(sharp, pixels(images / "test" / "B" / name))
        np.testing.assert_array_equal(blurred, pixels(images / "test" / "A" / name))
        np.testing.assert_array_equal(restored, pixels(tmp_path / "deblurred" / name))


@pytest.fixture
def fake_restorer(monkeypatch):
    """Let the commands invert pictures instead of loading a network."""

    def inverted(image):
        return 255 - image

    inverted.engine, inverted.engine_precision, inverted.quality = "tensorflow", None, None
    inverted.pixels_done = 0
    monkeypatch.setattr(opening, "open_restorer", lambda path, **options: inverted)
    return inverted


def blurred_of(strip):
    return np.split(pixels(strip), 3, axis=1)[1]


def test_test_takes_the_first_pictures_or_draws_them_with_a_seed(fake_restorer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(9):
        for side in "AB":
            save(tmp_path / "images" / "test" / side / f"{number}.png", np.full((20, 20, 3), number, np.uint8))

    def taken(*arguments):
        succeeds("test", "--output_dir", "out", *arguments)
        taken = [int(blurred_of(path)[0, 0, 0]) for path in sorted((tmp_path / "out").iterdir())]
        shutil.rmtree("out")
        return taken

    assert taken() == [0, 1, 2, 3]
    assert taken("--batch_size", 2) == taken("--n_images", 2) == [0, 1]
    assert taken("--n_images", -1) == taken("--n_images", 99) == list(range(9))
    draws = {tuple(taken("--n_images", 4, "--seed", seed)) for seed in range(5)}
    assert len(draws) > 1
    assert all(len(set(draw)) == 4 for draw in draws)
    assert taken("--seed", 3) == taken("--seed", 3)


def test_test_resize_squashes_the_pictures(fake_restorer, small_pairs, tmp_path):
    succeeds("test", "--input_dir", small_pairs, "--output_dir", tmp_path / "out", "--resize", 20)
    for number in range(3):
        strip = pixels(tmp_path / "out" / f"results{number}.png")
        np.testing.assert_array_equal(strip[:, :20], resize(pixels(small_pairs / "B" / f"{number}.png"), (20, 20)))
        assert strip.shape == (20, 60, 3)


def test_test_writes_to_the_current_folder_unless_told_otherwise(fake_restorer, small_pairs, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert succeeds("test", "--input_dir", small_pairs, "--n_images", 1) == "results0.png\n"
    assert names(tmp_path / "here") == ["results0.png"]


# Evaluation


def test_evaluate_prints_a_table_that_its_csv_and_json_agree_with(weights, images, tmp_path):
    arguments = ["--weight-path", weights, "--input-dir", images / "test", "--precision", "float32"]
    result = deblurgan(
        "evaluate", *arguments, "--csv", tmp_path / "new" / "scores.csv", "--json", tmp_path / "scores.json"
    )
    assert result.exit_code == 0
    assert f"\n\n{PSNR.protocol}\n  comparable with" in result.stdout
    assert f"\n{SSIM.protocol}\n  comparable with" in result.stdout
    printed = {row.split()[0]: [float(value) for value in row.split()[1:]] for row in result.stdout.splitlines()[2:6]}
    with (tmp_path / "new" / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in rows] == [Path(name).stem for name in names(images / "test" / "A")]
    assert list(printed) == [*(row["name"] for row in rows), "mean"]
    assert [{**row, "name": ""} for row in content["pairs"]] == [
        {"name": "", **{score: float(value) for score, value in row.items() if score != "name"}} for row in rows
    ]
    for row in [*content["pairs"], {"name": "mean", **content["means"]}]:
        scores = [value for score, value in row.items() if score != "name"]
        numbers = printed[row["name"]]  # blurred, restored and gain, of each metric
        assert numbers[::3] == pytest.approx(scores[::2], abs=0.005)
        assert numbers[1::3] == pytest.approx(scores[1::2], abs=0.005)
        assert numbers[2::3] == pytest.approx(np.subtract(scores[1::2], scores[::2]), abs=0.005)
    assert content["weights"] == str(weights)
    assert content["input_dir"] == str(images / "test")
    assert content["resize"] is None
    assert content["precision"] == "float32"
    assert content["failed"] == []


def test_evaluate_scores_the_pictures_that_deblur_writes(weights, images, tmp_path):
    from skimage.metrics import peak_signal_noise_ratio

    arguments = ["--weight_path", weights, "--input_dir", images / "test", "--json", tmp_path / "scores.json"]
    succeeds("evaluate", *arguments, "--resize", 128)
    content = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert content["resize"] == 128
    deblur(weights, images / "test" / "A", tmp_path / "out", "--resize", 128)
    for row in content["pairs"]:
        sharp = resize(pixels(images / "test" / "B" / f"{row['name']}.png"), (128, 128))
        restored = pixels(tmp_path / "out" / f"{row['name']}.png")
        assert row["psnr_restored"] == pytest.approx(peak_signal_noise_ratio(sharp, restored, data_range=255))


def test_evaluate_draws_pairs_with_the_seed(fake_restorer, small_pairs, tmp_path):
    def drawn(*arguments):
        options = ["--input_dir", small_pairs, "--json", tmp_path / "scores.json"]
        succeeds("evaluate", *options, *arguments)
        return tuple(row["name"] for row in json.loads((tmp_path / "scores.json").read_text())["pairs"])

    assert drawn() == ("0", "1", "2")
    draws = {seed: drawn("--n_images", 2, "--seed", seed) for seed in range(5)}
    assert {len(draw) for draw in draws.values()} == {2}
    assert len(set(draws.values())) > 1
    assert drawn("--n_images", 2) == draws[0]


def test_evaluate_fails_when_no_pair_can_be_scored(weights, small_pairs):
    for path in (small_pairs / "A").iterdir():
        path.write_bytes(b"")
    result = deblurgan("evaluate", "--weight_path", weights, "--input_dir", small_pairs)
    assert error_of(result).startswith("none of the pairs could be scored: 0: ")
    assert result.stdout == ""


@pytest.mark.parametrize("option", ["--csv", "--json", "--html"])
def test_evaluate_notices_before_it_works_that_a_file_cannot_be_written(option, small_pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "open_restorer", lambda *_, **options: pytest.fail("too late"))
    (tmp_path / "file").touch()
    result = deblurgan("evaluate", "--input_dir", small_pairs, option, tmp_path / "file" / "scores")
    assert error_of(result) == f"{tmp_path / 'file'}: expected a folder, found a file"
    result = deblurgan("evaluate", "--input_dir", small_pairs, option, tmp_path)
    assert option in error_of(result, others=("Usage: ", "Try ", ""))


@pytest.mark.parametrize("option", ["--csv", "--json", "--html"])
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a file", "link to nothing"])
def test_evaluate_does_not_replace_what_is_no_file(option, kind, small_pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "open_restorer", lambda *_, **options: pytest.fail("too late"))
    path = tmp_path / "scores"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "target")
        if kind == "link to a pipe":
            os.mkfifo(tmp_path / "target")
        elif kind == "link to a file":
            (tmp_path / "target").touch()
    before = os.lstat(path)
    result = deblurgan("evaluate", "--input_dir", small_pairs, option, path)
    assert error_of(result) == f"{path}: expected the name of a file, found a link, a device or a pipe"
    assert os.path.samestat(os.lstat(path), before)  # all but the time of access


def test_evaluate_replaces_the_scores_of_an_earlier_run(fake_restorer, small_pairs, tmp_path):
    (tmp_path / "scores.json").write_text("old")
    succeeds("evaluate", "--input_dir", small_pairs, "--json", tmp_path / "scores.json")
    assert len(json.loads((tmp_path / "scores.json").read_text())["pairs"]) == 3


def test_progress_is_not_drawn_where_no_terminal_is(fake_restorer, small_pairs, tmp_path):
    result = deblurgan("deblur", "--input_dir", small_pairs / "A", "--output_dir", tmp_path / "out")
    assert told(result) == []
    assert len(names(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    "arguments", [("--input_dir", "", "--output_dir", "out"), ("--input_dir=", "--output_dir=out")]
)
def test_an_empty_argument_is_refused_and_not_taken_for_the_current_folder(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = deblurgan("deblur", *arguments)
    assert result.exit_code == 2
    assert "an argument is empty" in result.stderr


def test_a_strip_keeps_the_profile_of_its_picture(weights, tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "in").mkdir()
    Image.fromarray(noise()).save(tmp_path / "in" / "a.png", icc_profile=profile)
    succeeds(
        "deblur", "--weight_path", weights, "--input_dir", tmp_path / "in", "--output_dir", tmp_path / "out",
        "--side_by_side",
    )  # fmt: skip
    with Image.open(tmp_path / "out" / "a.png") as strip:
        assert strip.info["icc_profile"] == profile
        assert strip.size == (64, 24)


def test_python_m_deblurgan_is_the_program():
    ran = subprocess.run([sys.executable, "-m", "deblurgan", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.startswith("deblurgan, version ")
