"""Trainings of the real recipes with tiny networks: killed at random moments, resumed, and killed again."""

import random
import shutil
import time

import pytest

from deblurgan.training.recipe import read_fields
from tests.training.killing import Life
from tests.training.runs import CROPS, NAFNET, assert_same_end, from_noise, half_written, recipe, tutorial

EVERY = {"steps_per_epoch": 10, "checkpoint_every": 3, "steps": None}


def all_that_has_a_state(**changes):
    """A GAN with dropout, penalty points, averages, optimizers, a plateau's patience, noise."""
    return recipe(
        network="paper",
        network_options={"ngf": 4, "n_blocks": 1},
        critic="patchgan",
        critic_options={"ndf": 4, "n_layers": 1},
        adversarial="wgan-gp",
        gradient_penalty=10.0,
        critic_updates=2,
        losses={"l1": 10.0},
        ema=0.9,
        n_val=-1,  # of all pictures the scores reach a plateau
        learning_rate=0.03,
        reduce_lr=1,
        early_stopping=99,
        sources=[
            {"kind": "gopro", "folder": str(CROPS), "weight": 1},
            {"kind": "sharp", "folder": str(CROPS), "weight": 1, "noise": [1, 3]},
        ],
        **changes,
    )


PLANS = {  # by the number of epochs
    "tutorial": lambda epochs: tutorial(epochs=epochs, precision="auto", **EVERY),
    "nafnet-small": lambda epochs: recipe(
        read_fields("nafnet-small"), epochs=epochs, network_options=NAFNET, **EVERY
    ),
    "paper": lambda epochs: recipe(
        read_fields("paper"),
        epochs=epochs,
        network_options={"ngf": 4, "n_blocks": 1},
        critic_options={"ndf": 4},
        perceptual_network="vgg16",  # VGG19 would have to be downloaded
        **EVERY,
    ),
    "paper with averages, a plateau and noise": lambda epochs: all_that_has_a_state(epochs=epochs, **EVERY),
    "gan": lambda epochs: from_noise("gan", epochs=epochs, precision="auto", **EVERY),
}
SHORT = {"tutorial": 1, "paper with averages, a plateau and noise": 2, "gan": 1}  # kills in the short form
EARLY = 0.15  # of the kills come before the first step of the life that they end
WRITING = 0.4  # come while a file is being written


@pytest.mark.faults
@pytest.mark.parametrize("name", PLANS)
def test_a_killed_training_ends_as_one_that_was_not(name, tmp_path, often, note):
    times = often(SHORT.get(name, 0), 20)
    epochs, chance = times * 3 // 2 + 1, random.Random(name)
    plan = PLANS[name](epochs)
    begun = time.perf_counter()
    whole = Life(plan, tmp_path / "whole")
    assert whole.until_step()
    starting = time.perf_counter() - begun
    assert whole.to_its_end().count("epoch") == epochs
    a_step = (time.perf_counter() - begun - starting) / (epochs * EVERY["steps_per_epoch"])  # seconds

    run, unfinished = tmp_path / "killed", 0
    for number in range(times):
        life, moment = Life(plan, run), chance.random()
        if number and moment < EARLY:
            assert life.kill(chance.uniform(0, starting))
            continue
        least = 1 if number else EVERY["checkpoint_every"] + 1  # so that there is a checkpoint to go on from
        assert life.until_step(chance.randint(least, EVERY["steps_per_epoch"]))
        time.sleep(chance.uniform(0, a_step))
        while moment < EARLY + WRITING and life.process.is_alive() and not half_written(run):
            pass
        assert life.kill(), f"ended before it was killed for the {number + 1}th time"
        unfinished += bool(half_written(run))
    assert 0 < Life(plan, run).to_its_end().count("step") < epochs * EVERY["steps_per_epoch"]

    assert_same_end(run, tmp_path / "whole")
    shutil.rmtree(tmp_path)
    note(
        f"training, `{name}`: SIGKILL at a random moment, then `--resume`",
        times,
        f"each goes on; the end is that of the undisturbed run, bit for bit; {unfinished} came while a file was "
        "being written",
    )
