"""One training step of each recipe: this package against the same networks and losses in plain PyTorch eager.

The two take turns in one process on the same random crops, in float32 and in bfloat16 (autocast there). Also tells
where our time goes: the generator's forward pass, its update without a critic, and the whole step. Needs `torch`.

    python benchmarks/recipes.py
    python benchmarks/recipes.py --recipes nafnet-small --precisions bfloat16 --rounds 9
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import torch
import torch._dynamo  # before TensorFlow, after which importing it ends the process (2.14 with 2.21)

import deblurgan  # noqa: F401 (it chooses TensorFlow's operations, before that is imported)

# isort: split

import keras
import numpy as np
import tensorflow as tf
from side_by_side import report, time_in_turn
from torch_recipes import STEPS, torch_step

from deblurgan.devices import describe, start_quietly
from deblurgan.training.recipe import make, read_fields
from deblurgan.training.steps import restoration

BATCH = {"nafnet": 2, "nafnet-gan": 2}  # smaller than the recipes', to be done in time
CHANGES = {  # what PyTorch's side does not have, of the same cost or less
    "nafnet-small": [("optimizer", "adamw"), ("losses", {"psnr": 1.0}), ("ema", 0.0)],
    "nafnet-gan": [("ema", 0.0)],
}


def ours(name: str, precision: str, without_critic: bool = False):
    changes = CHANGES.get(name, [])
    if without_critic:
        changes = [*changes, ("critic", None), ("critic_options", {}), ("adversarial", None)]
    recipe = make(read_fields(name), [("batch_size", BATCH.get(name, read_fields(name)["batch_size"])), *changes])
    return recipe, restoration(recipe, 1000, precision)


def compare(name: str, precision: str, rounds: int) -> None:
    recipe, model = ours(name, precision)
    side, count = recipe.image_size, recipe.batch_size
    random = np.random.default_rng(0)
    blurred, sharp = (random.uniform(-1, 1, (count, side, side, 3)).astype(np.float32) for _ in range(2))
    theirs = torch_step(name, precision=precision)
    images = [torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))) for x in (blurred, sharp)]
    forward = tf.function(lambda x: model.generator(x, training=True), autograph=False)
    things = {
        "PyTorch": lambda: theirs.step(*images),
        "deblurgan": lambda: model.step((blurred, sharp)),
        "  its forward pass": lambda: forward(blurred).numpy(),
    }
    if recipe.critic is not None:
        _, alone = ours(name, precision, without_critic=True)
        things["  without the critic"] = lambda: alone.step((blurred, sharp))
    print(f"{name}, {precision}, {count} crops of {side}x{side}")
    report(time_in_turn(things, rounds), "PyTorch")
    total = sum(theirs.seconds.values())
    print("  PyTorch's parts: " + ", ".join(f"{part} {own / total:.0%}" for part, own in theirs.seconds.items()))
    keras.backend.clear_session()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    start_quietly()
    print(f"{describe('auto')}, PyTorch {torch.__version__} with {torch.get_num_threads()} threads")
    for name in arguments.recipes:
        for precision in arguments.precisions:
            compare(name, precision, arguments.rounds)


if __name__ == "__main__":
    main()
