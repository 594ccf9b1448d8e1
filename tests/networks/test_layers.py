import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from deblurgan.errors import InputError
from deblurgan.networks.layers import (
    BatchNormalization,
    Dropout,
    InputGradient,
    InstanceNormalization,
    ReflectionPadding2D,
    input_gradient,
    res_block,
)
from deblurgan.training.losses import gradient_penalty_loss, wasserstein_loss
from tests import reference
from tests.ordering import unordered


def normal(shape, seed=0, scale=1.0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, scale, shape).astype(np.float32)


# ReflectionPadding2D

PADDINGS = {
    "int": (2, ((2, 2), (2, 2))),
    "nothing": (0, ((0, 0), (0, 0))),
    "pair": ((1, 3), ((1, 1), (3, 3))),
    "nested": (((0, 1), (4, 2)), ((0, 1), (4, 2))),
    "lists, as JSON gives them": ([[3, 0], [0, 2]], ((3, 0), (0, 2))),
    "up to the side less one": (((4, 4), (6, 6)), ((4, 4), (6, 6))),
}
paddings = pytest.mark.parametrize(("padding", "pairs"), PADDINGS.values(), ids=PADDINGS.keys())


@paddings
def test_reflection_padding_equals_numpy(padding, pairs):
    images = normal((2, 5, 7, 3))
    output = ReflectionPadding2D(padding, data_format="channels_last")(images)
    np.testing.assert_array_equal(output, np.pad(images, [(0, 0), *pairs, (0, 0)], mode="reflect"))


@paddings
def test_reflection_padding_channels_first_equals_numpy(padding, pairs):
    images = normal((2, 3, 5, 7))
    output = ReflectionPadding2D(padding, data_format="channels_first")(images)
    np.testing.assert_array_equal(output, np.pad(images, [(0, 0), (0, 0), *pairs], mode="reflect"))


@paddings
def test_reflection_padding_says_its_output_shape_before_it_runs(padding, pairs):
    height, width = 5 + sum(pairs[0]), 7 + sum(pairs[1])
    last = ReflectionPadding2D(padding, data_format="channels_last")
    assert last(keras.Input((5, 7, 3))).shape == (None, height, width, 3)
    assert last.compute_output_shape((2, None, 7, 3)) == (2, None, width, 3)
    first = ReflectionPadding2D(padding, data_format="channels_first")
    assert first(keras.Input((3, 5, 7))).shape == (None, 3, height, width)


def test_reflection_padding_is_1_on_all_sides_unless_told():
    images = normal((1, 4, 5, 2))
    expected = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(ReflectionPadding2D()(images), expected)


def test_reflection_padding_takes_sizes_that_are_unknown_until_the_data_come():
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, ReflectionPadding2D(((1, 2), (3, 0)))(inputs))
    assert model.output_shape == (None, None, None, 2)
    for shape in ((1, 3, 4, 2), (2, 9, 5, 2)):
        images = normal(shape)
        expected = np.pad(images, [(0, 0), (1, 2), (3, 0), (0, 0)], mode="reflect")
        np.testing.assert_array_equal(model.predict(images, verbose=0), expected)


def test_reflection_padding_of_an_unknown_size_that_is_too_small_fails_when_the_data_come():
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, ReflectionPadding2D(3)(inputs))
    with pytest.raises(InputError, match="at least 4"):
        model.predict(normal((1, 3, 8, 2)), verbose=0)
    compiled = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 2))])
    assert compiled(normal((1, 4, 8, 2))).shape == (1, 10, 14, 2)
    with pytest.raises(tf.errors.InvalidArgumentError):
        compiled(normal((1, 3, 8, 2)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32"])
def test_reflection_padding_keeps_the_dtype(dtype):
    policy = "float32" if dtype == "int32" else dtype
    images = tf.cast(tf.reshape(tf.range(12), (1, 3, 4, 1)), dtype)
    output = ReflectionPadding2D(1, dtype=policy)(images)
    assert output.dtype == dtype
    np.testing.assert_array_equal(
        tf.cast(output, "int32")[0, :, :, 0], np.pad(np.arange(12).reshape(3, 4), 1, mode="reflect")
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_reflection_padding_config_survives_json(data_format):
    layer = ReflectionPadding2D(((0, 1), (4, 2)), data_format=data_format, name="pad")
    again = ReflectionPadding2D.from_config(json.loads(json.dumps(layer.get_config())))
    assert again.get_config() == layer.get_config()
    assert (again.name, again.padding, again.data_format) == ("pad", ((0, 1), (4, 2)), data_format)


def test_a_model_with_reflection_padding_loads_in_safe_mode(tmp_path):
    inputs = keras.Input((5, 7, 3))
    model = keras.Model(inputs, ReflectionPadding2D((1, 3))(inputs))
    model.save(tmp_path / "padding.keras")
    again = keras.saving.load_model(tmp_path / "padding.keras", safe_mode=True)
    images = normal((2, 5, 7, 3))
    np.testing.assert_array_equal(again(images), model(images))


@pytest.mark.parametrize("padding", [3, (3, 0), ((0, 3), (0, 0)), ((3, 0), (0, 0))])
def test_reflection_padding_of_a_side_that_is_too_small_says_so(padding):
    message = r"reflecting 3 pixels needs a side of at least 4, received an input of shape \(None, 3, 8, 2\)"
    with pytest.raises(InputError, match=message):
        ReflectionPadding2D(padding)(keras.Input((3, 8, 2)))
    with pytest.raises(InputError, match="reflecting 3 pixels"):
        ReflectionPadding2D(padding)(normal((1, 3, 8, 2)))


def test_reflection_padding_channels_first_measures_the_right_sides():
    with pytest.raises(InputError, match="at least 4"):
        ReflectionPadding2D(3, data_format="channels_first")(keras.Input((8, 3, 8)))
    assert ReflectionPadding2D(3, data_format="channels_first")(keras.Input((1, 8, 8))).shape == (None, 1, 14, 14)


@pytest.mark.parametrize(
    "padding",
    [-1, 1.5, True, None, "ab", (1,), (1, 2, 3), (1, -2), ((1, 2), (3,)), ((1, 2), (3, 4.0)), [[1, 2, 3], 1]],
)
def test_reflection_padding_refuses_a_wrong_padding(padding):
    with pytest.raises(InputError, match="padding: expected a non-negative int"):
        ReflectionPadding2D(padding)


def test_reflection_padding_refuses_a_wrong_data_format():
    with pytest.raises(
        InputError, match="data_format: expected 'channels_last' or 'channels_first', received 'NHWC'"
    ):
        ReflectionPadding2D(1, data_format="NHWC")


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3, 1)])
def test_reflection_padding_refuses_other_ranks(shape):
    with pytest.raises(ValueError, match="ndim=4"):
        ReflectionPadding2D(1)(keras.Input(shape))


# BatchNormalization

# Both compute in float32 and round the result once, to 24, 8 or 11 significant bits; the sums of the gradients are
# taken in another order.
TOLERANCES = {"float32": 2e-5, "mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}
policies = pytest.mark.parametrize("policy", TOLERANCES)


def pair_of_norms(input_shape, policy="float32", **arguments):
    """Our layer and Keras', with the same weights, none of them trivial."""
    ours = BatchNormalization(dtype=policy, **arguments)
    theirs = layers.BatchNormalization(dtype=policy, **arguments)
    for layer in (ours, theirs):
        layer.build(input_shape)
        for seed, variable in enumerate(layer.weights):
            positive = variable.name in ("gamma", "moving_variance", "moving_stddev", "renorm_stddev")
            variable.assign(normal(variable.shape, seed, scale=0.2, mean=1.5 if positive else 0.3))
    return ours, theirs


def one_step(layer, inputs, **call):
    """Output, gradients of a weighted sum of it for the input and each of gamma and beta, and all weights after."""
    inputs = tf.cast(inputs, layer.compute_dtype)
    parameters = [variable.value for variable in (layer.gamma, layer.beta) if variable is not None]
    with tf.GradientTape() as tape:
        tape.watch([inputs, *parameters])
        output = layer(inputs, **call)
        value = tf.reduce_sum(tf.cast(output, "float64") * tf.cast(normal(output.shape, 9), "float64"))
    gradients = tape.gradient(value, [inputs, *parameters])
    return [output, *gradients, *(variable.value for variable in layer.weights)]


def assert_close(found, expected, tolerance):
    """Same shapes and dtypes, and differences below `tolerance` times the largest expected value."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        ours, theirs = (np.asarray(tf.cast(tensor, "float64")) for tensor in (ours, theirs))
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


MODES = {
    "training": ({"training": True}, True),
    "inference": ({"training": False}, True),
    "frozen": ({"training": True}, False),
    "not told": ({}, True),
}


@policies
@pytest.mark.parametrize(("call", "trainable"), MODES.values(), ids=MODES.keys())
def test_batch_normalization_equals_that_of_keras(policy, call, trainable):
    inputs = normal((4, 6, 5, 3), seed=5, scale=3, mean=2)
    results = []
    for layer in pair_of_norms(inputs.shape, policy):
        layer.trainable = trainable
        results.append(one_step(layer, inputs, **call))
    assert_close(*results, TOLERANCES[policy])


def test_batch_normalization_at_inference_equals_the_definition():
    inputs = normal((2, 3, 4, 5), scale=3)
    layer, _ = pair_of_norms(inputs.shape, epsilon=0.02)
    expected = reference.batch_normalization(inputs, [np.array(v) for v in layer.weights], epsilon=0.02)
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-5)


def test_batch_normalization_of_a_single_pixel_notes_no_nan():
    inputs = normal((1, 1, 1, 3))
    ours, theirs = pair_of_norms(inputs.shape)
    assert_close(one_step(ours, inputs, training=True), one_step(theirs, inputs, training=True), 1e-5)
    assert np.isfinite(np.concatenate([np.array(v) for v in ours.weights])).all()


FALLBACKS = {
    "rank 2": ((6, 4), {}),
    "rank 3": ((6, 5, 4), {}),
    "channels first": ((3, 4, 5, 6), {"axis": 1}),
    "no gamma": ((3, 4, 5, 6), {"scale": False}),
    "no beta": ((3, 4, 5, 6), {"center": False}),
    "float64": ((3, 4, 5, 6), {"policy": "float64"}),
    "all in bfloat16": ((3, 4, 5, 6), {"policy": "bfloat16"}),
    "all in float16": ((3, 4, 5, 6), {"policy": "float16"}),
    "synchronized": ((3, 4, 5, 6), {"synchronized": True}),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "arguments"), FALLBACKS.values(), ids=FALLBACKS.keys())
def test_batch_normalization_equals_that_of_keras_where_the_fused_kernel_does_not_serve(shape, arguments, training):
    inputs = normal(shape, scale=2)
    results = [one_step(layer, inputs, training=training) for layer in pair_of_norms(shape, **arguments)]
    assert_close(*results, 1e-6)


def test_batch_normalization_can_renormalise_where_keras_can():
    try:
        ours, theirs = pair_of_norms((3, 4, 5, 6), renorm=True)
    except (TypeError, ValueError):
        pytest.skip("this version of Keras has no renorm")
    inputs = normal((3, 4, 5, 6), scale=2)
    assert_close(one_step(ours, inputs, training=True), one_step(theirs, inputs, training=True), 1e-6)


def test_batch_normalization_takes_a_mask():
    inputs, mask = normal((3, 4, 5, 6), scale=2), np.random.default_rng(0).random((3, 4, 5)) < 0.5
    results = [
        one_step(layer, inputs, training=True, mask=tf.constant(mask)) for layer in pair_of_norms(inputs.shape)
    ]
    assert_close(*results, 1e-6)


def test_batch_normalization_casts_whole_numbers_as_keras_does():
    pixels = np.random.default_rng(0).integers(0, 255, (2, 4, 5, 3), dtype=np.int32)
    ours, theirs = pair_of_norms(pixels.shape)
    np.testing.assert_allclose(ours(pixels), theirs(pixels), rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_model_trains_the_same_with_either_batch_normalization(jit_compile):
    images, targets = normal((4, 8, 6, 3)), normal((4, 8, 6, 2), seed=1)
    trained = []
    for norm in (BatchNormalization, layers.BatchNormalization):
        inputs = keras.Input((8, 6, 3))
        x = layers.Conv2D(4, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(0))(inputs)
        x = layers.Activation("relu")(norm()(x))
        x = layers.Conv2D(2, 1, kernel_initializer=keras.initializers.GlorotUniform(1))(x)
        model = keras.Model(inputs, x)
        model.compile("sgd", "mse", jit_compile=jit_compile)
        losses = [model.train_on_batch(images, targets) for _ in range(4)]
        trained.append(([*losses], model.get_weights()))
    assert trained[0][0][0] > trained[0][0][-1]
    np.testing.assert_allclose(*(losses for losses, _ in trained), rtol=1e-5)
    for ours, theirs in zip(*(weights for _, weights in trained), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_weight_files_fit_either_batch_normalization(tmp_path, randomised):
    def build(norm):
        inputs = keras.Input((8, 6, 3))
        return keras.Model(inputs, norm()(layers.Conv2D(4, 3)(inputs)))

    images = normal((2, 8, 6, 3))
    ours, theirs = build(BatchNormalization), randomised(build(layers.BatchNormalization))
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    np.testing.assert_allclose(ours(images), theirs(images), atol=1e-5)
    randomised(ours, seed=1).save_weights(tmp_path / "ours.weights.h5")
    theirs.load_weights(tmp_path / "ours.weights.h5")
    np.testing.assert_allclose(ours(images), theirs(images), atol=1e-5)


@policies
def test_a_model_with_batch_normalization_loads_in_safe_mode(tmp_path, randomised, policy):
    inputs = keras.Input((8, 6, 3))
    model = randomised(keras.Model(inputs, BatchNormalization(momentum=0.9, epsilon=0.01, dtype=policy)(inputs)))
    model.save(tmp_path / "norm.keras")
    again = keras.saving.load_model(tmp_path / "norm.keras", safe_mode=True)
    assert type(again.layers[-1]) is BatchNormalization
    assert again.layers[-1].get_config() == model.layers[-1].get_config()
    images = normal((2, 8, 6, 3))
    np.testing.assert_array_equal(tf.cast(again(images), "float32"), tf.cast(model(images), "float32"))


# res_block


def block(shape=(9, 7, 4), **arguments):
    inputs = keras.Input(shape)
    return keras.Model(inputs, res_block(inputs, shape[-1], **arguments))


def test_res_block_keeps_the_shape():
    assert block((9, 7, 4)).output_shape == (None, 9, 7, 4)
    assert block((None, None, 4)).output_shape == (None, None, None, 4)


def test_res_block_has_the_tutorials_layers_in_order():
    model = block(use_dropout=True, name="block")
    assert [(type(layer), layer.name) for layer in model.layers[1:]] == [
        (ReflectionPadding2D, "block_pad1"),
        (layers.Conv2D, "block_conv1"),
        (BatchNormalization, "block_bn1"),
        (layers.Activation, "block_relu"),
        (layers.Dropout, "block_dropout"),
        (ReflectionPadding2D, "block_pad2"),
        (layers.Conv2D, "block_conv2"),
        (BatchNormalization, "block_bn2"),
        (layers.Add, "block_add"),
    ]
    assert model.get_layer("block_dropout").rate == 0.5
    assert model.get_layer("block_relu").activation is keras.activations.relu


def test_res_block_without_a_name_lets_keras_choose():
    names = [layer.name for layer in block(use_dropout=True).layers]
    assert not any("None" in name or name.startswith("_") for name in names)


@pytest.mark.parametrize(("use_dropout", "rate"), [(True, 0.5), (0.25, 0.25), (False, None), (0, None), (0.0, None)])
def test_res_block_drops_out_at_the_given_rate(use_dropout, rate):
    dropouts = [layer.rate for layer in block(use_dropout=use_dropout).layers if isinstance(layer, layers.Dropout)]
    assert dropouts == ([] if rate is None else [rate])


def test_res_block_equals_the_reference(randomised):
    model = randomised(block(name="block", use_dropout=True))
    images = normal((2, 9, 7, 4))
    parts = {
        part: [np.array(v) for v in model.get_layer(f"block_{part}").weights]
        for part in ("conv1", "bn1", "conv2", "bn2")
    }
    expected = reference.res_block(images, [parts["conv1"], parts["conv2"]], [parts["bn1"], parts["bn2"]])
    np.testing.assert_allclose(model(images), expected, atol=1e-5)


def test_res_block_with_another_kernel_equals_the_reference(randomised):
    model = randomised(block(kernel_size=(5, 3)))
    images = normal((2, 9, 7, 4))
    conv1, norm1, conv2, norm2 = (layer.get_weights() for layer in model.layers if layer.weights)
    x = reference.conv(reference.reflection_padding(images, 2, 2, 1, 1), conv1)
    x = reference.relu(reference.batch_normalization(x, norm1))
    x = reference.conv(reference.reflection_padding(x, 2, 2, 1, 1), conv2)
    x = reference.batch_normalization(x, norm2)
    np.testing.assert_allclose(model(images), images + x, atol=1e-5)


@pytest.mark.parametrize("kernel_size", [2, (3, 4), (3,), (3, 3, 3), 0, -1, (3, -3)])
def test_res_block_refuses_a_kernel_that_has_no_centre(kernel_size):
    with pytest.raises(InputError, match="kernel_size: expected"):
        block(kernel_size=kernel_size)


@pytest.mark.parametrize("strides", [2, (2, 2), (1, 2), 0])
def test_res_block_refuses_strides(strides):
    with pytest.raises(InputError, match=r"strides: a block that adds its input needs \(1, 1\), received"):
        block(strides=strides)


@pytest.mark.parametrize("strides", [1, (1, 1), [1, 1]])
def test_res_block_takes_strides_of_1_however_spelt(strides):
    assert block(strides=strides).output_shape == (None, 9, 7, 4)


def test_res_block_refuses_filters_that_differ_from_the_inputs_channels():
    with pytest.raises(InputError, match="filters: expected the input's 4 channels, received 8"):
        res_block(keras.Input((9, 7, 4)), 8)


# InputGradient


def tiny_critic(dtype="float32"):
    inputs = keras.Input((6, 6, 2), dtype=dtype)
    x = layers.Conv2D(4, 3, strides=2, activation="softplus", dtype=dtype, name="conv")(inputs)
    x = layers.Dense(1, dtype=dtype, name="value")(layers.Flatten(dtype=dtype)(x))
    return keras.Model(inputs, x, name="critic")


def finite_differences(critic, images, step=1e-5):
    """Gradient of the critic's value for each image by central differences; give it float64."""
    gradient = np.empty(images.shape)
    for index in np.ndindex(images.shape[1:]):
        change = np.zeros(images.shape[1:])
        change[index] = step
        above, below = (np.array(critic(x))[:, 0] for x in (images + change, images - change))
        gradient[(slice(None), *index)] = (above - below) / (2 * step)
    return gradient


def test_input_gradient_equals_finite_differences(randomised):
    critic = randomised(tiny_critic("float64"))
    images = normal((3, 6, 6, 2)).astype(np.float64)
    gradient = InputGradient(critic, dtype="float64")(images)
    np.testing.assert_allclose(gradient, finite_differences(critic, images), atol=1e-8)


def test_input_gradient_is_float32_of_the_images_shape(randomised):
    critic = randomised(tiny_critic())
    assert InputGradient(critic)(keras.Input((6, 6, 2))).shape == (None, 6, 6, 2)
    gradient = InputGradient(critic)(normal((3, 6, 6, 2)))
    assert gradient.shape == (3, 6, 6, 2)
    assert gradient.dtype == "float32"


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_input_gradient_of_a_map_is_that_of_its_mean_even_where_float16_cannot_hold_it(dtype):
    patches = layers.Conv2D(1, 1, kernel_initializer=keras.initializers.Constant(1e-4), dtype=dtype)
    gradient = input_gradient(lambda images, training: patches(images), tf.zeros((3, 64, 64, 2)))
    assert gradient.dtype == tf.float32
    np.testing.assert_allclose(gradient, np.full((3, 64, 64, 2), 1e-4 / 64**2), rtol=2**-8)


def penalised_critic(critic):
    real, fake, between = (keras.Input((6, 6, 2), name=name) for name in ("real", "fake", "between"))
    gradient = InputGradient(critic, name="gradient")(between)
    model = keras.Model([real, fake, between], [critic(real), critic(fake), gradient])
    model.compile(
        keras.optimizers.Adam(1e-2),
        loss=[wasserstein_loss, wasserstein_loss, gradient_penalty_loss],
        loss_weights=[1, 1, 10],
        jit_compile=False,
    )
    return model


def wgan_batch():
    real, fake = normal((4, 6, 6, 2), 1, 0.1, mean=0.05), normal((4, 6, 6, 2), 2, 0.1, mean=-0.05)
    share = np.random.default_rng(3).random((4, 1, 1, 1), np.float32)
    images = [real, fake, share * real + (1 - share) * fake]
    return images, [np.ones((4, 1), np.float32), -np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)]


def test_the_penalised_loss_of_a_compiled_critic_equals_brute_force(randomised):
    critic = randomised(tiny_critic())
    exact = tiny_critic("float64")
    exact.set_weights([weight.astype(np.float64) for weight in critic.get_weights()])
    (real, fake, between), targets = wgan_batch()
    norms = np.sqrt((finite_differences(exact, between.astype(np.float64)) ** 2).sum((1, 2, 3)))
    expected = (
        np.mean(np.array(exact(real.astype(np.float64))))
        - np.mean(np.array(exact(fake.astype(np.float64))))
        + 10 * np.mean((1 - norms) ** 2)
    )
    found = penalised_critic(critic).train_on_batch([real, fake, between], targets)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_a_penalised_critic_reads_its_weights_before_it_updates_them(randomised):
    model = penalised_critic(randomised(tiny_critic()))
    assert unordered(lambda: model.train_on_batch(*wgan_batch())) == []


def test_a_penalised_critic_learns_to_tell_real_from_fake_with_gradients_of_norm_1(randomised):
    critic = randomised(tiny_critic())
    model = penalised_critic(critic)
    images, targets = wgan_batch()
    losses = [model.train_on_batch(images, targets)[0] for _ in range(150)]
    real, fake, gradient = model.predict_on_batch(images)
    assert losses[-1] < losses[0]
    assert real.mean() < fake.mean()  # the label of real images is +1, and the loss is made small
    norms = np.sqrt((gradient**2).sum((1, 2, 3)))
    np.testing.assert_allclose(norms, 1, atol=0.2)


def test_the_gradient_penalty_moves_the_critics_kernels(randomised):
    critic = randomised(tiny_critic())
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, InputGradient(critic)(inputs))
    model.compile(keras.optimizers.SGD(1e-2), gradient_penalty_loss, jit_compile=False)
    assert {v.path for v in model.trainable_variables} == {v.path for v in critic.trainable_variables}
    critic.get_layer("value").bias.trainable = False  # adds to the value, so the gradient does not depend on it
    before = critic.get_weights()
    model.train_on_batch(normal((4, 6, 6, 2)), np.zeros((4, 1)))
    after = critic.get_weights()
    assert [bool(np.any(old != new)) for old, new in zip(before, after, strict=True)] == [True, True, True, False]


def test_a_model_with_an_input_gradient_loads_in_safe_mode(tmp_path, randomised):
    critic = randomised(tiny_critic())
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, InputGradient(critic, name="gradient")(inputs))
    model.save(tmp_path / "gradient.keras")
    again = keras.saving.load_model(tmp_path / "gradient.keras", safe_mode=True)
    images = normal((2, 6, 6, 2))
    np.testing.assert_array_equal(again(images), model(images))


# The instance normalisation's noted statistics, and dropout that stays on


def noted_by_hand(batches, share=0.1):
    """Moving mean and variance after the batches, in float64."""
    mean, variance = 0.0, 1.0
    for batch in np.asarray(batches, np.float64):
        means = [image.reshape(-1, image.shape[-1]).mean(0) for image in batch]
        variances = [image.reshape(-1, image.shape[-1]).var(0, ddof=1) for image in batch]
        mean = (1 - share) * mean + share * np.mean(means, axis=0)
        variance = (1 - share) * variance + share * np.mean(variances, axis=0)
    return mean, variance


def uneven_batches():
    """Three batches of two images, whose channels have different means and deviations."""
    random = np.random.default_rng(0)
    return random.normal([1, -2, 0.5], [0.5, 2, 0.1], (3, 2, 5, 4, 3)).astype(np.float32)


def test_noted_statistics_are_moving_means_that_are_used_outside_training():
    batches = uneven_batches()
    layer = InstanceNormalization(statistics="noted")
    for batch in batches:
        np.testing.assert_array_equal(layer(batch, training=True), InstanceNormalization()(batch))
    mean, variance = noted_by_hand(batches)
    assert [variable.name for variable in layer.non_trainable_weights] == ["moving_mean", "moving_variance"]
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-5)
    expected = (batches[0] - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(layer(batches[0]), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-5, atol=1e-6)


def test_noted_statistics_are_noted_in_fit_too():
    batches = uneven_batches()
    norm = InstanceNormalization(affine=True, statistics="noted")
    model = keras.Sequential([keras.Input((None, None, 3)), norm])
    model.compile("sgd", "mse", jit_compile=False)
    images = batches.reshape(6, 5, 4, 3)
    model.fit(images, images, batch_size=2, shuffle=False, verbose=0)
    mean, variance = noted_by_hand(batches)
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-5)


def test_a_frozen_instance_normalisation_notes_nothing():
    layer = InstanceNormalization(statistics="noted")
    layer.trainable = False
    batch = uneven_batches()[0]
    np.testing.assert_array_equal(layer(batch, training=True), InstanceNormalization()(batch))
    np.testing.assert_array_equal(layer.moving_mean, 0)
    np.testing.assert_array_equal(layer.moving_variance, 1)


def test_noted_statistics_keep_their_digits_in_half_precision():
    batch = np.repeat(uneven_batches()[:1], 2, axis=0)
    half = InstanceNormalization(statistics="noted", dtype="mixed_bfloat16")
    for images in batch:
        half(images, training=True)
    assert half.moving_mean.dtype == "float32"
    rounded = np.asarray(keras.ops.cast(keras.ops.cast(batch, "bfloat16"), "float32"))
    np.testing.assert_allclose(half.moving_mean, noted_by_hand(rounded)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.torch
def test_noted_statistics_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    module = torch.nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
    layer = InstanceNormalization(affine=True, statistics="noted")
    batches = uneven_batches()
    layer.build(batches[0].shape)
    layer.gamma.assign([1, -2, 0.3])
    layer.beta.assign([0.5, 0, 3])
    with torch.no_grad():
        module.weight.copy_(torch.tensor([1, -2, 0.3]))
        module.bias.copy_(torch.tensor([0.5, 0, 3]))
        for images in batches:
            expected = module(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
            np.testing.assert_allclose(layer(images, training=True), expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(layer.moving_mean, module.running_mean.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(layer.moving_variance, module.running_var.numpy(), rtol=1e-5)
        module.eval()
        expected = module(torch.from_numpy(batches[0].transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(layer(batches[0]), expected, rtol=1e-4, atol=1e-4)


def test_statistics_of_another_kind_are_refused():
    with pytest.raises(InputError, match="statistics: expected 'image' or 'noted', received 'batch'"):
        InstanceNormalization(statistics="batch")


def test_layers_with_these_choices_are_made_again_from_their_config():
    norm = InstanceNormalization(0.5, affine=True, statistics="noted", name="norm", dtype="mixed_bfloat16")
    for layer in (norm, Dropout(0.3, always=True, seed=1)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(again) is type(layer)
        assert again.get_config() == layer.get_config()


def test_dropout_that_stays_on_is_that_of_training():
    images = np.ones((2, 8, 8, 4), np.float32)
    kept = np.asarray(Dropout(0.25, always=True, seed=3)(images))
    np.testing.assert_array_equal(kept, keras.layers.Dropout(0.25, seed=3)(images, training=True))
    assert 0 < (kept == 0).mean() < 0.5
    np.testing.assert_allclose(kept[kept != 0], 1 / 0.75, rtol=1e-6)
    np.testing.assert_array_equal(Dropout(0.25)(images), images)


def test_dropout_draws_anew_with_each_call_and_follows_the_global_seed():
    images = np.ones((1, 8, 8, 4), np.float32)

    def two_calls(seed):
        keras.utils.set_random_seed(seed)
        layer = Dropout(0.5, always=True)
        return np.asarray(layer(images)), np.asarray(layer(images))

    first, second = two_calls(1)
    assert np.any(first != second)
    for drawn, again in zip((first, second), two_calls(1), strict=True):
        np.testing.assert_array_equal(drawn, again)
    assert np.any(two_calls(2)[0] != first)
