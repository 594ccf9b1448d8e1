"""Checkpoints that TensorFlow's tutorial of pix2pix leaves, written by Keras 2 and by Keras 3."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from deblurgan.errors import FileError, WeightsError
from deblurgan.weights import any_file, checkpoint
from tests import pix2pix_reference
from tests.cli.program import succeeds

SIDE = 32


@pytest.fixture(scope="module", params=[tf_keras, keras], ids=["keras2", "keras3"])
def trained(tmp_path_factory, request):
    """A folder of checkpoints, and the networks in the second and last of them."""
    folder, written_by = tmp_path_factory.mktemp("pix2pix"), request.param
    generator = pix2pix_reference.generator(written_by, SIDE, 4, 5)
    critic = pix2pix_reference.discriminator(written_by, SIDE, 4)
    optimizers = [written_by.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2)]
    for optimizer, network in zip(optimizers, (generator, critic), strict=True):
        optimizer.build(network.trainable_variables)
    checkpoint = tf.train.Checkpoint(
        generator_optimizer=optimizers[0], discriminator_optimizer=optimizers[1],
        generator=generator, discriminator=critic,
    )  # fmt: skip
    random = np.random.default_rng(0)
    for _ in range(2):
        for network in (generator, critic):
            for weight in network.weights:
                if "seed" in weight.name:
                    continue
                value = random.uniform(0.5, 1.5, weight.shape) if "variance" in weight.name else None
                weight.assign(random.normal(0, 0.1, weight.shape) if value is None else value)
        checkpoint.save(str(folder / "ckpt"))
    return folder, generator, critic


def images():
    return np.random.default_rng(1).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["", "ckpt-2", "ckpt-2.index"])
def test_the_generator_is_that_of_the_latest_checkpoint(trained, name):
    folder, generator, _ = trained
    content = any_file.read(folder / name)
    assert content.is_generator
    assert content.assumed["test_statistics"] is True  # the tutorial calls it with training=True
    options = {"ngf": 4, "num_downs": 5, "output_channels": 3, "wiring": "tensorflow", "bottleneck_norm": True}
    assert content.options == options
    for training in (False, True):
        model = content.build(dropout=0.0, test_statistics=training)
        expected = pix2pix_reference.generator(tf_keras, SIDE, 4, 5, dropout=0)
        expected.set_weights([weight.numpy() for weight in generator.weights if "seed" not in weight.name])
        np.testing.assert_allclose(
            np.asarray(model(images())), np.asarray(expected(images(), training=training)), atol=1e-5
        )


def test_inspect_says_what_a_checkpoint_is_and_convert_takes_it(trained, tmp_path):
    folder = trained[0]
    text = succeeds("inspect", folder)
    assert "pix2pix U-Net generator" in text
    assert "(discriminator, discriminator_optimizer, generator, generator_optimizer)" in text
    succeeds("convert", folder / "ckpt-1", tmp_path / "g.weights.h5")
    first, last = any_file.load(tmp_path / "g.weights.h5"), any_file.load(folder)
    assert first.get_config() == last.get_config()
    assert np.abs(np.asarray(first(images())) - np.asarray(last(images()))).max() > 1e-3


def test_a_critic_alone_is_told_as_one(trained, tmp_path):
    _, _, critic = trained
    path = tf.train.Checkpoint(discriminator=critic).write(str(tmp_path / "critic"))
    content = any_file.read(path)
    assert not content.is_generator
    one, other = images(), images()[:, ::-1]
    got = np.asarray(content.build()(np.concatenate([one, other], -1)))
    np.testing.assert_allclose(got, np.asarray(critic([one, other])), atol=1e-5)


def test_without_the_file_checkpoint_the_last_by_number_is_taken(trained, tmp_path):
    for number in (1, 2):
        for suffix in ("index", "data-00000-of-00001"):
            content = (trained[0] / f"ckpt-{number}.{suffix}").read_bytes()
            (tmp_path / f"ckpt-{[9, 10][number - 1]}.{suffix}").write_bytes(content)
    latest, expected = any_file.load(tmp_path), any_file.load(trained[0])
    np.testing.assert_array_equal(np.asarray(latest(images())), np.asarray(expected(images())))
    (tmp_path / "ckpt-10.data-00000-of-00001").unlink()
    with pytest.raises(FileError, match="not a readable TensorFlow checkpoint"):
        any_file.read(tmp_path)


def test_another_network_is_refused(tmp_path):
    dense = tf_keras.Sequential([tf_keras.layers.Input((4,)), tf_keras.layers.Dense(3)])
    path = tf.train.Checkpoint(generator=dense).write(str(tmp_path / "other"))
    with pytest.raises(
        WeightsError, match="expected the generator of TensorFlow's tutorial of pix2pix, found another"
    ):
        any_file.read(path)


def test_a_folder_whose_checkpoint_is_gone_is_told(tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"\n')
    with pytest.raises(FileError, match="expected a TensorFlow checkpoint, found a folder without any"):
        any_file.read(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        ({checkpoint.OBJECTS: 3.0}, r"forged: not a readable TensorFlow checkpoint: expected bytes"),
        ({f"m/layer_with_weights-0/moving_mean{checkpoint.VALUE}": [3.0]}, r"forged: expected a generator's"),
    ],
)
def test_a_forged_checkpoint_is_one_line(tensors, error, tmp_path):
    path, values = str(tmp_path / "forged"), list(map(tf.constant, tensors.values()))
    tf.raw_ops.SaveV2(prefix=path, tensor_names=list(tensors), shape_and_slices=[""], tensors=values)
    with pytest.raises((FileError, WeightsError), match=error):
        any_file.read(path)
