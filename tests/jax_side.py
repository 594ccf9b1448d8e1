"""What `test_jax.py` runs on the JAX backend: `python jax_side.py INPUT OUTPUT`, two `.npz` files.

INPUT has the networks as JSON, for each of them its weights and images, and which to train for a step; OUTPUT gets
what they compute.
"""

import json
import sys

import keras
import numpy as np

from deblurgan.networks import zoo
from deblurgan.training import losses


def main(source, target):
    with np.load(source) as file:
        given = dict(file)
    results = {}
    for key, (role, name, options) in json.loads(str(given["networks"])).items():
        model = zoo.build(role, name, options)
        weights = [given[f"{key}/weights/{i}"] for i in range(len(model.weights))]
        model.set_weights(weights)
        images = given[f"{key}/images"]
        results[f"{key}/output"] = model.predict(images, verbose=0)
        if key not in given["trained"]:
            continue
        optimizer = keras.optimizers.AdamW(1e-3, beta_1=0.9, beta_2=0.9)
        model.compile(optimizer, losses.WeightedSum({"psnr": 1.0}))
        history = model.fit(images, given[f"{key}/sharp"], batch_size=len(images), verbose=0)
        results[f"{key}/loss"] = history.history["loss"][0]
        results |= {f"{key}/after/{i}": weight for i, weight in enumerate(model.weights)}
    assert keras.backend.backend() == "jax"
    assert "tensorflow" not in sys.modules
    np.savez(target, **{name: np.asarray(value) for name, value in results.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
