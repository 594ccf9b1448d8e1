"""The configurable GAN, WGAN and WGAN-GP, against restatements of their steps in plain TensorFlow and NumPy."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deblurgan import gan as module
from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.gan import GAN
from tests.gans import JUDGE, KINDS, pictures, small
from tests.ordering import unordered

each_kind = pytest.mark.parametrize("kind", KINDS)
BATCH = 4


def judge_of(made):
    return made.discriminator if isinstance(made, GAN) else made.critic


def draws(made):
    """What the object draws next, from a generator in the same state: noise, choices, uniform."""
    twin = np.random.default_rng()
    twin.bit_generator.state = made._random.bit_generator.state
    return twin


def weights_of(model):
    return [np.array(w) for w in model.weights]


def moved(model, action):
    """Which weights of `model` the action changes, by name."""
    before = weights_of(model)
    action()
    return {w.path: bool(np.any(a != np.array(w))) for w, a in zip(model.weights, before, strict=True)}


def adam_step(values, gradients, rate):
    """The first step of Adam with beta_1 0.5."""
    return [
        v - rate * (np.sqrt(1 - 0.999) / 0.5) * (0.5 * g) / (np.sqrt(0.001 * g**2) + 1e-7)
        for v, g in zip(values, gradients, strict=True)
    ]


def cross_entropy(p, label):
    return -np.mean(np.log(p if label else 1 - p))


# Building


def test_importing_the_module_does_not_import_keras():
    code = "import sys, deblurgan.gan; assert not {'keras', 'tensorflow'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_the_call_of_the_text_builds_the_networks_of_the_text():
    gan = GAN(
        input_dim=(28, 28, 1),
        discriminator_conv_filters=[64, 64, 128, 128],
        discriminator_conv_kernel_size=[5, 5, 5, 5],
        discriminator_conv_strides=[2, 2, 2, 1],
        discriminator_batch_norm_momentum=None,
        discriminator_activation="relu",
        discriminator_dropout_rate=0.4,
        discriminator_learning_rate=0.0008,
        generator_initial_dense_layer_size=(7, 7, 64),
        generator_upsample=[2, 2, 1, 1],
        generator_conv_filters=[128, 64, 64, 1],
        generator_conv_kernel_size=[5, 5, 5, 5],
        generator_conv_strides=[1, 1, 1, 1],
        generator_batch_norm_momentum=0.9,
        generator_activation="relu",
        generator_dropout_rate=None,
        generator_learning_rate=0.0004,
        optimiser="rmsprop",
        z_dim=100,
    )
    assert (gan.discriminator.count_params(), gan.generator.count_params()) == (720_833, 844_161)
    assert (gan.epoch, gan.d_losses, gan.g_losses) == (0, [], [])
    rates = [float(model.optimizer.learning_rate) for model in (gan.discriminator, gan.model)]
    assert rates == [pytest.approx(0.0008), pytest.approx(0.0004)]
    assert isinstance(gan.model.optimizer, keras.optimizers.RMSprop)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (
            "gan",
            {"conv_strides": [2]},
            r"discriminator_conv_strides: expected 2 values, one for each of conv_filters",
        ),
        ("wgan", {"conv_kernel_size": [2]}, r"critic_conv_kernel_size: expected 2 values"),
        ("gan", {"generator_upsample": [2]}, "generator_upsample: expected 2 values"),
        ("gan", {"generator_conv_strides": [2, 1]}, r"generator_conv_strides: expected 1 where upsample is 2"),
        ("gan", {"generator_conv_strides": [1, 0]}, "generator_conv_strides: expected an int of at least 1"),
        (
            "gan",
            {"generator_conv_strides": [1, 1]},
            r"input_dim: expected \(4, 4, 1\), which generator_initial.* make, received \(8, 8, 1\)",
        ),
        ("gan", {"input_dim": (8, None, 1)}, "input_dim: the dense layer needs a known height and width"),
        ("wgan", {"activation": "reluu"}, "critic_activation: expected a name that Keras knows, received 'reluu'"),
        ("gan", {"optimiser": "rmsporp"}, "optimiser: expected 'adam' or 'rmsprop', .*; did you mean rmsprop"),
        ("gan", {"learning_rate": 0}, "discriminator_learning_rate: expected a number above 0, received 0"),
        ("gan", {"z_dim": 0}, "z_dim: expected an int of at least 1, received 0"),
        ("wgan", {"n_critic": 0}, "n_critic: expected an int of at least 1, received 0"),
        ("wgan", {"clip_threshold": -0.01}, "clip_threshold: expected a number above 0, received -0.01"),
        ("wgan-gp", {"grad_weight": "10"}, "grad_weight: expected a number above 0, received '10'"),
    ],
)
def test_what_makes_no_gan_is_an_error_that_names_the_argument(kind, arguments, message):
    with pytest.raises(InputError, match=f"^{message}"):
        small(kind, **arguments)


def test_numbers_and_arrays_of_numpy_are_arguments_and_are_saved(tmp_path):
    gan = small(
        z_dim=np.int64(5),
        conv_filters=np.array([4, 6]),
        conv_strides=[np.int32(2), 1],
        generator_initial_dense_layer_size=tuple(np.array([2, 2, 4])),
        learning_rate=np.float64(0.002),
    )
    gan.save(tmp_path)
    assert module.load(tmp_path).arguments == json.loads(json.dumps(small().arguments))


# One step


@each_kind
def test_weights_are_read_before_they_are_updated(kind):
    tf.config.optimizer.set_experimental_options({"dependency_optimization": True})  # as TensorFlow starts
    made = small(kind)
    train = made.train_discriminator if kind == "gan" else made.train_critic
    assert unordered(lambda: train(pictures(), BATCH)) == []
    assert unordered(lambda: made.train_generator(BATCH)) == []


def test_the_discriminator_is_trained_on_real_and_then_on_generated_pictures():
    gan, real = small(), pictures()
    draw = draws(gan)
    chosen = real[draw.integers(0, len(real), BATCH)]
    fake = gan.generator(draw.standard_normal((BATCH, 5), np.float32), training=False)
    values = gan.train_discriminator(real, BATCH)

    twin = small()
    twin_d = twin.discriminator
    twin_d.set_weights(small_start(gan))
    expected = []
    optimizer = keras.optimizers.Adam(0.002, beta_1=0.5)
    for images, label in ((chosen, 1), (fake, 0)):
        with tf.GradientTape() as tape:
            p = twin_d(images, training=True)
            loss = -tf.reduce_mean(tf.math.log(p if label else 1 - p))
        expected.append((float(loss), np.mean((np.array(p) > 0.5) == label)))
        optimizer.apply(tape.gradient(loss, twin_d.trainable_variables), twin_d.trainable_variables)
    (loss_real, acc_real), (loss_fake, acc_fake) = expected
    mean = [(loss_real + loss_fake) / 2, (acc_real + acc_fake) / 2]
    np.testing.assert_allclose(
        values, [mean[0], loss_real, loss_fake, mean[1], acc_real, acc_fake], rtol=1e-4, atol=1e-6
    )
    for mine, theirs in zip(gan.discriminator.weights, twin_d.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)


def small_start(gan):
    return gan.start


@pytest.fixture(autouse=True)
def remembered(monkeypatch):
    """Objects remember the weights that their judges start with."""
    original = module._Adversaries._set_up

    def set_up(self, arguments):
        original(self, arguments)
        self.start = self._judge.get_weights()
        self.first = self.generator.get_weights()

    monkeypatch.setattr(module._Adversaries, "_set_up", set_up)


@each_kind
def test_the_generator_learns_to_be_taken_for_real_and_the_judge_stays(kind):
    made = small(kind)
    noise = draws(made).standard_normal((BATCH, 5), np.float32)
    with tf.GradientTape() as tape:
        values = judge_of(made)(made.generator(noise, training=True), training=False)
        loss = -tf.reduce_mean(tf.math.log(values) if kind == "gan" else values)
    gradients = [np.array(g) for g in tape.gradient(loss, made.generator.trainable_variables)]
    expected = adam_step([np.array(v) for v in made.generator.trainable_variables], gradients, 0.001)
    made.generator.set_weights(made.first)  # the call above noted statistics

    returned = None

    def step():
        nonlocal returned
        returned = made.train_generator(BATCH)

    assert not any(moved(judge_of(made), step).values())
    assert all(np.any(np.array(w) != a) for w, a in zip(made.generator.weights, made.first, strict=True))
    first = returned[0] if kind == "gan" else returned
    assert first == pytest.approx(float(loss), rel=1e-4)
    if kind == "gan":
        assert returned[1] == np.mean(np.array(values) > 0.5)
    for mine, other, gradient in zip(made.generator.trainable_variables, expected, gradients, strict=True):
        sure = np.abs(gradient) > 1e-6  # smaller ones are float32's noise, of which Adam makes whole steps
        np.testing.assert_allclose(np.array(mine)[sure], other[sure], atol=2e-5)


@each_kind
def test_the_judge_learns_after_the_generator_did_and_the_generator_stays(kind):
    made = small(kind)
    train = made.train_discriminator if kind == "gan" else made.train_critic
    for _ in range(2):
        made.train_generator(BATCH)
        found = moved(judge_of(made), lambda: train(pictures(), BATCH))
        if kind == "wgan-gp":  # whose loss the last bias does not change
            del found["discriminator_decision/bias"]
        assert all(found.values())
        assert not any(moved(made.generator, lambda: train(pictures(), BATCH)).values())


def test_a_wasserstein_critic_is_told_apart_by_its_mean_values_and_clipped():
    wgan, real = small("wgan", batch_norm_momentum=0.5, clip_threshold=0.011), pictures()
    draw = draws(wgan)
    chosen = real[draw.integers(0, len(real), BATCH)]
    with_statistics = wgan.critic(chosen, training=True)
    wgan.critic.set_weights(wgan.start)
    loss, of_real, of_fake = wgan.train_critic(real, BATCH)
    assert of_real == pytest.approx(-float(np.mean(with_statistics)), rel=1e-4, abs=1e-7)
    assert loss == pytest.approx((of_real + of_fake) / 2)
    assert max(float(np.abs(w).max()) for w in wgan.critic.trainable_variables) == pytest.approx(0.011)
    variance = next(w for w in wgan.critic.weights if "moving_variance" in w.path)
    assert float(np.min(variance)) > 0.1  # noted, not clipped
    wgan.train_critic(real, BATCH, 0.001)
    assert max(float(np.abs(w).max()) for w in wgan.critic.trainable_variables) == pytest.approx(0.001)


def test_the_penalty_is_that_of_each_pictures_whole_gradient_at_its_own_place_between():
    made, real = small("wgan-gp"), pictures()
    draw = draws(made)
    chosen = real[draw.integers(0, len(real), BATCH)]
    fake = np.array(made.generator(draw.standard_normal((BATCH, 5), np.float32), training=False))
    alpha = draw.uniform(size=(BATCH, 1, 1, 1)).astype(np.float32)
    norms = []
    for i in range(BATCH):  # one at a time, so that nothing can be shared
        between = tf.constant(alpha[i] * chosen[i : i + 1] + (1 - alpha[i]) * fake[i : i + 1])
        with tf.GradientTape() as tape:
            tape.watch(between)
            value = made.critic(between)[0, 0]
        norms.append(np.linalg.norm(np.array(tape.gradient(value, between)).ravel()))
    of_real, of_fake = (float(np.mean(made.critic(x))) for x in (chosen, fake))
    penalty = np.mean((np.array(norms) - 1) ** 2)
    values = made.train_critic(real, BATCH)
    expected = [of_fake - of_real + 10 * penalty, -of_real, of_fake, penalty]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


# Data


def test_a_generator_of_batches_is_asked_again_after_a_short_one():
    gan, real = small(), pictures(4)
    gan.train_discriminator(iter([(real[:3], "labels"), (real, "labels")]), BATCH, using_generator=True)
    with pytest.raises(InputError, match="x_train: expected batches of 4, received 3 pictures twice"):
        gan.train_discriminator(iter([(real[:3],)] * 2), BATCH, True)
    with pytest.raises(InputError, match="x_train: expected an iterator that goes on for ever"):
        gan.train_discriminator(iter([(real[:3],)]), BATCH, True)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"x_train: expected pictures of input_dim \(8, 8, 1\), received an array"):
        small().train_discriminator(np.zeros((5, 8, 9, 1)), BATCH)


@pytest.mark.parametrize("batch_size", [0, 4.0])
def test_a_batch_size_that_is_none_is_refused(batch_size, tmp_path):
    gan = small()
    with pytest.raises(InputError, match="epochs: expected an int of at least 0, received -1"):
        gan.train(pictures(), BATCH, -1, tmp_path)
    for step in (lambda: gan.train_generator(batch_size), lambda: gan.train_discriminator(pictures(), batch_size)):
        with pytest.raises(InputError, match="batch_size: expected an int of at least 1"):
            step()
    gan.train_discriminator(list(pictures()), np.int64(BATCH))  # these are fine


def test_pictures_that_were_not_brought_to_the_range_of_tanh_are_refused():
    with pytest.raises(InputError, match=r"x_train: expected values in \[-1, 1\], received uint8"):
        small().train_discriminator(np.full((5, 8, 8, 1), 200, np.uint8), BATCH)


# Training, files


LINES = {
    "gan": r"[D loss: \(N\)\(R N, F N\)] [D acc: \(N\)\(N, N\)] [G loss: N] [G acc: N]",
    "wgan": r"[D loss: \(N\)\(R N, F N\)] [G loss: N]",
    "wgan-gp": r"\(2, 1\) [D loss: \(N\)\(R N, F N, G N\)] [G loss: N]",
}


@each_kind
def test_training_goes_on_from_its_epoch_prints_a_line_each_and_saves(kind, tmp_path, capsys):
    made = small(kind, **({} if kind == "gan" else {"n_critic": 2}))
    updates = 2 if kind == "gan" else {"wgan": 4, "wgan-gp": 2}[kind]  # of the judge, for each of the generator
    made.train(pictures(), BATCH, 3, tmp_path, 2)
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == [
        *("weights-0.h5", "weights-2.h5", "weights.h5")
    ]
    made.train(pictures(), BATCH, 2, tmp_path, print_every_n_batches=2)
    assert (made.epoch, len(made.d_losses), len(made.g_losses)) == (5, 5, 5)
    assert int(made.model.optimizer.iterations) == 5
    assert int(judge_of(made).optimizer.iterations) == 5 * updates
    pattern = LINES[kind].replace("[", r"\[").replace("N", r"-?\d+\.\d+")
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[0]) for line in lines] == [0, 1, 2, 3, 4]
    assert all(re.fullmatch(rf"\d {pattern}", line) for line in lines), lines
    assert sorted(os.listdir(tmp_path / "images")) == ["sample_0.png", "sample_2.png", "sample_4.png"]
    assert not list(tmp_path.rglob("*.pkl"))


@each_kind
def test_what_is_saved_is_loaded_with_networks_losses_and_epoch(kind, tmp_path):
    made = small(kind)
    made.train(pictures(), BATCH, 1, tmp_path, report=lambda line: None)
    made.save(tmp_path)
    again = module.load(tmp_path)
    assert type(again) is type(made)
    assert (again.epoch, again.d_losses, again.g_losses) == (1, made.d_losses, made.g_losses)
    for mine, theirs in zip(made.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert json.loads((tmp_path / "params.json").read_text())["arguments"]["generator_conv_filters"] == [6, 1]


@pytest.mark.parametrize("content", [None, "{", '{"class": "os.system"}', '{"class": "GAN", "arguments": {"x": 1}}'])
def test_what_save_did_not_write_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "params.json").write_text(content)
    with pytest.raises(FileError, match=r"params\.json: "):
        module.load(tmp_path)


def test_weights_of_another_gan_are_refused_and_change_nothing(tmp_path):
    small(conv_filters=[5, 6]).save(tmp_path)
    gan = small()
    with pytest.raises(WeightsError, match=r"weights\.h5: layer discriminator_conv_0 does not fit .* 3x3x1x4"):
        gan.load_weights(tmp_path / "weights" / "weights.h5")
    for mine, first in zip(gan.generator.get_weights(), gan.first, strict=True):
        np.testing.assert_array_equal(mine, first)


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_are_25_pictures_of_the_generator(tmp_path, channels):
    gan = small(
        input_dim=(8, 8, channels), generator_conv_filters=[6, channels], conv_filters=[4, 6], activation="relu"
    )
    noise = draws(gan).standard_normal((25, 5), np.float32)
    expected = np.array(gan.generator(noise, training=False))
    path = gan.sample_images(tmp_path)
    assert path == tmp_path / "images" / "sample_0.png"
    shown = np.array(Image.open(path))
    assert shown.shape == (5 * 60, 5 * 60, 3)  # 8 pixels, each 7 wide, in white
    seventh = shown[62 : 62 + 56 : 7, 62 : 62 + 56 : 7]  # second row, second column
    np.testing.assert_allclose(seventh, np.broadcast_to((expected[6] + 1) * 127.5, (8, 8, 3)), atol=0.51)


@each_kind
def test_both_networks_are_drawn_into_viz(tmp_path, kind):
    made = small(kind)
    made.plot_model(tmp_path)
    heights = {path.stem: len(np.array(Image.open(path))) for path in (tmp_path / "viz").iterdir()}
    judge = "discriminator" if kind == "gan" else "critic"
    assert heights.keys() == {"generator", judge}
    assert heights["generator"] > heights[judge]  # it has more layers


def test_arguments_of_the_judge_have_the_names_of_each_class():
    assert {name for name in small("wgan").arguments if name.startswith("critic_")} == {f"critic_{n}" for n in JUDGE}
