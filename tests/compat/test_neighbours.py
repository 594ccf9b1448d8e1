"""Programs of the tutorials around this one: a configurable GAN, and pix2pix with its notebook's conveniences."""

import struct
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deblurgan import compat
from deblurgan.compat import OldKerasWarning
from tests.compat.old_gan import SOURCE
from tests.compat.test_compat import run_old, write
from tests.gans import KINDS, small

PLAIN = SOURCE.replace("np.prod(self.g_start)", "int(np.prod(self.g_start))").replace("np.array([4, 6])", "[4, 6]")


@pytest.fixture
def absent(monkeypatch):
    """TensorBoard and pydot, which may be installed, are not there."""
    for name in ("tensorboard", "tensorboard.summary"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("keras.src.utils.model_visualization.check_pydot", lambda: False)


def ran(source):
    names = {"__name__": "script"}
    exec(compile(source, "script", "exec", dont_inherit=True), names)
    return names


def test_on_keras_3_alone_the_frozen_discriminator_is_trained_in_the_generators_step():
    moved = ran(PLAIN)["moved"]
    assert all(moved["frozen"])  # this is why the package exists; where it fails, Keras has changed


def test_old_code_of_a_gan_trains_what_it_should(old_keras):
    moved = ran(SOURCE)["moved"]
    assert moved == {"own": [True] * 3, "frozen": [False] * 3, "generator": [True] * 3}


@pytest.mark.parametrize("kind", KINDS)
def test_the_packages_own_gans_train_what_they_should_there_too(old_keras, kind):
    made = small(kind)
    judge = made.discriminator if kind == "gan" else made.critic
    before = judge.get_weights()
    for _ in range(2):
        made.train_generator(4)
        assert all(map(np.array_equal, before, judge.get_weights()))


def test_what_old_code_of_a_gan_saves_is_read_by_the_gan_of_this_package(old_keras, tmp_path):
    from deblurgan.gan import GAN

    forger = ran(SOURCE)["forger"]
    forger.model.save_weights(str(tmp_path / "weights.h5"))
    gan = GAN(
        *((8, 8, 1), [4, 6], [3, 3], [2, 1], 0.9, "relu", 0.2, 0.001),
        *((4, 4, 2), [2, 1], [3, 1], [3, 3], [1, 1], 0.9, "leaky_relu", None, 0.001, "rmsprop", 5),
    )
    # That program normalises after the generator's dense layer alone.
    with pytest.raises(ValueError, match="expected 5 layers with weights for the DCGANGenerator, found 4"):
        gan.load_weights(tmp_path / "weights.h5")
    kept = gan.discriminator.get_weights()
    forger.discriminator.save_weights(str(tmp_path / "discriminator.h5"))
    gan.load_weights(tmp_path / "discriminator.h5")
    assert not any(map(np.array_equal, kept[:1], gan.discriminator.get_weights()[:1]))
    assert all(map(np.array_equal, forger.discriminator.get_weights(), gan.discriminator.get_weights()))


@pytest.mark.parametrize("where", ["keras.layers.merge", "keras.layers"])
def test_a_layer_that_merges_in_its_own_way(old_keras, where):
    names = ran(
        f"from {where} import {'_Merge' if where.endswith('merge') else 'Add as _Merge'}\n"
        "class Between(_Merge):\n"
        "    def _merge_function(self, inputs):\n"
        "        return 0.25 * inputs[0] + 0.75 * inputs[1]\n"
    )
    x = np.ones((2, 3), "float32")
    np.testing.assert_allclose(names["Between"]()([x, 5 * x]), 4 * x)


@pytest.mark.parametrize(
    ("layer", "args", "size"),
    [
        ("Dense", (np.prod((2, 3)),), "units"),
        ("Conv2D", (np.int64(4), np.int32(3)), "filters"),
        ("Reshape", ((np.int64(3), np.int64(2)),), "target_shape"),
    ],
)
def test_sizes_may_be_integers_of_numpy(old_keras, layer, args, size):
    made = getattr(keras.layers, layer)(*args)
    value = made.get_config()[size]
    assert [type(n) for n in (value if isinstance(value, tuple) else [value])] in ([int], [int, int])


def scalars(path):
    """(tag, step, value) of each scalar in a file of events, by its own format."""
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = tf.compat.v1.Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            found.append((value.tag, event.step, float(tf.make_ndarray(value.tensor))))
    return found


def test_scalars_are_written_without_tensorboard(absent, old_keras, tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))

    @tf.function
    def step(loss, epoch):
        with writer.as_default():
            tf.summary.scalar("gen_total_loss", loss, step=epoch)

    for epoch in range(2):
        step(tf.constant(0.5), tf.constant(epoch, tf.int64))
    writer.close()
    assert scalars(next(tmp_path.iterdir())) == [("gen_total_loss", 0, 0.5), ("gen_total_loss", 1, 0.5)]


def test_drawing_a_model_without_graphviz_is_told_and_goes_on(absent, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ImportError, match="pydot"):
        keras.utils.plot_model(model, tmp_path / "m.png")
    compat.install()
    try:
        with pytest.warns(OldKerasWarning, match="plot_model draws nothing here: it needs pydot and Graphviz"):
            assert keras.utils.plot_model(model, tmp_path / "m.png") is None
        assert tf.keras.utils.plot_model(model, to_file=str(tmp_path / "m.png"), show_shapes=True, dpi=64) is None
    finally:
        compat.uninstall()
    assert not list(tmp_path.iterdir())


NOTEBOOK = """
from __future__ import absolute_import, division, print_function, unicode_literals
import tensorflow as tf
from matplotlib import pyplot as plt
from IPython import display
import numpy as np
from PIL import Image

net = tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(np.prod((1, 3)))])
tf.keras.utils.plot_model(net, show_shapes=True, dpi=64)
for epoch in range(2):
    display.clear_output(wait=True)
    plt.figure(figsize=(1, 1))
    plt.imshow(np.full((4, 4), epoch))
    plt.show()
display.display(Image.new('RGB', (3, 2)))
display.display(display.Image(filename='display_1.png'), 'a text')
"""


def test_a_notebooks_program_runs_where_there_is_no_notebook(tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    write(tmp_path, "notebook.py", NOTEBOOK)
    done = run_old("notebook.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "'a text'\n"
    assert {path.name for path in tmp_path.glob("*.png")} - {"model.png"} == {
        *("figure_1.png", "figure_2.png", "display_1.png", "display_2.png")
    }
    assert np.array(Image.open(tmp_path / "figure_2.png")).shape[:2] == (100, 100)
    assert (tmp_path / "display_1.png").read_bytes() == (tmp_path / "display_2.png").read_bytes()
