"""Runs that learn from a teacher's pictures, with tiny networks on real crops."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from deblurgan.data.crops import CropStream
from deblurgan.data.opening import open_source
from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.networks import zoo
from deblurgan.training.steps import build_step
from deblurgan.training.teacher import open_teacher
from deblurgan.training.trainer import train
from deblurgan.weights import any_file
from deblurgan.weights.labelled import save_network
from tests.batches import run
from tests.maxim_files import OPTIONS
from tests.training.runs import CROPS, NAFNET, Listener, assert_same_file, recipe, tensors, untimed

BLURRED = {"kind": "blurred", "folder": str(CROPS / "train")}  # both blurred and sharp, to the source
TEACHER = {**NAFNET, "width": 6}
MAXIM = {**OPTIONS, "stages": 1}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Weights of a NAFNet that changes pictures a little."""
    network = zoo.build_generator("nafnet", TEACHER)
    random = np.random.default_rng(0)
    network.set_weights([weight + random.normal(0, 0.05, weight.shape) for weight in network.get_weights()])
    path = tmp_path_factory.mktemp("teacher") / "teacher.weights.h5"
    save_network(network, path, "nafnet", TEACHER)
    return path


def plan_of(teacher, **changes):
    mixed = [{**BLURRED, "weight": 1}, {"kind": "gopro", "folder": str(CROPS), "weight": 1}]
    return recipe(**{"teacher": str(teacher), "sources": mixed, "val_dir": None, "checkpoint_every": 2, **changes})


@pytest.fixture(scope="module")
def finished(teacher, tmp_path_factory):
    """A run on photographs with and without sharp ones: its folder, its result, its recipe."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    plan = plan_of(teacher, teacher_weight=0.5, accumulate=2)
    return run, train(plan, run), plan


def test_a_student_without_sharp_pictures_learns_what_its_teacher_makes(teacher, tmp_path):
    listener = Listener()
    plan = plan_of(teacher, sources=[BLURRED], sharp_weight=0, steps=3)
    result = train(plan, tmp_path, progress=listener)
    stream = CropStream([open_source(BLURRED)], crop_size=32, batch_size=2, cache_mb=64)
    crops = [stream.crop(index) for index in range(2)]
    assert all(np.isnan(sharp).all() for _, sharp in crops)
    blurred = np.stack([crop for crop, _ in crops])
    of_teacher = np.clip(run(any_file.load(teacher), blurred), -1, 1)
    expected = np.abs(np.float64(of_teacher) - blurred).mean()  # at first the student changes nothing
    assert expected > 0.01
    assert listener.steps[0]["teacher_l1"] == pytest.approx(expected, rel=1e-4)
    assert set(listener.steps[0]) == {"loss", "teacher_l1", "gradient_norm"}
    assert result.history[-1]["teacher_l1"] > 0
    assert result.bad == {}


def test_the_teacher_stays_as_it_is_and_out_of_the_checkpoint(teacher, finished):
    run, result, plan = finished
    found = tensors(run / "checkpoints" / "step_000000006.h5")
    alone = build_step(dataclasses.replace(plan, teacher=None), 6, "float32")
    of_model = sorted(value.shape for name, value in found.items() if name.startswith("model/"))
    assert of_model == sorted(tuple(variable.shape) for variable in alone.model.variables)  # the student's alone
    digest = open_teacher(plan, "float32").digest  # of the file, as it was and is
    about = json.loads((run / "run.json").read_text())
    assert about["teacher"] == {"network": "NAFNet generator", "sha256": digest}
    assert about["parameters"] == {"generator": alone.generator.count_params()}
    assert {"l1", "teacher_l1"} <= set(result.history[-1])


@pytest.mark.slow
def test_an_interrupted_student_ends_as_one_that_was_not(finished, tmp_path):
    whole, expected, plan = finished
    assert train(plan, tmp_path, progress=Listener(4)).interrupted
    result = train(plan, tmp_path, resume=True)
    assert untimed(result.history) == untimed(expected.history)
    for name in ("generator_last.weights.h5", "checkpoints/step_000000006.h5"):
        assert_same_file(tmp_path / name, whole / name)


def test_a_run_goes_on_with_the_teacher_it_was_started_with(finished, teacher):
    run, result, plan = finished
    before = teacher.read_bytes()
    try:
        save_network(zoo.build_generator("nafnet", TEACHER), teacher, "nafnet", TEACHER)
        with pytest.raises(
            WeightsError, match=r"teacher .*teacher\.weights\.h5: expected the weights that .*was started"
        ):
            train(plan, run, resume=True)
        teacher.unlink()
        with pytest.raises(FileError, match=r"teacher\.weights\.h5: expected a weight file, found nothing"):
            train(plan, run, resume=True)
    finally:
        teacher.write_bytes(before)
    assert train(plan, run, resume=True).history == result.history


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nafnet", TEACHER),
        ("tutorial", {"ngf": 4, "n_blocks": 1}),
        ("paper", {"ngf": 4, "n_blocks": 1}),
        ("maxim", MAXIM),
    ],
)
def test_what_a_teacher_makes_are_pictures_of_its_network(tmp_path, randomised, name, options):
    network = randomised(zoo.build_generator(name, options))
    save_network(network, tmp_path / "t.weights.h5", name, options)
    plan = recipe(teacher=str(tmp_path / "t.weights.h5"))
    teacher = open_teacher(plan, "float32")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    expected = np.clip(run(network, images), -1, 1)
    assert np.ptp(expected) > 0.5
    restored = teacher.restore(tf.constant(images))
    np.testing.assert_allclose(restored, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None}, "teacher: expected one for blurred=.*train, where nothing is sharp, received none"),
        ({"teacher": "maxim-gopo"}, "maxim-gopo: expected a weight file, found nothing; did you mean maxim-gopro?"),
        (
            {"teacher_options": {"stages": 1}},
            "teacher .*: stages: no assumption here; what a NAFNet generator leaves open",
        ),
        ({"teacher_options": {"dropout": "x"}}, "teacher .*: dropout: expected a value like 0.0, received 'x'"),
        (
            {"teacher": "maxim-gopro", "teacher_options": {"stages": 4}},
            "teacher .*: stages: expected 1 to 3, received 4",
        ),
        (
            {"teacher": "maxim-gopro", "teacher_options": {"stages": 1}, "image_size": 96},
            "image_size: expected a multiple of 64 for the teacher maxim-gopro, received 96",
        ),
    ],
)
def test_a_teacher_that_cannot_be_is_refused(teacher, tmp_path, changes, message):
    with pytest.raises((InputError, FileError), match=message.replace("?", r"\?")):
        train(dataclasses.replace(plan_of(teacher), **changes), tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("role", "name", "options", "message"),
    [
        ("critic", "patchgan", {"ndf": 4}, "expected a generator's weights, found those of a PatchGAN discriminator"),
        (
            "generator",
            "paper",
            {"ngf": 4, "test_dropout": True},
            "expected test_dropout=false; its pictures would be",
        ),
    ],
)
def test_a_network_that_cannot_teach_is_refused(tmp_path, role, name, options, message):
    path = tmp_path / "network.weights.h5"
    save_network(zoo.build(role, name, options), path, name, options, role=role)
    with pytest.raises((InputError, WeightsError), match=message):
        train(plan_of(path), tmp_path / "run")
    assert not Path(tmp_path / "run").exists()
