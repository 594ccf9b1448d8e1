import contextlib
import io
import os
import resource
import struct
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from deblurgan.errors import DeblurganError, FileError, InputError, WeightsError
from deblurgan.networks.tutorial import (
    discriminator_model,
    generator_containing_discriminator_multiple_outputs,
    generator_model,
)
from deblurgan.weights.any_file import load
from deblurgan.weights.hdf5 import LayerWeights, filled, read, save_keras2, save_weights
from deblurgan.weights.labelled import save_network
from deblurgan.weights.tutorial import GeneratorWeights

upsamplings = pytest.mark.parametrize("upsampling", ["transpose", "resize"])
IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 16, 20, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def build(randomised):
    """A function that builds a small generator with random weights."""

    def built(**arguments):
        return randomised(generator_model(**{"image_shape": (16, 20, 3), "ngf": 4, "n_blocks": 2, **arguments}))

    return built


@pytest.fixture(scope="module")
def model(build):
    """One that no test changes."""
    return build()


@pytest.fixture(scope="module")
def resize_model(build):
    """One that no test changes, with the other upsampling."""
    return build(upsampling="resize")


def read_generator(path):
    return GeneratorWeights(str(path), read(path).layers)


def weights_of(model):
    layers = [layer for layer in model.layers if layer.weights]
    return GeneratorWeights(model.name, [LayerWeights(x.name, tuple(x.get_weights())) for x in layers])


def save_as_keras2(model, path, *, whole_model=False, first_number=37):
    """Write the HDF5 that Keras 2.1.3 wrote with `save_weights`, or else with `save`.

    Layers have their default names there, numbered on from `first_number`: whatever was built before in the session.
    """
    kinds = {
        "InputLayer": "input",
        "ReflectionPadding2D": "reflection_padding2d",
        "Conv2D": "conv2d",
        "Conv2DTranspose": "conv2d_transpose",
        "UpSampling2D": "up_sampling2d",
        "BatchNormalization": "batch_normalization",
        "Activation": "activation",
        "Dropout": "dropout",
        "Add": "add",
        "LeakyReLU": "leaky_re_lu",
        "Flatten": "flatten",
        "Dense": "dense",
        "Rescaling": "lambda",
    }
    numbers = dict.fromkeys(kinds.values(), first_number)
    with h5py.File(path, "w") as file:
        root = file
        if whole_model:
            file.attrs["model_config"] = b'{"class_name": "Model", "config": {}}'
            file.attrs["keras_version"] = b"2.1.3"
            file.attrs["backend"] = b"tensorflow"
            root = file.create_group("model_weights")
            optimizer = file.create_group("optimizer_weights")
            optimizer.attrs["weight_names"] = [b"Adam/iterations:0"]
            optimizer.create_dataset("Adam/iterations:0", data=7.0)
        names = []
        for layer in model.layers:
            kind = kinds[type(layer).__name__]
            name = f"{kind}_{numbers[kind]}"
            numbers[kind] += 1
            names.append(name.encode("utf8"))
            group = root.create_group(name)
            weight_names = [f"{name}/{variable.path.split('/')[-1]}:0".encode() for variable in layer.weights]
            group.attrs["weight_names"] = np.array(weight_names)
            for weight_name, variable in zip(weight_names, layer.weights, strict=True):
                group.create_dataset(weight_name, data=np.asarray(variable))
        root.attrs["layer_names"] = np.array(names)
        root.attrs["backend"] = b"tensorflow"
        root.attrs["keras_version"] = b"2.1.3"


def write_as(kind, model, path):
    """Write a file of one of the three kinds."""
    if kind == "keras2":
        save_as_keras2(model, path)
    else:
        (model.save_weights if kind == "weights.h5" else model.save)(path)


KINDS = ["weights.h5", "keras", "keras2"]


def change_tensor(path, key, change):
    """Replace one tensor of an HDF5 file."""
    with h5py.File(path, "r+") as file:
        tensor = file[key][()]
        del file[key]
        file[key] = change(tensor)


# Round trips

SHAPES = [{}, {"ngf": 3, "n_blocks": 1}]


@pytest.mark.parametrize("arguments", SHAPES, ids=str)
@upsamplings
def test_a_generator_survives_a_file(build, tmp_path, upsampling, arguments):
    model = build(upsampling=upsampling, **arguments)
    result = model(IMAGES)
    for kind in ("weights.h5", "keras"):
        path = tmp_path / f"g.{kind}"
        write_as(kind, model, path)
        expected = {"ngf": 4, "n_blocks": 2, "upsampling": upsampling, **arguments}
        assert read_generator(path).hyper_parameters == expected
        loaded = load(path)
        assert loaded.input_shape == (None, None, None, 3)
        np.testing.assert_array_equal(loaded(IMAGES), result)


def test_the_real_generators_hyper_parameters_are_recovered(tmp_path):
    path = tmp_path / "g.weights.h5"
    generator_model(upsampling="resize").save_weights(path)
    assert read_generator(path).hyper_parameters == {"ngf": 64, "n_blocks": 9, "upsampling": "resize"}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_tensors_are_float32_whatever_the_model_computed_in(model, build, tmp_path, policy):
    half = build(dtype=policy)
    for kind in ("weights.h5", "keras"):
        path = tmp_path / f"g.{kind}"
        write_as(kind, half, path)
        weights = read_generator(path)
        entries = [*weights.convs, *weights.norms]
        assert {tensor.dtype for entry in entries for tensor in entry.tensors} == {np.dtype(np.float32)}
        assert sum(tensor.size for entry in entries for tensor in entry.tensors) == half.count_params()
        np.testing.assert_array_equal(load(path, dtype="float32")(IMAGES), model(IMAGES))
        np.testing.assert_array_equal(load(path, dtype=policy)(IMAGES), half(IMAGES))


def test_the_archive_of_a_model_with_an_optimizer_is_read(build, tmp_path):
    model = build()
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "g.keras")
    np.testing.assert_array_equal(load(tmp_path / "g.keras")(IMAGES), model(IMAGES))


def test_a_generator_of_another_number_of_channels_survives_a_file(build, tmp_path):
    model = build(image_shape=(16, 20, 1))
    model.save_weights(tmp_path / "g.weights.h5")
    np.testing.assert_array_equal(load(tmp_path / "g.weights.h5")(IMAGES[..., :1]), model(IMAGES[..., :1]))


def test_weights_can_be_assigned_to_a_model_of_the_same_shape(build, randomised):
    model, other = build(), randomised(build(), seed=1)
    assert np.abs(other(IMAGES) - model(IMAGES)).max() > 0.1
    weights_of(model).assign(other)
    np.testing.assert_array_equal(other(IMAGES), model(IMAGES))


# Keras 2


@pytest.mark.parametrize("whole_model", [False, True], ids=["save_weights", "save"])
@pytest.mark.parametrize("first_number", [1, 8])  # as text, conv2d_10 comes before conv2d_8
@upsamplings
def test_a_keras_2_file_is_read_whatever_its_numbers(
    model, resize_model, tmp_path, upsampling, first_number, whole_model
):
    model = model if upsampling == "transpose" else resize_model
    path = tmp_path / "generator.h5"
    save_as_keras2(model, path, whole_model=whole_model, first_number=first_number)
    weights = read_generator(path)
    assert weights.hyper_parameters == {"ngf": 4, "n_blocks": 2, "upsampling": upsampling}
    assert weights.convs[1].name == f"conv2d_{first_number + 1}"
    np.testing.assert_array_equal(weights.build()(IMAGES), model(IMAGES))


def test_a_keras_2_file_may_order_a_normalisations_tensors_otherwise(model, tmp_path):
    path = tmp_path / "generator.h5"
    save_as_keras2(model, path)
    with h5py.File(path, "r+") as file:
        names = file["batch_normalization_37"].attrs["weight_names"]
        file["batch_normalization_37"].attrs["weight_names"] = names[::-1]
    np.testing.assert_array_equal(load(path)(IMAGES), model(IMAGES))


def test_names_stored_as_text_are_read_too(model, tmp_path):
    path = tmp_path / "generator.h5"
    save_as_keras2(model, path)
    with h5py.File(path, "r+") as file:
        for holder, key in [(file, "layer_names"), *((group, "weight_names") for group in file.values())]:
            names = [name.decode() for name in holder.attrs[key]]
            del holder.attrs[key]
            holder.attrs.create(key, names, dtype=h5py.string_dtype())
    np.testing.assert_array_equal(load(path)(IMAGES), model(IMAGES))


# Errors


def one_line(error, path):
    """The message, which is one line and names the file."""
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    "content", [b"", b"ngf: 64\n", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04 not an archive", bytes(5000)]
)
def test_a_file_of_something_else_is_reported(tmp_path, content):
    path = tmp_path / "g.weights.h5"
    path.write_bytes(content)
    with pytest.raises(FileError) as error:
        read_generator(path)
    expected = "damaged, or not a weight file (" if content else "expected a weight file ("
    assert one_line(error, path).startswith(expected)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_reported(model, tmp_path, kind, share):
    path = tmp_path / f"g.{kind}"
    write_as(kind, model, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(FileError) as error:
        read_generator(path)
    assert one_line(error, path).startswith("damaged, or not a weight file (HDF5 or .keras) (")


def test_an_archive_without_weights_is_reported(tmp_path):
    path = tmp_path / "g.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FileError) as error:
        read_generator(path)
    assert one_line(error, path) == "expected a weight file, found an archive without model.weights.h5"


def test_an_archive_whose_weights_are_not_hdf5_is_reported(tmp_path):
    path = tmp_path / "g.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", "hello")
    with pytest.raises(FileError) as error:
        read_generator(path)
    one_line(error, path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_archive_is_reported(model, tmp_path, compression):
    model.save_weights(tmp_path / "model.weights.h5")
    path = tmp_path / "g.keras"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(FileError) as error:
        read_generator(path)
    one_line(error, path)


def hdf5_of_images(file):
    file["images"] = np.zeros((2, 3))


def hdf5_of_nothing(file):
    pass


def hdf5_with_layers_that_are_numbers(file):
    file["layers"] = np.zeros(3)


def hdf5_with_a_layer_that_is_a_number(file):
    file["layers/conv2d"] = 1.0


def hdf5_with_tensors_of_other_names(file):
    file["layers/conv2d/vars/kernel"] = np.zeros((7, 7, 3, 4))


def hdf5_with_vars_that_are_numbers(file):
    file["layers/conv2d/vars"] = np.zeros((7, 7, 3, 4))


def hdf5_with_model_weights_that_are_numbers(file):
    file["model_weights"] = np.zeros(3)


def hdf5_that_names_layers_it_lacks(file):
    file.attrs["layer_names"] = [b"conv2d_1"]


def hdf5_that_names_tensors_it_lacks(file):
    file.attrs["layer_names"] = [b"conv2d_1"]
    file.create_group("conv2d_1").attrs["weight_names"] = [b"conv2d_1/kernel:0"]


def hdf5_with_layers_without_names_of_tensors(file):
    file.attrs["layer_names"] = [b"conv2d_1"]
    file.create_group("conv2d_1")


def hdf5_with_a_number_for_layer_names(file):
    file.attrs["layer_names"] = 5


def hdf5_with_half_a_normalisation(file):
    file.attrs["layer_names"] = [b"bn"]
    group = file.create_group("bn")
    group.attrs["weight_names"] = [b"bn/gamma:0"]
    group["bn/gamma:0"] = np.zeros(3)


@pytest.mark.parametrize("write", [f for name, f in list(globals().items()) if name.startswith("hdf5_")])
def test_hdf5_of_something_else_is_reported(tmp_path, write):
    path = tmp_path / "something.h5"
    with h5py.File(path, "w") as file:
        write(file)
    with pytest.raises((FileError, WeightsError)) as error:
        read_generator(path)
    assert one_line(error, path).startswith(("expected a", "damaged, or not a weight file"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_discriminators_weights_are_recognised(tmp_path, kind):
    model = discriminator_model((16, 16, 3), ndf=4)
    path = tmp_path / f"d.{kind}"
    write_as(kind, model, path)
    with pytest.raises(WeightsError) as error:
        read_generator(path)
    message = one_line(error, path)
    assert "expected a generator" in message
    assert "found 8 and 4" in message  # 6 convolutions and 2 dense layers
    assert message.endswith("it looks like a discriminator")


def test_the_combined_models_weights_are_not_taken_for_a_generators(model, tmp_path):
    combined = generator_containing_discriminator_multiple_outputs(model, discriminator_model((16, 20, 3), ndf=4))
    path = tmp_path / "d_on_g.weights.h5"
    combined.save_weights(path)
    with pytest.raises(WeightsError, match="expected a generator"):
        read_generator(path)


def test_too_few_layers_are_counted(model, tmp_path):
    path = tmp_path / "g.h5"
    save_as_keras2(model, path)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = [name for name in file.attrs["layer_names"] if name != b"conv2d_40"]
    with pytest.raises(WeightsError) as error:
        read_generator(path)
    assert "(9 blocks: 24 and 23), found 9 and 9" in one_line(error, path)


def test_another_network_with_as_many_layers_is_refused(tmp_path):
    convs = [keras.layers.Conv2D(4, 3, padding="same") for _ in range(8)]
    layers = [layer for conv in convs for layer in (conv, keras.layers.BatchNormalization())][:-1]
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((8, 8, 3)), *layers]).save_weights(path)
    with pytest.raises(WeightsError) as error:
        read_generator(path)
    assert one_line(error, path) == (
        "expected a generator, whose first and last kernels are 7x7, found conv2d (3, 3, 3, 4) and "
        f"{convs[-1].name} (3, 3, 4, 4)"
    ).replace("found conv2d ", f"found {convs[0].name} ")


WRONG = {
    "kernel": (
        "conv2d_40/conv2d_40/kernel:0",
        lambda t: t[:, :, :-1],
        "conv2d_40",
        "3x3x16x16 + 16",
        "3x3x15x16 + 16",
    ),
    "bias": ("conv2d_41/conv2d_41/bias:0", lambda t: t[:-3], "conv2d_41", "3x3x16x16 + 16", "3x3x16x16 + 13"),
    "output": ("conv2d_46/conv2d_46/kernel:0", lambda t: t[..., :1], "conv2d_46", "7x7x4x3 + 3", "7x7x4x1 + 3"),
    "one number for all": (
        "batch_normalization_38/batch_normalization_38/beta:0",
        lambda t: t[:1],
        "batch_normalization_38",
        "8 + 8 + 8 + 8",
        "8 + 1 + 8 + 8",
    ),
    "another rank": (
        "batch_normalization_37/batch_normalization_37/gamma:0",
        lambda t: t[None],
        "batch_normalization_37",
        "4 + 4 + 4 + 4",
        "1x4 + 4 + 4 + 4",
    ),
}


@pytest.mark.parametrize(("key", "change", "layer", "expected", "found"), WRONG.values(), ids=WRONG.keys())
def test_a_tensor_of_a_wrong_shape_is_named_with_both_shapes(
    resize_model, tmp_path, key, change, layer, expected, found
):
    path = tmp_path / "g.h5"
    save_as_keras2(resize_model, path)
    change_tensor(path, key, change)
    weights = read_generator(path)
    with pytest.raises(WeightsError) as error:
        weights.build()
    message = one_line(error, path)
    assert message.startswith(f"layer {layer} does not fit ")
    assert message.endswith(f": expected shapes {expected}, found {found}")


def test_a_convolution_without_bias_is_refused(model, tmp_path):
    path = tmp_path / "g.h5"
    save_as_keras2(model, path)
    with h5py.File(path, "r+") as file:
        file["conv2d_40"].attrs["weight_names"] = [b"conv2d_40/kernel:0"]
    with pytest.raises(WeightsError, match=r"layer conv2d_40 does not fit .*found 3x3x16x16$"):
        read_generator(path).build()


@pytest.mark.parametrize("arguments", [{"n_blocks": 3}, {"ngf": 5}, {"upsampling": "resize"}], ids=str)
def test_weights_do_not_fit_a_model_of_another_shape(build, arguments):
    weights, other = weights_of(build()), build(**arguments)
    with pytest.raises(WeightsError, match=r"Generator: .*expected"):
        weights.assign(other)


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage_is_never_worse_than_a_reported_error(model, tmp_path, kind):
    path = tmp_path / f"g.{kind}"
    write_as(kind, model, path)
    content, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(50):
        damaged = np.frombuffer(content, np.uint8).copy()
        start, length = random.integers(0, min(len(content), 30_000)), random.integers(1, 64)
        damaged[start : start + length] = random.integers(0, 256, len(damaged[start : start + length]))
        path.write_bytes(damaged)
        with contextlib.suppress(DeblurganError):
            read_generator(path)


# Saving


def test_save_weights_writes_what_keras_reads(model, build, tmp_path):
    save_weights(model, tmp_path / "g.weights.h5")
    again = build()
    again.load_weights(tmp_path / "g.weights.h5")
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))
    assert os.listdir(tmp_path) == ["g.weights.h5"]


def test_save_weights_replaces_a_file(model, tmp_path):
    path = tmp_path / "g.weights.h5"
    path.write_text("old")
    save_weights(model, path)
    np.testing.assert_array_equal(load(path)(IMAGES), model(IMAGES))


@pytest.fixture
def nearly_full():
    """A disk that takes 10,000 bytes of a file, within the block."""

    @contextlib.contextmanager
    def limited():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


def label(model, path):
    save_network(model, path, "tutorial", {"ngf": 4, "n_blocks": 1})


@pytest.mark.parametrize("save", [save_weights, save_keras2, label])
def test_a_disk_that_fills_up_leaves_the_old_file_alone(save, model, tmp_path, nearly_full):
    path = tmp_path / "g.weights.h5"
    path.write_text("old")
    with nearly_full(), pytest.raises(FileError, match=r"g\.weights\.h5: cannot be written: File too large"):
        save(model, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["g.weights.h5"]


def test_ctrl_c_leaves_the_old_file_alone(model, tmp_path, monkeypatch):
    path = tmp_path / "g.weights.h5"
    path.write_text("old")

    def broken(self, data):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(KeyboardInterrupt):
        save_weights(model, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["g.weights.h5"]


@pytest.mark.parametrize("name", ["g.h5", "g.keras", "g"])
def test_save_weights_asks_for_its_extension(model, tmp_path, name):
    with pytest.raises(InputError, match=r"expected a name that ends in \.weights\.h5"):
        save_weights(model, tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("way", ["external storage", "external link", "virtual dataset"])
def test_values_from_other_files_are_refused(way, model, tmp_path):
    secret, path, name = tmp_path / "secret.h5", tmp_path / "g.weights.h5", "layers/conv2d/vars/0"
    model.save_weights(path)
    model.save_weights(tmp_path / "secret.weights.h5")
    (tmp_path / "secret.weights.h5").rename(secret)
    with h5py.File(path, "a") as file:
        shape = file[name].shape
        del file[name]
        if way == "external storage":
            file.create_dataset(name, shape, "float32", external=[(secret, 0, 4 * int(np.prod(shape)))])
        elif way == "external link":
            file[name] = h5py.ExternalLink(secret, name)
        else:
            layout = h5py.VirtualLayout(shape, "float32")
            layout[...] = h5py.VirtualSource(secret, name, shape)
            file.create_virtual_dataset(name, layout)
    with pytest.raises(
        FileError, match=r"g\.weights\.h5: expected values in the file itself, found that layers/conv2d/"
    ):
        read(path)


@pytest.mark.parametrize("shape", [(2**40,), (2**20, 2**20)])
def test_values_that_are_claimed_alone_are_refused(shape, model, tmp_path):
    path = tmp_path / "g.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        file.create_dataset("more", shape, "float32", chunks=(256,) * len(shape))
    with pytest.raises(FileError, match=r"g\.weights\.h5: damaged, or made to exhaust the memory"):
        read(path)


def test_groups_in_one_another_without_end_are_refused(tmp_path):
    with h5py.File(tmp_path / "g.weights.h5", "w") as file:
        file.create_group("/".join("a" * 110))
    with pytest.raises(FileError, match=r"g\.weights\.h5: damaged, or made to take for ever: more than 100 groups"):
        read(tmp_path / "g.weights.h5")


def test_names_that_are_no_text_are_damage(model, tmp_path):
    path = tmp_path / "g.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        file.create_group(b"\xff\xfe")
    with pytest.raises(FileError, match=r"g\.weights\.h5: damaged"):
        read(path)


def test_chunks_of_other_dimensions_than_their_values_are_damage(model, tmp_path):
    path = tmp_path / "g.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        file.create_dataset("more", (6, 10), "float32", chunks=(3, 7), data=np.ones((6, 10)))
    content = bytearray(path.read_bytes())
    sizes = content.index(struct.pack("<3I", 3, 7, 4))  # of a chunk and its values, behind how many they are
    content[sizes : sizes + 8] = struct.pack("<2I", 3, 4)
    content[sizes - 9] = 2
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"g\.weights\.h5: damaged: more has 2 dimensions, and chunks of 1"):
        read(path)


def test_two_files_are_filled_in_memory_at_once():
    def outer(file):
        file["outer"] = 1
        inner.append(filled(lambda other: other.create_dataset("inner", data=2)))

    inner = []
    contents = [filled(outer), *inner]
    for content, name in zip(contents, ("outer", "inner"), strict=True):
        with h5py.File(io.BytesIO(content), "r") as file:
            assert list(file) == [name]
