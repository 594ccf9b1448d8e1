"""What becomes of the options of `train`, and `recipes`, `synthesize`, at the command line."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deblurgan import cli
from deblurgan.jobs import synthesizing
from deblurgan.jobs.report import Report
from deblurgan.training import recipe as recipes
from deblurgan.training import trainer
from deblurgan.training.hosts import ALONE
from deblurgan.training.progress import Result
from deblurgan.training.recipe import make, read_fields
from tests.cli.program import deblurgan, error_of, parsed, succeeds
from tests.photographs import names, noise, pixels, save

CROPS = Path(__file__).parents[1] / "data" / "GOPRO_crops"
GOPRO = [{"kind": "gopro", "folder": str(CROPS)}]


@pytest.fixture
def trainings(monkeypatch):
    """What the trainer's `train` is called with, in place of training: (recipe, folder, resume)."""
    calls = []

    def train(recipe, folder, *, resume, progress, hosts, wait_for_hosts):
        assert (hosts, wait_for_hosts) == (ALONE, 300)
        calls.append((recipe, folder, resume))
        return Result(folder, folder / "generator_best.weights.h5", [], train.bad, train.interrupted)

    train.bad, train.interrupted, train.calls = {}, False, calls
    monkeypatch.setattr(trainer, "train", train)
    return train


def trained(trainings, *arguments):
    succeeds("train", *arguments)
    return trainings.calls[-1][0]


@pytest.fixture
def pairs(tmp_path):
    """Three small pairs, in a folder named pairs."""
    for number in range(3):
        for side in "AB":
            save(tmp_path / "pairs" / side / f"{number}.png", noise(48, 64, seed=number))
    return tmp_path / "pairs"


@pytest.fixture
def old_run(tmp_path):
    """A run of a recipe with a checkpoint, named old, in the folder runs."""
    folder = tmp_path / "runs" / "old"
    (folder / "checkpoints").mkdir(parents=True)
    plan = make(read_fields("paper"), [("sources", GOPRO), ("seed", 3), ("val_dir", "there")])
    recipes.write(plan, folder)
    (folder / "checkpoints" / "step_000000010.h5").touch()
    return folder, plan


# The tutorial's recipe, which needs no name


def test_train_without_options_trains_the_tutorials_recipe_in_a_folder_named_by_the_time(
    trainings, pairs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("train", "test"):
        shutil.copytree(pairs, tmp_path / "images" / name)
    succeeds("train")
    ((plan, folder, resume),) = trainings.calls
    place = [("sources", [{"kind": "pairs", "folder": "images/train"}]), ("val_dir", "images/test")]
    assert plan == make(read_fields("tutorial"), place)
    assert folder.parent == Path("weights")
    assert re.fullmatch(r"\d{8}-\d{6}", folder.name)
    assert resume is False
    (tmp_path / "mine.json").write_text(succeeds("recipes", "tutorial"))
    assert trained(trainings, "--recipe", "mine.json") == plan


def test_every_option_of_the_tutorial_is_a_field(trainings, pairs):
    given = {
        "n_images": 7, "batch_size": 2, "log_dir": "some-logs", "critic_updates": 3, "val_dir": "other-pairs",
        "n_val": 2, "image_size": 64, "preprocess": "resize", "learning_rate": 0.002, "precision": "float32",
        "seed": 5, "save_every": 6,
    }  # fmt: skip
    values = [text for name, value in given.items() for text in (f"--{name}", value)]
    others = ["--epoch_num", 9, "--upsampling", "resize", "--legacy_batchnorm", "--input_dir", pairs]
    succeeds("train", *values, *others, "--output_dir", "runs", "--run", "mine")
    expected = {
        **given,
        "epochs": 9,
        "network_options": {"upsampling": "resize"},
        "critic_options": {"legacy_batchnorm": True},
        "sources": [{"kind": "pairs", "folder": str(pairs)}],
    }
    assert trainings.calls == [(make(read_fields("tutorial"), expected.items()), Path("runs/mine"), False)]
    assert trained(trainings, "--input_dir", pairs, "--set", "epoch_num=3", "--set", "upsampling=resize").epochs == 3


def test_train_validates_on_the_folder_test_beside_the_input(trainings, pairs):
    assert trained(trainings, "--input_dir", pairs).val_dir is None
    (pairs.parent / "test").mkdir()
    save(pairs.parent / "test" / "0.png", noise(48, 64))
    assert trained(trainings, "--input_dir", pairs).val_dir is None  # a folder of something else
    for side in "AB":
        (pairs.parent / "test" / side).mkdir()
    assert trained(trainings, "--input_dir", pairs).val_dir == str(pairs.parent / "test")
    assert trained(trainings, "--input_dir", pairs, "--val_dir", "elsewhere").val_dir == "elsewhere"
    halves = f"combined={pairs.parent / 'test'},direction=BtoA"
    assert trained(trainings, "--source", f"combined={pairs},direction=BtoA").val_dir == halves
    colours = ["--recipe", "pix2pix", "--set", "input_channels=1"]
    assert trained(trainings, *colours, "--source", f"colourise={pairs.parent}").val_dir is None  # test is below it
    apart = trained(trainings, *colours, "--source", f"colourise={pairs}").val_dir
    assert apart == f"colourise={pairs.parent / 'test'}"


def test_train_tells_how_to_deblur_with_the_result(trainings, pairs, tmp_path):
    output = succeeds("train", "--input_dir", pairs, "--output_dir", tmp_path / "my runs", "--run", "one")
    program, command, *arguments = shlex.split(output.splitlines()[-1])
    assert (program, command) == ("deblurgan", "deblur")
    assert parsed("deblur", arguments)["weight_path"] == tmp_path / "my runs" / "one" / "generator_best.weights.h5"
    result = deblurgan("--input_dir", pairs, command=cli.train, prog_name="train.py")
    assert result.stdout.splitlines()[-1].startswith("  python deblur.py --weight_path ")


def test_pairs_left_out_of_a_training_make_it_fail_in_the_end(trainings, pairs):
    trainings.bad = {"x": "x.png: not a readable image (the file is empty)"}
    result = deblurgan("train", "--input_dir", pairs)
    assert error_of(result) == "1 pairs were left out: x.png: not a readable image (the file is empty)"
    assert "Deblur with the result:" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch_size", 0], "batch_size: expected at least 1, received 0"),
        (["--epoch_num", 0], "epochs: expected at least 1, received 0"),
        (["--critic_updates", -1], "critic_updates: expected at least 1, received -1"),
        (["--learning_rate", 0], "learning_rate: expected a positive number, received 0.0"),
        (["--n_images", 0, "--image_size", 32], "n_images: expected a positive number, or -1 for all, received 0"),
        (["--batch_size", 1, "--image_size", 64], "3 pictures are smaller than the 64x64 pixels needed: "),
        (["--set", "clip_norm=1", "--image_size", 32], "clip_norm: expected None, which the tutorial's step has"),
    ],
)
def test_a_training_that_cannot_be_is_refused(pairs, tmp_path, arguments, message):
    result = deblurgan("train", "--input_dir", pairs, "--output_dir", tmp_path / "runs", *arguments)
    assert error_of(result).startswith(message)
    assert not (tmp_path / "runs").exists()


def test_pairs_that_do_not_fit_are_refused(pairs, tmp_path):
    def error(folder=pairs):
        result = deblurgan("train", "--input_dir", folder, "--output_dir", tmp_path / "out", "--image_size", 32)
        assert not (tmp_path / "out").exists()
        return error_of(result)

    assert error(tmp_path / "nope") == f"{tmp_path / 'nope'}: expected a folder, found nothing"
    assert error(pairs / "A").startswith(f"{pairs / 'A'}: expected A and B, or scenes with blur and sharp; ")
    save(pairs / "B" / "1.png", noise(40, 64))
    place = pairs / "A" / "1.png"
    assert error() == f"1 pairs differ in size, blurred and sharp: {place} (64x48 and 64x40)"
    (pairs / "B" / "1.png").unlink()
    assert error() == f"{pairs}: 1 pictures have no partner of the same name: A/1.png"


@pytest.mark.parametrize("name", ["..", "a/b", "/tmp"])
def test_a_run_is_named_without_a_path(name, tmp_path):
    result = deblurgan("train", "--run", name, "--output_dir", tmp_path)
    assert result.exit_code == 1
    assert f"--run {name}: expected the name of a folder" in result.stderr
    assert names(tmp_path) == []


# Other recipes


def test_a_recipe_is_trained_as_it_is_written(trainings):
    plan = trained(trainings, "--recipe", "nafnet", "--input_dir", CROPS, "--output_dir", "runs", "--run", "mine")
    expected = make(read_fields("nafnet"), [("sources", GOPRO), ("val_dir", str(CROPS / "test"))])
    assert trainings.calls == [(expected, Path("runs/mine"), False)]
    assert plan.steps == 400000


def test_options_of_the_command_change_the_recipe_and_set_has_the_last_word(trainings):
    plan = trained(
        trainings, "--recipe", "paper", "--input_dir", CROPS, "--batch-size", 4, "--epoch_num", 7, "--image_size", 64,
        "--critic_updates", 2, "--learning_rate", 0.1, "--precision", "float32", "--seed", 9, "--val_dir", "v",
        "--n_val", 3, "--log_dir", "l", "--devices", "all", "--vgg_weights", "v.npz", "--init_weights", "i.h5",
        "--set", "losses.l1=2", "--set", "learning_rate=0.2",
    )  # fmt: skip
    assert (plan.batch_size, plan.epochs, plan.image_size, plan.critic_updates) == (4, 7, 64, 2)
    assert (plan.learning_rate, plan.precision, plan.seed, plan.val_dir, plan.n_val) == (0.2, "float32", 9, "v", 3)
    assert (plan.log_dir, plan.devices, plan.vgg_weights, plan.init_weights) == ("l", "all", "v.npz", "i.h5")
    assert plan.losses == {"perceptual": 100.0, "l1": 2.0}
    assert trained(trainings, "--recipe", "paper", "--input_dir", CROPS, "--steps", 9).epochs is None


def test_sources_are_mixed(trainings, tmp_path):
    plan = trained(
        trainings, "--recipe", "unet", "--source", f"gopro={CROPS},weight=2",
        "--source", f"frames={tmp_path},window=7-9,gamma=2.2", "--source", f"sharp={tmp_path}",
        "--source", f"blurred={tmp_path}", "--set", "teacher=maxim-gopro", "--set", "teacher_options.stages=1",
    )  # fmt: skip
    assert plan.sources == [
        {"kind": "gopro", "folder": str(CROPS), "weight": 2.0},
        {"kind": "frames", "folder": str(tmp_path), "window": [7, 9], "gamma": 2.2},
        {"kind": "sharp", "folder": str(tmp_path)},
        {"kind": "blurred", "folder": str(tmp_path)},
    ]
    assert (plan.teacher, plan.teacher_options) == ("maxim-gopro", {"stages": 1})
    assert plan.val_dir == str(CROPS / "test")


def test_a_recipe_may_be_a_file(trainings, tmp_path):
    printed = succeeds("recipes", "nafnet-small")
    (tmp_path / "mine.json").write_text(printed.replace('"ema": 0.999', '"ema": 0.5'))
    plan = trained(trainings, "--recipe", tmp_path / "mine.json", "--input_dir", CROPS)
    assert plan.ema == 0.5
    assert plan.network_options == read_fields("nafnet-small")["network_options"]


def test_a_recipe_that_names_what_lies_elsewhere_says_so(trainings, tmp_path, monkeypatch):
    """In its own folder and the present one it may name anything; an option in place of a path leaves none to say."""
    for folder in ("got", "here", "photos/A", "photos/B"):
        (tmp_path / folder).mkdir(parents=True)
    fields = {
        "val_dir": f"gopro={CROPS}",
        "log_dir": "../logs",
        "teacher": "maxim-gopro",
        "init_weights": str(tmp_path / "got" / "start.h5"),
        "sources": [{"kind": "pairs", "folder": str(tmp_path / "photos")}],
    }
    (tmp_path / "got" / "mine.json").write_text(json.dumps(fields))
    monkeypatch.chdir(tmp_path / "here")
    command = ["train", "--recipe", "../got/mine.json"]
    assert succeeds(*command).splitlines()[0] == (
        f"../got/mine.json names what lies elsewhere: val_dir gopro={CROPS}, log_dir ../logs, "
        f"sources {tmp_path / 'photos'}"
    )
    given = ["--log_dir", "logs", "--val_dir", "gopro=" + str(CROPS / "test"), "--input_dir", "../photos"]
    assert "elsewhere" not in succeeds(*command, *given)


def test_the_networks_of_a_recipe_are_drawn(tmp_path):
    small = tmp_path / "small.json"
    fields = read_fields("pix2pix")
    fields["network_options"] |= {"ngf": 4, "num_downs": 5}
    fields["critic_options"] |= {"ndf": 4}
    small.write_text(json.dumps(fields | {"image_size": 64}))
    written = succeeds("recipes", small, "--plot", tmp_path / "out")
    assert written.split() == [str(tmp_path / "out" / f"{name}.png") for name in ("generator", "discriminator")]
    generator = pixels(tmp_path / "out" / "generator.png")
    layers = 1 + (2 * 5 + 4) + (3 * 4 + 3 + 4) + 2  # down: conv, relu, norm; up: conv, norm, relu, skip, dropout; out
    assert generator.shape[0] == 2 * 20 + 36 * layers
    assert (generator == [204, 0, 0]).all(axis=2).any()  # the skips
    assert error_of(deblurgan("recipes", "--plot", tmp_path)) == "--plot: expected the name of a recipe before it"


def test_recipes_are_listed_and_printed_with_all_fields():
    lines = succeeds("recipes").splitlines()
    assert [line.split()[0] for line in lines] == recipes.names()
    assert json.loads(succeeds("recipes", "paper")) == dataclasses.asdict(make(read_fields("paper")))
    assert json.loads(succeeds("recipes", "tutorial"))["critic_updates"] == 5
    assert error_of(deblurgan("recipes", "papr")).endswith("received papr; did you mean paper?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "papre"], "recipe: expected .*; did you mean paper?"),
        (["--recipe", "paper", "--set", "epoks=3"], "epoks: expected a field of the recipe; did you mean epochs?"),
        (["--recipe", "paper", "--set", "epochs"], "set: expected FIELD=VALUE, received 'epochs'"),
        (["--set", "bach_size=5"], "bach_size: expected a field of the recipe; did you mean batch_size?"),
        (
            ["--recipe", "nafnet", "--legacy_batchnorm", "--source", "x"],
            "critic_options: expected none without a crit",
        ),
        (
            ["--recipe", "paper", "--steps", 5, "--epoch_num", 5],
            "--steps: expected this or --epoch_num, received both",
        ),
        (["--recipe", "paper", "--input_dir", "nowhere"], "nowhere: expected a folder, found nothing"),
        (["--recipe", "paper", "--source", "frames=F,gama=2"], "source .*: .*did you mean gamma"),
        (["--set", 'sources=[{"kind": "pairs"}]'], "source: expected a folder, received None"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(trainings, arguments, message):
    error = error_of(deblurgan("train", *arguments))
    assert re.match(message.replace("?", r"\?"), error), error
    assert trainings.calls == []


def test_an_option_that_a_network_does_not_have_is_refused(tmp_path):
    error = error_of(deblurgan("train", "--recipe", "nafnet", "--source", CROPS, "--upsampling", "resize"))
    assert error.startswith("upsampling: expected an option of nafnet, one of ")


def test_resume_takes_the_recipe_of_the_latest_run(trainings, old_run):
    folder, plan = old_run
    succeeds("train", "--resume", "--output_dir", folder.parent)
    succeeds("train", "--resume", "--output_dir", folder.parent, "--run", "old", "--epoch_num", 500)
    assert trainings.calls == [(plan, folder, True), (dataclasses.replace(plan, epochs=500), folder, True)]


def test_resume_takes_the_run_with_the_latest_checkpoint(trainings, old_run):
    folder, plan = old_run
    shutil.copytree(folder, folder.parent / "zzz")
    os.utime(folder.parent / "zzz" / "checkpoints" / "step_000000010.h5", (1e9, 1e9))
    succeeds("train", "--resume", "--output_dir", folder.parent)
    assert trainings.calls == [(plan, folder, True)]


def test_resume_of_what_is_no_run_is_refused(trainings, old_run, tmp_path):
    for folder in (tmp_path / "pairs", tmp_path / "missing"):
        error = error_of(deblurgan("train", "--resume", "--output_dir", folder))
        assert error == f"--resume: no run with a checkpoint in {folder}"
    runs = old_run[0].parent
    error = error_of(deblurgan("train", "--resume", "--output_dir", runs, "--run", "new"))
    assert error == f"{runs / 'new'}: expected the folder of a training run, found no recipe.json"
    (runs / "before").mkdir()
    for name in ("settings.json", "checkpoint.h5"):
        (runs / "before" / name).write_bytes(b"{}")
    for arguments in ([], ["--run", "before"]):
        error = error_of(deblurgan("train", "--resume", "--output_dir", runs, *arguments))
        assert error.startswith(f"{runs / 'before'}: a run of an earlier version, which cannot go on; ")
    assert trainings.calls == []


def test_the_same_command_with_resume_means_the_same_recipe(trainings, old_run):
    folder, plan = old_run
    given = ["--recipe", "paper", "--source", f"gopro={CROPS}", "--seed", 3, "--val_dir", "there"]
    succeeds("train", *given, "--output_dir", folder.parent, "--run", "old", "--resume")
    assert trainings.calls == [(plan, folder, True)]


def test_the_same_command_keeps_what_it_validates_on(trainings, old_run):
    folder, _ = old_run
    succeeds(
        "train", "--recipe", "paper", "--source", CROPS, "--output_dir", folder.parent, "--run", "old", "--resume"
    )
    assert trainings.calls[0][0].val_dir == "there"
    assert trained(trainings, "--recipe", "paper", "--source", CROPS).val_dir == str(CROPS / "test")


def test_weights_bring_their_network(trainings):
    given = ["--recipe", "nafnet-gan", "--input_dir", CROPS, "--init_weights", "x.weights.h5"]
    error = error_of(deblurgan("train", *given, "--set", "network_options.width=8"))
    assert error == "network_options.width: the network and its options are those of x.weights.h5"
    error = error_of(deblurgan("train", "--input_dir", CROPS, *given[-2:], "--upsampling", "resize"))
    assert error == "upsampling: the network and its options are those of x.weights.h5"
    assert trained(trainings, *given, "--set", "network_options.dropout=0.1").network_options["dropout"] == 0.1
    given[1:2] = ["maxim"]
    assert trained(trainings, *given, "--set", "network_options.stages=1").network_options == {
        "outputs": "all", "stages": 1,
    }  # fmt: skip


@pytest.mark.parametrize("program", ["deblurgan train", "python train.py"])
def test_an_interrupted_run_tells_how_to_go_on_and_exits_with_130(trainings, pairs, tmp_path, program):
    trainings.interrupted = True
    given = ["--input_dir", pairs, "--output_dir", tmp_path / "my runs", "--run", "one", "--batch_size", 2]
    if program == "deblurgan train":
        result = deblurgan("train", *given)
    else:
        result = deblurgan(*given, command=cli.train, prog_name="train.py")
    assert result.exit_code == 130
    words = shlex.split(result.stdout.splitlines()[-1])
    assert " ".join(words[:2]) == program
    plan, folder, _ = trainings.calls[0]
    folder.mkdir(parents=True)
    recipes.write(plan, folder)
    trainings.interrupted = False
    succeeds("train", *words[2:])
    assert trainings.calls[1] == (plan, folder, True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT that can be sent to one process")
def test_the_script_stops_on_ctrl_c_and_resumes(pairs, tmp_path):
    """Tiny networks in a process of their own: the first batch is finished, and after resuming the rest."""
    script = str(Path(__file__).parents[2] / "train.py")
    run = ["--output_dir", "runs", "--run", "one"]
    small = ["--set", "network_options.ngf=4", "--set", "network_options.n_blocks=1", "--set", "critic_options.ndf=4"]
    command = [sys.executable, script, *run, *small, "--input_dir", str(pairs), "--n_val", "0", "--image_size", "16"]
    command += ["--batch_size", "1", "--epoch_num", "1", "--critic_updates", "1", "--precision", "float32"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with subprocess.Popen(command, **pipes) as process:
        started = list(iter(process.stdout.readline, "Pictures: 3 to train on, 0 to validate on\n"))
        assert "Run: runs/one\n" in started
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Stopped. Weights so far: runs/one/generator_last.weights.h5" in output
    assert f"--resume {' '.join(run)}" in output
    resumed = subprocess.run([sys.executable, script, "--resume", *run], timeout=300, check=False, **pipes)
    assert resumed.returncode == 0, resumed.stderr
    assert len((tmp_path / "runs" / "one" / "log.csv").read_text().splitlines()) == 3
    assert "--weight_path runs/one/generator_best.weights.h5" in resumed.stdout


def test_train_py_trains_a_recipe_and_deblur_py_restores_with_it(tmp_path):
    """From the command to a restored picture, for real."""
    small = [
        "--set",
        'network_options={"width": 4, "encoder_blocks": [1], "middle_blocks": 0, "decoder_blocks": [1]}',
    ]
    size = ["--steps", 3, "--set", "steps_per_epoch=2", "--batch_size", 2, "--image_size", 32, "--n_val", 1]
    result = deblurgan(
        "--recipe", "nafnet", "--input_dir", CROPS, "--output_dir", tmp_path, "--run", "r", *small, *size,
        command=cli.train, prog_name="train.py",
    )  # fmt: skip
    assert result.exit_code == 0
    assert re.search(r"^epoch 2: psnr .*loss .*validation PSNR \d+\.\d\d dB", result.stdout, re.MULTILINE)
    pictures = tmp_path / "pictures"
    save(pictures / "a b.png", np.random.default_rng(0).integers(0, 256, (45, 83, 3), dtype=np.uint8))
    succeeds(
        "deblur", "--weight_path", tmp_path / "r" / "generator_best.weights.h5", "--input_dir", pictures,
        "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert pixels(tmp_path / "out" / "a b.png").shape == (45, 83, 3)


# synthesize


def test_synthesize_makes_pairs_that_train_takes(tmp_path):
    save(tmp_path / "in" / "one.png", np.full((40, 50, 3), 77, np.uint8))
    save(tmp_path / "in" / "two.png", np.random.default_rng(0).integers(0, 256, (31, 64, 3), dtype=np.uint8))
    output = succeeds("synthesize", "--input_dir", tmp_path / "in", "--output_dir", tmp_path / "out", "--count", 2)
    assert output == f"4 pairs written into {tmp_path / 'out'}, 0 already there\n"
    assert names(tmp_path / "out") == ["A", "B", "kernels.png"]
    assert names(tmp_path / "out" / "A") == names(tmp_path / "out" / "B")
    assert (pixels(tmp_path / "out" / "A" / "one_0.png") == 77).all()
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "B" / "two_1.png"), pixels(tmp_path / "in" / "two.png"))
    again = succeeds("synthesize", "--input_dir", tmp_path / "in", "--output_dir", tmp_path / "out", "--count", 2)
    assert again == f"0 pairs written into {tmp_path / 'out'}, 4 already there\n"


def test_synthesize_hands_every_option_on(tmp_path, monkeypatch):
    seen = []

    def synthesize(*places, **options):
        seen.append(options)
        return Report()

    monkeypatch.setattr(synthesizing, "synthesize", synthesize)
    succeeds(
        "synthesize", "--input_dir", "i", "--output_dir", "o", "--kernel", "both", "--length", 20, "--gamma", 2.2,
        "--noise", "1-3", "--jpeg", "60-90", "--count", 3, "--seed", 4, "--recursive", "--extension", ".jpg",
        "--overwrite",
    )  # fmt: skip
    blur = seen[0].pop("blur")
    del seen[0]["progress"]
    assert dataclasses.asdict(blur) == {
        "kernel": "both", "length": 20.0, "gamma": 2.2, "noise": (1.0, 3.0), "jpeg": (60, 90),
    }  # fmt: skip
    assert seen[0] == {"count": 3, "seed": 4, "recursive": True, "extension": ".jpg", "overwrite": True}


def test_synthesize_reports_what_cannot_be_read_and_does_the_rest(tmp_path):
    save(tmp_path / "in" / "good.png", np.full((40, 50, 3), 77, np.uint8))
    (tmp_path / "in" / "bad.png").write_bytes(b"no")
    result = deblurgan("synthesize", "--input_dir", tmp_path / "in", "--output_dir", tmp_path / "out")
    assert error_of(result, others=("failed: ",)) == "1 of the pictures failed"
    assert names(tmp_path / "out" / "A") == ["good.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--noise", "many"], "expected LOW-HIGH, two numbers, received many"),
        (["--jpeg", "0-50"], "jpeg: expected a range in 1 to 100, received 0 to 50"),
        (["--length", "-1"], "length: expected a positive number, received -1.0"),
        (["--count", "0"], "count and seed: expected at least 1 and 0, received 0 and 0"),
    ],
)
def test_synthesize_refuses_what_does_not_fit(tmp_path, arguments, message):
    save(tmp_path / "in" / "good.png", np.full((40, 50, 3), 77, np.uint8))
    result = deblurgan("synthesize", "--input_dir", tmp_path / "in", "--output_dir", tmp_path / "out", *arguments)
    assert error_of(result, others=("Usage", "Try", "")).endswith(message)
    assert not os.path.exists(tmp_path / "out")
