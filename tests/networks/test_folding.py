import keras
import numpy as np
import pytest

from deblurgan.networks import zoo
from deblurgan.networks.folding import folded
from tests.networks.test_zoo import TINY

CASES = {
    "transposed": ("tutorial", {}),
    "resized": ("tutorial", {"upsampling": "resize", "n_blocks": 4}),
    "grey": ("tutorial", {"image_shape": (None, None, 1)}),
    "no bias": ("paper", {"norm": "batch"}),  # and a layer between the transposed convolution and the normalisation
    "skips": ("unet", {}),
}


@pytest.mark.parametrize(("name", "options"), CASES.values(), ids=CASES)
def test_the_folded_network_gives_the_same_with_fewer_layers(name, options, randomised):
    model = randomised(zoo.build_generator(name, {**TINY[name], **options}))
    other = folded(model)
    norms = [layer.name for layer in other.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms == (["up1_norm", "up2_norm"] if name == "paper" else [])
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in other.layers)
    assert other.input_shape == model.input_shape
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 64, model.input_shape[-1])).astype(np.float32)
    before = np.asarray(model(images))
    # Products of some hundred values of about 1 in float32, in another order, one layer after the other.
    np.testing.assert_allclose(other(images), before, rtol=0, atol=5e-5 * max(1, np.abs(before).max()))


def test_a_network_without_such_normalisations_is_left_alone():
    for name, options in (("nafnet", {}), ("maxim", {}), ("paper", {})):
        model = zoo.build_generator(name, {**TINY[name], **options})
        assert folded(model) is model


def test_what_another_layer_takes_as_well_is_not_folded():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    y = keras.layers.BatchNormalization()(x)
    model = keras.Model(inputs, keras.layers.Add()([x, y]))
    assert folded(model) is model


def test_the_dtype_policy_is_kept():
    other = folded(zoo.build_generator("tutorial", TINY["tutorial"], dtype="mixed_bfloat16"))
    assert other.get_layer("in_conv").compute_dtype == "bfloat16"
    assert other.output.dtype == "float32"
