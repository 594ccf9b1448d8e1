import keras
import numpy as np
import pytest

from deblurgan.errors import InputError
from deblurgan.networks import zoo
from deblurgan.training.judging import Judge, heat_map
from deblurgan.training.recipe import Recipe


def test_a_heat_map_is_red_for_real_blue_for_fake_and_white_between():
    values = np.array([[20.0, 99.0], [0.0, -20.0], [10.0, -5.0]], np.float32)
    picture = heat_map(values, 6, 6)
    assert picture.shape == (6, 6, 3)
    assert picture[0, 0].tolist() == picture[1, 5].tolist() == [178, 24, 43]
    assert picture[2, 2].tolist() == [255, 255, 255]
    assert picture[3, 3].tolist() == [33, 102, 172]
    assert picture[5, 0].tolist() == [216, 140, 149]  # half of the way, rounded to even


def test_the_critic_is_asked_about_pictures_of_any_size_with_its_present_weights():
    options = {"ndf": 4, "n_layers": 1, "norm": "none"}
    recipe = Recipe(critic="patchgan", adversarial="gan", critic_options=options, conditional=True)
    critic = zoo.build_critic("patchgan", {**options, "image_shape": (32, 32, 6)})
    judge = Judge(recipe, critic)
    for weight in critic.weights:
        weight.assign(np.zeros(weight.shape))
    critic.get_layer("out_conv").bias.assign([20.0])
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), np.uint8)
    assert judge(*pictures).shape == (40, 56, 3)
    assert (judge(*pictures) == [178, 24, 43]).all()


def test_a_critic_of_grey_and_colour_is_given_both():
    options = {"ndf": 4, "n_layers": 1, "norm": "none"}
    recipe = Recipe(critic="patchgan", adversarial="gan", critic_options=options, conditional=True, input_channels=1)
    critic = zoo.build_critic("patchgan", {**options, "image_shape": (32, 32, 4)})
    grey, colour = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), np.uint8)
    values = critic(np.concatenate([x[None, :32, :32] / 127.5 - 1 for x in (grey[..., :1], colour)], -1))
    expected = heat_map(np.asarray(values)[0, ..., 0], 32, 32)
    np.testing.assert_array_equal(Judge(recipe, critic)(grey[:32, :32], colour[:32, :32]), expected)


def test_a_critic_with_one_value_for_a_picture_is_refused():
    recipe = Recipe(critic="tutorial", adversarial="gan")
    with pytest.raises(InputError, match="panels: expected a critic with a value for each patch, such as patchgan"):
        Judge(recipe, keras.Sequential([keras.layers.Input((32, 32, 3))]))
