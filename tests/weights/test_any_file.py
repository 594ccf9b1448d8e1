"""Weight files written by other programs, through the one door that every command uses.

tf_keras is Keras 2: it writes the files, and computes what the networks in them should give.
"""

import contextlib
import fcntl
import io
import json
import random
import zipfile
from collections import OrderedDict

import h5py
import keras
import numpy as np
import pytest
import tf_keras

from deblurgan.errors import DeblurganError, FileError, InputError, WeightsError
from deblurgan.networks import zoo
from deblurgan.networks.tutorial import discriminator_model, generator_model
from deblurgan.restoring.opening import open_restorer
from deblurgan.restoring.restorer import Restorer
from deblurgan.weights.any_file import convert, load, read
from deblurgan.weights.hdf5 import save_keras2, save_weights
from tests import torch_reference
from tests.batches import run
from tests.cli.program import deblurgan
from tests.faults.mutating import table
from tests.safetensors_files import safetensors
from tests.weights.test_torch_file import Tensor, save, torch_names  # noqa: F401 (fixtures)


class Keras2Padding(tf_keras.layers.Layer):
    def __init__(self, pad=1, **kwargs):
        super().__init__(**kwargs)
        self.pad = pad

    def call(self, x):
        import tensorflow as tf

        return tf.pad(x, [[0, 0], [self.pad, self.pad], [self.pad, self.pad], [0, 0]], "REFLECT")

    def get_config(self):
        return {**super().get_config(), "pad": self.pad}


def keras2_generator(upsampling, *, side=None, ngf=4, n_blocks=2):
    """The tutorial's generator in Keras 2, with a Lambda at its end as there."""
    layers = tf_keras.layers

    def relu(x):
        return layers.Activation("relu")(layers.BatchNormalization()(x))

    inputs = layers.Input((side, side, 3))
    x = relu(layers.Conv2D(ngf, 7)(Keras2Padding(3)(inputs)))
    for n in (2, 4):
        x = relu(layers.Conv2D(n * ngf, 3, strides=2, padding="same")(x))
    for _ in range(n_blocks):
        y = relu(layers.Conv2D(4 * ngf, 3)(Keras2Padding()(x)))
        y = layers.Conv2D(4 * ngf, 3)(Keras2Padding()(layers.Dropout(0.5)(y)))
        x = layers.Add()([x, layers.BatchNormalization()(y)])
    for n in (2, 1):
        if upsampling == "transpose":
            x = layers.Conv2DTranspose(n * ngf, 3, strides=2, padding="same")(x)
        else:
            x = layers.Conv2D(n * ngf, 3, padding="same")(layers.UpSampling2D()(x))
        x = relu(x)
    x = layers.Activation("tanh")(layers.Conv2D(3, 7)(Keras2Padding(3)(x)))
    x = layers.Lambda(lambda z: z / 2)(layers.Add()([x, inputs]))
    return tf_keras.Model(inputs, x, name="Generator")


def keras2_discriminator(side, ndf=4):
    layers = tf_keras.layers
    inputs = layers.Input((side, side, 3))
    x = layers.LeakyReLU(0.2)(layers.Conv2D(ndf, 4, strides=2, padding="same")(inputs))
    for n, strides in ((1, 2), (2, 2), (4, 2), (8, 1)):
        x = layers.Conv2D(n * ndf, 4, strides=strides, padding="same")(x)
        x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x))
    x = layers.Flatten()(layers.Conv2D(1, 4, padding="same")(x))
    x = layers.Dense(1024, activation="tanh")(x)
    return tf_keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x), name="Discriminator")


@pytest.fixture
def keras2_randomised():
    def randomise(model, seed=0):
        random = np.random.default_rng(seed)
        for variable in model.weights:
            shape, name = tuple(variable.shape), variable.name
            if "kernel" in name:
                value = random.normal(scale=np.sqrt(0.7 / np.prod(shape[:-1])), size=shape)
            elif "gamma" in name or "variance" in name:
                value = random.uniform(0.4, 1.6, shape)
            else:
                value = random.normal(scale=0.2, size=shape)
            variable.assign(value)
        return model

    return randomise


@pytest.fixture(scope="module")
def generator(randomised, tmp_path_factory):
    """The file of a small generator, and the generator."""
    model = randomised(generator_model((None, None, 3), ngf=4, n_blocks=1))
    path = tmp_path_factory.mktemp("generator") / "g.weights.h5"
    save_weights(model, path)
    return path, model


def images(side, count=1):
    return np.random.default_rng(1).uniform(-1, 1, (count, side, side, 3)).astype("float32")


@pytest.mark.parametrize("upsampling", ["transpose", "resize"])
@pytest.mark.parametrize("way", ["save_weights", "save"])
def test_a_generator_that_keras_2_wrote_computes_what_it_did(keras2_randomised, tmp_path, upsampling, way):
    keras2_generator(upsampling)  # so that layer numbers do not start at 1
    old = keras2_randomised(keras2_generator(upsampling))
    path = tmp_path / "generator.h5"
    old.save_weights(path) if way == "save_weights" else save_quietly(old, path)
    content = read(path)
    assert content.network == "tutorial generator"
    assert content.format == "HDF5 of Keras 1 or 2, " + ("weights" if way == "save_weights" else "whole model")
    assert content.options == {"ngf": 4, "n_blocks": 2, "upsampling": upsampling}
    assert content.parameters == old.count_params()
    x = images(32, 2)
    np.testing.assert_allclose(run(content.build(), x), old(x, training=False), atol=2e-6)


def save_quietly(model, path):
    with pytest.warns(UserWarning, match="HDF5"):
        model.save(path)


@pytest.mark.parametrize("upsampling", ["transpose", "resize"])
def test_the_real_generator_that_keras_2_wrote_computes_what_it_did(keras2_randomised, tmp_path, upsampling):
    old = keras2_randomised(keras2_generator(upsampling, side=64, ngf=64, n_blocks=9))
    assert old.count_params() == 11_399_171
    old.save_weights(tmp_path / "generator.h5")
    x = images(64)
    restored = run(load(tmp_path / "generator.h5"), x)
    np.testing.assert_allclose(restored, old(x, training=False), atol=2e-5)  # two orders of float32 sums


def test_the_real_discriminator_that_keras_2_wrote_computes_what_it_did_at_256x256(keras2_randomised, tmp_path):
    old = keras2_randomised(keras2_discriminator(256, ndf=64))
    old.save_weights(tmp_path / "discriminator.h5")
    content = read(tmp_path / "discriminator.h5")
    assert content.network == "tutorial discriminator"
    assert content.options == {"image_shape": (256, 256, 3), "ndf": 64, "n_layers": 3}
    x = images(256, 2)
    np.testing.assert_allclose(run(content.build(), x), old(x, training=False), atol=1e-5)


@pytest.mark.parametrize("upsampling", ["transpose", "resize"])
def test_what_we_write_for_old_code_loads_in_keras_2(randomised, tmp_path, upsampling):
    ours = randomised(generator_model((None, None, 3), ngf=4, n_blocks=2, upsampling=upsampling))
    save_keras2(ours, tmp_path / "generator.h5")
    old = keras2_generator(upsampling)
    old.load_weights(tmp_path / "generator.h5")
    x = images(32)
    np.testing.assert_allclose(old(x, training=False), run(ours, x), atol=2e-6)
    with h5py.File(tmp_path / "generator.h5") as file:
        assert file.attrs["keras_version"] == "2.1.3"  # written as bytes, as old code expects
        assert list(file["up1_conv"].attrs["weight_names"]) == [b"up1_conv/kernel:0", b"up1_conv/bias:0"]


@pytest.mark.parametrize("target", ["out.keras", "out.weights.h5", "out.h5", "out.ckpt", "out"])
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_converting_keeps_what_the_network_computes(randomised, tmp_path, target, network):
    build = {
        "generator": lambda: generator_model((32, 32, 3), ngf=4, n_blocks=1),
        "discriminator": tiny_discriminator,
    }
    model = randomised(build[network]())
    save_weights(model, tmp_path / "in.weights.h5")
    assert convert(tmp_path / "in.weights.h5", tmp_path / target).network == f"tutorial {network}"
    x = images(32)
    result = run(load(tmp_path / target), x)
    np.testing.assert_allclose(result, run(model, x), atol=1e-6)
    written = {path.name.removesuffix(".index").removesuffix(".data-00000-of-00001") for path in tmp_path.iterdir()}
    assert written == {"in.weights.h5", target}


def tiny_discriminator():
    return discriminator_model((32, 32, 3), ndf=4)


def test_a_converted_keras_archive_loads_in_safe_mode(generator, tmp_path):
    path, model = generator
    convert(path, tmp_path / "out.keras")
    loaded = keras.saving.load_model(tmp_path / "out.keras", safe_mode=True)
    np.testing.assert_allclose(run(loaded, images(32)), run(model, images(32)), atol=1e-6)


HOSTILE = [
    {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "code"}},
    {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "saved_model"}},
    {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"},
    {"module": "builtins", "class_name": "function", "config": "eval"},
    {"module": "deblurgan.files", "class_name": "copy_file", "config": {}},
    {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
    {"class_name": ["Lambda"], "config": {}},
    {"class_name": "config.set_floatx", "module": "keras", "config": {}},
    {"class_name": "function", "module": "keras", "config": "config.set_floatx"},
]


@pytest.fixture
def archive(tmp_path):
    """A .keras archive of a small NAFNet, and a function that writes it anew with a member changed."""
    path = tmp_path / "n.keras"
    zoo.build_generator("nafnet", {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]}).save(path)

    def change(name, edit):
        with zipfile.ZipFile(path) as file:
            members = {member: file.read(member) for member in file.namelist()}
        members[name] = edit(members[name])
        with zipfile.ZipFile(path, "w") as file:
            for member, content in members.items():
                file.writestr(member, content)

    return path, change


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda layer: str(layer["class_name"]))
def test_a_keras_archive_that_names_more_than_plain_layers_is_refused(archive, hostile, monkeypatch):
    path, change = archive

    def edit(content):
        config = json.loads(content)
        config["config"]["layers"][-1]["config"]["activity_regularizer"] = hostile
        return json.dumps(config)

    assert read(path).network == "NAFNet generator"
    change("config.json", edit)
    monkeypatch.setattr(keras.saving, "load_model", None)  # is not asked
    found = "a list" if isinstance(hostile["class_name"], list) else repr(hostile["class_name"])
    with pytest.raises(FileError, match=rf"n\.keras: expected Keras' plain layers, found {found}"):
        read(path)


def test_a_keras_archive_that_takes_values_from_other_files_is_refused(archive, tmp_path):
    path, change = archive
    (tmp_path / "secret").write_bytes(bytes(1000))

    def edit(content):
        with h5py.File(buffer := io.BytesIO(content), "a") as file:
            file.create_dataset("more", 10, "float32", external=[(tmp_path / "secret", 0, 40)])
        return buffer.getvalue()

    change("model.weights.h5", edit)
    with pytest.raises(FileError, match=r"n\.keras: expected values in the file itself, found that more takes"):
        read(path)


def test_a_keras_archive_whose_network_is_larger_than_its_weights_is_refused(archive):
    path, change = archive

    def edit(content):
        config = json.loads(content)
        kind = {"module": "keras.layers", "class_name": "Conv2D", "registered_name": None}
        convolution = {"filters": 2**20, "kernel_size": 30, "name": "in_conv"}
        config["config"]["layers"][1] |= {**kind, "config": convolution}
        return json.dumps(config)

    change("config.json", edit)
    with pytest.raises(FileError, match=r"n\.keras: .*its network is larger than its weights"):
        read(path)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_keras_archive_that_unpacks_to_very_much_is_refused(member, archive):
    path, _ = archive
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, bytes(2**27))
    with pytest.raises(FileError, match=r"n\.keras: .*made to exhaust the memory|archive without model"):
        read(path)


def test_another_extension_is_refused_and_nothing_is_written(generator, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(FileError, match="there: expected the name of a new folder"):
        convert(generator[0], tmp_path / "there")
    (tmp_path / "there").rmdir()
    with pytest.raises(InputError, match=r"out\.onnx: expected a name ending in \.keras"):
        convert(generator[0], tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "found nothing"),
        (b"", "found an empty file"),
        (b"hello", "it is none of these"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n",
            "found a Git LFS pointer; `git lfs pull`",
        ),
        (b"/annex/objects/SHA256E-s5--1.h5\n", "found a git-annex pointer"),
        (b"\n<!DOCTYPE html>\n<html lang=en>", "found a web page, which a server sent in place of the file"),
    ],
)
def test_what_is_no_weight_file_is_one_clear_line(tmp_path, content, error):
    path = tmp_path / "weights.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=error) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_is_told_from_a_file():
    with pytest.raises(FileError, match=r"^https://host/g\.pth: expected a file, received an address"):
        read("https://host/g.pth")


def test_a_file_is_read_that_others_have_locked(generator):
    with generator[0].open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert read(generator[0]).network == "tutorial generator"


@pytest.mark.parametrize("target", ["a [1]/g.ckpt", "a [1]/g", "*"])
def test_brackets_and_stars_in_a_name_are_no_pattern(generator, tmp_path, target):
    path, model = generator
    (tmp_path / "a [1]").mkdir()
    convert(path, tmp_path / target)
    np.testing.assert_array_equal(load(tmp_path / target)(images(16)), model(images(16)))


def test_a_folder_is_no_weight_file(tmp_path):
    with pytest.raises(FileError, match="found a folder"):
        read(tmp_path)


def test_hdf5_of_another_network_lists_what_was_found(tmp_path):
    other = tf_keras.Sequential([tf_keras.layers.Input((8,)), tf_keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.h5")
    with pytest.raises(WeightsError, match="expected a generator's 6 \\+ 2n convolutions"):
        read(tmp_path / "other.h5")


def test_a_tutorial_generator_restores_in_tiles_and_a_discriminator_does_not_restore(generator, tmp_path):
    assert isinstance(open_restorer(generator[0]), Restorer)
    save_weights(tiny_discriminator(), tmp_path / "d.weights.h5")
    with pytest.raises(WeightsError, match="expected a generator's weights, found those of a tutorial discriminator"):
        open_restorer(tmp_path / "d.weights.h5")


def test_inspect_says_what_a_file_is(generator):
    path, model = generator
    result = deblurgan("inspect", path)
    assert result.exit_code == 0, result.output
    assert f"Keras 3 weights, tutorial generator, {model.count_params():,} values" in result.stdout
    assert "ngf=4, n_blocks=1, upsampling=transpose" in result.stdout
    assert "in_conv/0" in result.stdout
    assert "7x7x3x4" in result.stdout


def test_texts_in_the_place_of_numbers_are_one_clear_line(generator, tmp_path):
    path = tmp_path / "texts.h5"
    convert(generator[0], path)
    with h5py.File(path, "a") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        shape = file[names[0]].shape
        del file[names[0]]
        file[names[0]] = np.full(shape, b"a")
    with pytest.raises(WeightsError, match=r"texts\.h5: expected numbers, found bytes8 in "):
        read(path)


def test_a_name_in_a_file_does_nothing_to_the_terminal(generator, tmp_path):
    path = tmp_path / "names.h5"
    convert(generator[0], path)
    with h5py.File(path, "a") as file:
        first, *others = file.attrs["layer_names"]
        with_weights = next(name for name in (first, *others) if len(file[name].attrs["weight_names"]))
        evil = with_weights + b"\x1b[2J"
        file.move(with_weights, evil)
        file.attrs["layer_names"] = [evil if name == with_weights else name for name in (first, *others)]
    result = deblurgan("inspect", path)
    assert result.exit_code == 0, result.output
    assert "\\x1b[2J" in result.stdout
    assert "\x1b" not in result.output


def test_convert_on_the_command_line(generator, tmp_path):
    result = deblurgan("convert", generator[0], tmp_path / "old.h5")
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "old.h5").format == "HDF5 of Keras 1 or 2, weights"


@pytest.mark.parametrize("command", ["inspect", "deblur"])
def test_a_bad_weight_file_is_one_line_on_the_command_line(tmp_path, command):
    path = tmp_path / "bad.h5"
    path.write_text(json.dumps({"no": "weights"}))
    more = () if command == "inspect" else ("--input_dir", tmp_path, "--output_dir", tmp_path / "out")
    (tmp_path / "picture.png").write_bytes(b"")
    result = deblurgan(command, path) if command == "inspect" else deblurgan(command, "--weight_path", path, *more)
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("Error: ")] == result.stderr.splitlines()[
        -1:
    ]


def test_a_damaged_saved_model_is_one_clear_line(generator, tmp_path):
    convert(generator[0], tmp_path / "saved")
    assert read(tmp_path / "saved").format == "TensorFlow SavedModel"
    (tmp_path / "saved" / "variables" / "variables.index").write_bytes(b"nothing")
    with pytest.raises(FileError, match="saved: not a readable TensorFlow SavedModel") as caught:
        read(tmp_path / "saved")
    assert "\n" not in str(caught.value)


# PyTorch


@pytest.fixture
def save_safetensors(tmp_path):
    """A function that writes a state dict of float32 tensors as safetensors."""

    def saved(state):
        path = tmp_path / "weights.h5"  # the content decides
        path.write_bytes(safetensors({name: np.float32(values) for name, values in state.items()}))
        return path

    return saved


def reference_restoring(network, state, image, multiple, residual):
    """What the float64 reference makes of a uint8 image, padded by reflection to a multiple."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="reflect")
    result = torch_reference.restored(network.load(state), padded[np.newaxis] / 127.5 - 1, residual)
    return np.rint(np.clip(result[0, :height, :width] * 127.5 + 127.5, 0, 255))


@pytest.mark.parametrize("form", ["zip", "old"])
def test_deblurgans_pth_restores_a_picture_as_the_reference_does(save, tmp_path, form):  # noqa: F811
    network = torch_reference.resnet_generator(ngf=4, n_blocks=2)
    state = torch_reference.random_state(network.shapes())
    path = save(OrderedDict((f"module.{name}", Tensor(values)) for name, values in state.items()), form)
    path = path.rename(tmp_path / "g.h5")  # the content decides
    content = read(path)
    assert (content.format, content.network) == ("PyTorch", "DeblurGAN generator")
    image = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    restored = open_restorer(path, precision="float32")(image)
    expected = reference_restoring(network, state, image, 4, residual=True)
    assert restored.shape == image.shape
    assert np.abs(restored - expected).max() <= 1


@pytest.mark.parametrize("residual", [False, True])
def test_safetensors_of_cyclegan_restore_as_the_reference_does(save_safetensors, residual):
    network = torch_reference.resnet_generator(ngf=4, n_blocks=2, dropout=False)
    state = torch_reference.random_state(network.shapes())
    path = save_safetensors(state)
    assert read(path).network == "CycleGAN ResNet generator"
    assert read(path).assumed["residual"] is False
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    restored = open_restorer(path, precision="float32", residual=residual)(image)
    assert np.abs(restored - reference_restoring(network, state, image, 8, residual)).max() <= 1


def test_a_picture_smaller_than_a_unet_needs_is_padded_and_restored(save_safetensors):
    network = torch_reference.unet_generator(ngf=2, num_downs=5)
    state = torch_reference.random_state(network.shapes())
    path = save_safetensors({name: values for name, values in state.items() if not name.endswith("tracked")})
    image = np.random.default_rng(0).integers(0, 256, (9, 50, 3), np.uint8)
    restored = open_restorer(path, precision="float32")(image)
    assert np.abs(restored - reference_restoring(network, state, image, 32, residual=False)).max() <= 1


def test_a_pytorch_network_becomes_a_keras_archive_that_restores_the_same(save_safetensors, tmp_path):
    network = torch_reference.resnet_generator(ngf=4, n_blocks=2)
    path = save_safetensors(torch_reference.random_state(network.shapes()))
    convert(path, tmp_path / "converted.keras", residual=False)
    content = read(tmp_path / "converted.keras")
    assert (content.format, content.network) == ("Keras 3 archive", "DeblurGAN or CycleGAN ResNet generator")
    assert content.is_generator
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    expected = open_restorer(path, precision="float32", residual=False)(image)
    np.testing.assert_array_equal(open_restorer(tmp_path / "converted.keras", precision="float32")(image), expected)
    with pytest.raises(InputError, match=r"out\.h5: expected a name ending in \.keras for a DeblurGAN generator"):
        convert(path, tmp_path / "out.h5")


def test_the_command_line_takes_pytorch_files_and_assumptions(save_safetensors, tmp_path, photos):
    from deblurgan.pictures.reading import read_rgb
    from deblurgan.pictures.writing import write_image

    path = save_safetensors(
        torch_reference.random_state(torch_reference.resnet_generator(ngf=4, n_blocks=2).shapes())
    )
    write_image(tmp_path / "blurred.png", photos[0][:40, :36])
    for out, assumption in (("a", "residual=true"), ("b", "residual=false")):
        options = ("--weight_path", path, "--input_dir", tmp_path / "blurred.png", "--output_dir", tmp_path / out)
        result = deblurgan("deblur", *options, "--assume", assumption)
        assert result.exit_code == 0, result.output
    assert read_rgb(tmp_path / "a" / "blurred.png").shape == (40, 36, 3)
    assert (read_rgb(tmp_path / "a" / "blurred.png") != read_rgb(tmp_path / "b" / "blurred.png")).any()
    assert "assumed (--assume): " in deblurgan("inspect", path).stdout
    result = deblurgan("deblur", *options, "--assume", "ngf=3")
    assert result.exit_code == 1
    assert "ngf: no assumption here; what a DeblurGAN generator leaves open: image_shape, residual" in result.stderr
    assert deblurgan("deblur", *options, "--assume", "nonsense").exit_code == 2


def test_a_state_dict_of_another_network_is_one_line_that_names_the_file(save_safetensors):
    path = save_safetensors({"encoder.weight": np.zeros((2, 3), "float32")})
    with pytest.raises(WeightsError, match=r"weights\.h5: expected the tensors of a DeblurGAN or CycleGAN"):
        read(path)


# The critic of 2018


def test_a_legacy_critic_uses_the_batchs_statistics_while_frozen_and_notes_nothing(randomised):
    legacy, modern = (
        randomised(discriminator_model((32, 32, 3), ndf=4, legacy_batchnorm=flag)) for flag in (True, False)
    )
    x = images(32, 3)
    training = np.asarray(modern(x, training=True))  # the batch's statistics, before anything is frozen
    modern = randomised(discriminator_model((32, 32, 3), ndf=4))
    legacy.trainable = modern.trainable = False
    before = [np.array(weight) for weight in legacy.weights]
    np.testing.assert_allclose(legacy(x, training=True), training, atol=1e-6)
    assert np.abs(np.asarray(modern(x, training=True)) - training).max() > 1e-3
    for weight, old in zip(legacy.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    np.testing.assert_array_equal(legacy(x, training=False), modern(x, training=False))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(randomised, tmp_path, value):
    model = randomised(generator_model(ngf=4, n_blocks=1))
    kernel = model.get_layer("down1_conv").kernel
    kernel.assign(np.where(np.arange(kernel.shape[-1]) == 0, value, np.array(kernel)))
    save_weights(model, tmp_path / "g.weights.h5")
    with pytest.raises(WeightsError, match="expected finite values, found NaN or infinity in down1_conv/0"):
        open_restorer(tmp_path / "g.weights.h5")


def test_a_checkpoint_restores_pictures_and_may_be_named_by_its_index(generator, tmp_path, photos):
    from deblurgan.pictures.writing import write_image

    convert(generator[0], tmp_path / "out.ckpt")
    write_image(tmp_path / "blurred.png", photos[0][:40, :36])
    options = ("--input_dir", tmp_path / "blurred.png", "--output_dir", tmp_path / "restored")
    assert deblurgan("deblur", "--weight_path", tmp_path / "out.ckpt", *options).exit_code == 0
    assert read(tmp_path / "out.ckpt.index").format == "TensorFlow checkpoint"
    data = tmp_path / "out.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:2000])
    with pytest.raises(FileError, match="not a readable TensorFlow checkpoint"):
        read(tmp_path / "out.ckpt")


def test_no_index_of_a_checkpoint_whose_checksums_are_right_ends_the_process(generator, tmp_path):
    convert(generator[0], tmp_path / "g.ckpt")
    index, refused = tmp_path / "g.ckpt.index", 0
    content = index.read_bytes()
    for seed in range(60):
        index.write_bytes(table(content, random.Random(seed)))
        try:
            read(tmp_path / "g.ckpt")
        except DeblurganError:
            refused += 1
    assert refused > 20


def test_a_damaged_archive_is_never_worse_than_a_reported_error(save_safetensors, tmp_path):
    state = torch_reference.random_state(torch_reference.resnet_generator(ngf=2, n_blocks=1).shapes())
    archive = tmp_path / "g.keras"
    convert(save_safetensors(state), archive)
    whole = archive.read_bytes()
    for place in range(5, 400, 36):
        content = bytearray(whole)
        content[-place] ^= 0xFF
        archive.write_bytes(content)
        with contextlib.suppress(FileError, WeightsError):
            read(archive)


@pytest.mark.parametrize(
    "assumption", ["residual=maybe", "residual=3", "dropout=abc", "image_shape=3", "dtype=float16"]
)
def test_assumptions_of_another_type_are_refused(save_safetensors, tmp_path, assumption):
    state = torch_reference.random_state(torch_reference.resnet_generator(ngf=2, n_blocks=1).shapes())
    result = deblurgan("convert", save_safetensors(state), tmp_path / "out.keras", "--assume", assumption)
    assert result.exit_code == (2 if assumption.startswith("dtype") else 1)
    assert "expected" in result.stderr
    assert not (tmp_path / "out.keras").exists()


def test_an_assumption_may_be_spelled_as_python_prints_it(save_safetensors, tmp_path):
    state = torch_reference.random_state(torch_reference.resnet_generator(ngf=2, n_blocks=1).shapes())
    path = save_safetensors(state)
    assert deblurgan("convert", path, tmp_path / "a.keras", "--assume", "residual=False").exit_code == 0
    model = load(tmp_path / "a.keras")
    assert not any(layer.name == "out_add" for layer in model.layers)


def test_a_tutorial_file_leaves_nothing_open(generator, tmp_path):
    result = deblurgan("convert", generator[0], tmp_path / "out.keras", "--assume", "residual=false")
    assert result.exit_code == 1
    assert "residual: no assumption here; what a tutorial generator leaves open: nothing" in result.stderr


@pytest.mark.parametrize("name", ["folder.ckpt", ".keras"])
def test_a_target_that_cannot_be_is_refused(generator, tmp_path, name):
    (tmp_path / "folder.ckpt").mkdir()
    with pytest.raises((FileError, InputError), match="expected"):
        convert(generator[0], tmp_path / name)
