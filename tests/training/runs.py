"""Training runs of tiny networks on real crops, and what is compared of two of them."""

import json
import os
import signal
from pathlib import Path

import h5py
import numpy as np

from deblurgan.training.progress import Progress
from deblurgan.training.recipe import make, read_fields

CROPS = Path(__file__).parents[1] / "data" / "GOPRO_crops"
NAFNET = {"width": 4, "encoder_blocks": [1], "middle_blocks": 1, "decoder_blocks": [1], "space_to_depth": 2}
TIMING = ("seconds", "images_per_second")


def recipe(base=None, **changes):
    """A recipe that takes seconds: a NAFNet of 2,000 weights, 32x32 crops, 2 epochs of 3 steps."""
    fields = base or {"network_options": NAFNET, "learning_rate": 1e-3, "precision": "float32"}
    run = {
        "sources": [{"kind": "gopro", "folder": str(CROPS)}],
        "val_dir": str(CROPS / "test"),
        "n_val": 1,
        "batch_size": 2,
        "image_size": 32,
        "steps_per_epoch": 3,
        "steps": 6,
        "cache_mb": 64,
    }
    return make(fields, [*run.items(), *changes.items()])


def tutorial(**changes):
    """The tutorial's recipe with tiny networks; dropout is on."""
    small = {
        "network_options": {"upsampling": "transpose", "ngf": 4, "n_blocks": 1},
        "critic_options": {"ndf": 4, "n_layers": 1},
        "critic_updates": 2,
        "precision": "float32",
    }
    return recipe(read_fields("tutorial"), **{**small, **changes})


DCGAN = {  # makes 8x8 grey pictures; dropout is on
    "network_options.z_dim": 5,
    "network_options.initial_dense_layer_size": [4, 4, 3],
    "network_options.upsample": [2, 1],
    "network_options.conv_filters": [4, 1],
    "network_options.conv_kernel_size": [3, 3],
    "network_options.conv_strides": [1, 1],
    "critic_options.conv_filters": [4, 6],
    "critic_options.conv_kernel_size": [3, 3],
    "critic_options.conv_strides": [2, 2],
}


def from_noise(kind="gan", **changes):
    """A recipe that makes pictures from noise, with tiny networks: 2 epochs of 3 steps on real crops, grey."""
    run = {
        "dataset": str(CROPS),
        "image_size": 8,
        "batch_size": 4,
        "precision": "float32",
        "steps_per_epoch": 3,
        "steps": 6,
    }
    return make(read_fields(kind), [*DCGAN.items(), *run.items(), *changes.items()])


PIX2PIX = [("network_options.ngf", 4), ("network_options.num_downs", 5), ("critic_options.ndf", 4)]


def untimed(history):
    return [{name: value for name, value in row.items() if name not in TIMING} for row in history]


def tensors(path):
    """Every dataset of an HDF5 file by name."""
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same_file(one, other):
    one, other = tensors(one), tensors(other)
    assert one.keys() == other.keys()
    assert len(one) > 5
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def assert_same_end(run, whole):
    """Compare the weights, checkpoints and histories of two runs bit for bit; and no file is left half written."""
    files = [path.relative_to(whole) for path in whole.rglob("*.h5")]
    assert {"generator_best.weights.h5", "generator_last.weights.h5"} < {path.name for path in files}
    for file in files:
        assert_same_file(run / file, whole / file)
    histories = [json.loads((folder / "run.json").read_text())["epochs"] for folder in (run, whole)]
    assert untimed(histories[0]) == untimed(histories[1])
    assert not half_written(run)


def half_written(run):
    """The files in the folder of a run that whoever writes them, or wrote them when it was killed, has not ended."""
    return [*run.glob(".*.tmp*"), *run.glob("*/.*.tmp*")]


class Listener(Progress):
    """Notes what it is told, and interrupts after so many steps."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.notices, self.steps, self.epochs, self.rows = [], [], [], []

    def notice(self, line):
        self.notices.append(line)

    def epoch_started(self, epoch, epochs, steps, done):
        self.epochs.append((epoch, epochs, steps, done))

    def epoch_done(self, row):
        self.rows.append(row)

    def step_done(self, losses):
        self.steps.append(losses)
        if len(self.steps) == self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)
