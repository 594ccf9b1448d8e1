"""Weight files of the configurable GAN's old programs, which tf_keras writes here as they did."""

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from deblurgan import cli
from deblurgan.errors import FileError, WeightsError
from deblurgan.weights.any_file import read
from deblurgan.weights.generators import generator_file
from tests.gans import of_keras2, small

NOISE = np.random.default_rng(3).standard_normal((4, 5)).astype("float32")


def written(folder, judge):
    """Each kind of file that the programs leave, and which networks it holds."""
    generator, other, both = of_keras2(judge)
    both.compile("adam", "mse")
    both.save_weights(folder / "weights.h5")
    both.save(folder / "model.h5")
    generator.save_weights(folder / "generator.h5")
    other.save(folder / f"{judge}.h5")
    both.save_weights(folder / "weights-3", save_format="tf")
    generator.save_weights(folder / "alone", save_format="tf")
    optimizer = tf.keras.optimizers.Adam()
    checkpoint = tf.train.Checkpoint(generator_optimizer=optimizer, generator=generator, **{judge: other})
    checkpoint.save(folder / "ckpt")
    files = {name: {"generator", "judge"} for name in ("weights.h5", "model.h5", "weights-3", "ckpt-1")}
    return (
        {**files, "generator.h5": {"generator"}, "alone": {"generator"}, f"{judge}.h5": {"judge"}},
        generator,
        other,
    )


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@pytest.mark.parametrize(("kind", "judge"), [("gan", "discriminator"), ("wgan", "critic")])
def test_old_files_load_and_give_what_they_gave(tmp_path, kind, judge):
    files, generator, other = written(tmp_path, judge)
    pictures = generator.predict(NOISE, verbose=0)
    values = other.predict(pictures, verbose=0)
    for name, holds in files.items():
        made = small(kind)
        first = made.generator.get_weights(), made._judge.get_weights()
        made.load_weights(tmp_path / name)
        if "generator" in holds:
            np.testing.assert_allclose(made.generator(NOISE), pictures, atol=1e-5, err_msg=name)
        else:
            assert all(map(np.array_equal, first[0], made.generator.get_weights()))
        if "judge" in holds:
            np.testing.assert_allclose(made._judge(pictures), values, atol=1e-5, err_msg=name)
        else:
            assert all(map(np.array_equal, first[1], made._judge.get_weights()))


def test_a_checkpoint_of_keras_3_loads(tmp_path):
    made, other = small(), small()
    for weight in (*made.generator.weights, *made.discriminator.weights):
        weight.assign(np.random.default_rng(3).uniform(0.1, 0.5, weight.shape))
    optimizer = made.model.optimizer  # which has the generator's weights, too
    checkpoint = tf.train.Checkpoint(optimizer=optimizer, generator=made.generator, discriminator=made.discriminator)
    other.load_weights(checkpoint.save(tmp_path / "ckpt"))
    for name in ("generator", "discriminator"):
        assert all(map(np.array_equal, getattr(other, name).get_weights(), getattr(made, name).get_weights()))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
def test_inspect_says_what_they_are(tmp_path):
    files, *_ = written(tmp_path, "discriminator")
    kinds = {name: read(tmp_path / name).network for name in files}
    both, one = "configurable GAN's generator and discriminator", "configurable GAN's generator"
    assert kinds == {
        **dict.fromkeys(("weights.h5", "model.h5", "weights-3", "ckpt-1"), both),
        **dict.fromkeys(("generator.h5", "alone"), one),
        "discriminator.h5": "configurable GAN's discriminator",
    }
    done = CliRunner().invoke(cli.main, ["inspect", str(tmp_path / "weights.h5")])
    assert done.exit_code == 0, done.output
    assert f"HDF5 of Keras 1 or 2, weights, {both}" in done.output
    assert "z_dim=5, initial_values=16, generator_conv_kernel_size=[3, 5]" in done.output
    assert "conv_filters=[4, 6]" in done.output
    assert "takes float32 noise" in done.output
    with pytest.raises(WeightsError, match=r"weights\.h5: the file does not tell strides .*, and its load_weights"):
        read(tmp_path / "weights.h5").build()


def test_what_it_saves_loads_again_also_in_tf_keras_and_is_told(tmp_path):
    made = small()
    made.save(tmp_path)
    path = tmp_path / "weights" / "weights.h5"
    again = small(seed=7)
    again.load_weights(path)
    assert all(map(np.array_equal, made.model.get_weights(), again.model.get_weights()))
    generator, _, both = of_keras2()
    both.load_weights(path)
    np.testing.assert_allclose(generator.predict(NOISE, verbose=0), made.generator(NOISE), atol=1e-5)
    assert read(path).network == "configurable GAN's generator and discriminator"

    alone = read(tmp_path / "generator.weights.h5")
    assert alone.network == "DCGAN generator"
    np.testing.assert_array_equal(alone.build()(NOISE), made.generator(NOISE))
    third = small(seed=8)
    third.load_weights(tmp_path / "generator.weights.h5")
    np.testing.assert_array_equal(third.generator(NOISE), made.generator(NOISE))


def test_it_restores_no_pictures(tmp_path):
    small().save(tmp_path)
    for name in ("weights/weights.h5", "generator.weights.h5"):
        with pytest.raises(WeightsError, match=r"expected a generator's weights, found those of a .*generator"):
            generator_file(tmp_path / name)


def test_other_networks_files_and_damaged_ones_are_refused(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99)
    (tmp_path / "c.index").write_bytes(b"x" * 99)
    for name in ("x.h5", "c", "nothing.h5"):
        with pytest.raises(FileError, match=name):
            small().load_weights(tmp_path / name)
    tf.train.Checkpoint(v=tf.Variable(1.0)).save(tmp_path / "v")
    with pytest.raises(
        WeightsError, match="v-1: expected the weights of a configurable GAN, found another network's"
    ):
        small().load_weights(tmp_path / "v-1")
