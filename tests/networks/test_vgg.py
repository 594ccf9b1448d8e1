import h5py
import keras
import numpy as np
import pytest

from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.networks import vgg
from deblurgan.networks.vgg import vgg16_block3_conv3, vgg19_block3_conv3, vgg_weights
from tests import reference

# The features


@pytest.mark.parametrize("imagenet_preprocessing", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (23, 18), (4, 5)])
def test_vgg16_features_equal_the_reference(size, imagenet_preprocessing, crops, vgg16):
    images = crops[1][:, : size[0], : size[1]]
    expected = reference.vgg16_block3_conv3(images, vgg16, imagenet_preprocessing)
    assert expected.shape == (2, size[0] // 4, size[1] // 4, 256)
    features = vgg16_block3_conv3(images, imagenet_preprocessing=imagenet_preprocessing)
    assert features.dtype == "float32"
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("imagenet_preprocessing", [False, True])
def test_vgg19_features_equal_the_reference_and_are_those_before_the_relu(
    imagenet_preprocessing, crops, vgg19, vgg19_file
):
    expected = reference.vgg19_block3_conv3(crops[1], vgg19, imagenet_preprocessing)
    assert 0.2 < np.mean(expected < 0) < 0.8
    features = vgg19_block3_conv3(crops[1], weights=vgg19_file, imagenet_preprocessing=imagenet_preprocessing)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * expected.max())


def test_vgg16_takes_weights_from_a_file_too(crops, vgg19, vgg19_file):
    expected = reference.vgg16_block3_conv3(crops[1], vgg19)
    features = vgg16_block3_conv3(crops[1], weights=vgg19_file)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * expected.max())


def test_features_are_computed_in_the_given_dtype(crops, vgg19_file):
    assert vgg16_block3_conv3(crops[0], dtype="bfloat16").dtype == "bfloat16"
    assert vgg19_block3_conv3(crops[0], weights=vgg19_file, dtype="float16").dtype == "float16"


def test_features_are_computed_in_the_global_policys_dtype_where_none_is_given(crops):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert vgg16_block3_conv3(crops[0]).dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
    assert vgg16_block3_conv3(crops[0]).dtype == "float32"


# The shipped weights are the real ones


def test_the_shipped_weights_have_the_shapes_of_vgg16(vgg16):
    channels = [3, 64, 64, 128, 128, 256, 256]
    expected = {}
    for name, inputs, outputs in zip(vgg.VGG16_LAYERS, channels, [*channels[1:], 256], strict=True):
        expected[f"{name}/kernel"] = (3, 3, inputs, outputs)
        expected[f"{name}/bias"] = (outputs,)
    assert {name: array.shape for name, array in vgg16.items()} == expected
    assert {array.dtype for array in vgg16.values()} == {np.dtype(np.float32)}
    assert sum(array.size for array in vgg16.values()) == 1_735_488


def test_the_shipped_weights_begin_as_those_trained_on_imagenet_do(vgg16):
    """The numbers that `keras.applications.VGG16().get_weights()` prints first."""
    expected = [
        [0.42947057, 0.11727387, 0.03401296],
        [0.55037946, 0.02087744, 0.09883115],
        [0.4800154, -0.17269668, 0.03755771],
    ]
    np.testing.assert_allclose(vgg16["block1_conv1/kernel"][0, 0, :, :3], expected, atol=1e-8)


def test_the_shipped_weights_find_much_and_different_things_in_a_photo(crops):
    features = np.array(vgg16_block3_conv3(crops[1], imagenet_preprocessing=True)).reshape(-1, 256)
    assert np.all(features.max(axis=0) > 0)  # no channel sees nothing
    assert 0.2 < np.mean(features > 0) < 0.6  # and a position shows a part of them
    assert np.abs(np.corrcoef(features.T)).mean() < 0.2


# Weight files


def keras_model(weights):
    """VGG's first layers and one more, which readers have to pass over."""
    x = inputs = keras.Input((None, None, 3))
    for name in vgg.VGG16_LAYERS:
        x = keras.layers.Conv2D(len(weights[f"{name}/bias"]), 3, padding="same", name=name)(x)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="block3_conv4")(x))
    for name in vgg.VGG16_LAYERS:
        model.get_layer(name).set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
    return model


def write_npz(path, weights):
    np.savez(path, **weights, others=np.zeros(3))


def write_keras1(path, weights):
    """As the file that `keras.applications` downloads is laid out."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_2", *(name.encode() for name in vgg.VGG16_LAYERS), b"block3_conv4"]
        file.create_group("input_2")
        for name in vgg.VGG16_LAYERS:
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}_W_1:0".encode(), f"{name}_b_1:0".encode()]
            group[f"{name}_W_1:0"], group[f"{name}_b_1:0"] = weights[f"{name}/kernel"], weights[f"{name}/bias"]
        file["block3_conv4/block3_conv4_W_1:0"] = np.zeros((3, 3, 256, 256), np.float32)


def write_keras3(path, weights):
    keras_model(weights).save_weights(path)


def write_whole_model(path, weights):
    """With the slots of Keras 2's optimizer, which are named after the layers as well."""
    keras_model(weights).save(path)
    with h5py.File(path, "a") as file:
        for tensor, value in weights.items():
            file[f"optimizer_weights/training/Adam/{tensor}/m:0"] = np.zeros_like(value)


WRITERS = {
    "vgg.npz": write_npz,
    "notop.h5": write_keras1,
    "vgg.weights.h5": write_keras3,
    "vgg.h5": write_whole_model,
}


@pytest.mark.parametrize("name", WRITERS)
def test_weights_are_read_from_files_of_every_kind(name, tmp_path, vgg19):
    WRITERS[name](tmp_path / name, vgg19)
    found = vgg_weights("vgg19", tmp_path / name)
    assert set(found) == set(vgg19)
    for tensor, expected in vgg19.items():
        assert found[tensor].dtype == np.float32
        np.testing.assert_array_equal(found[tensor], expected)


def test_a_file_is_read_once(tmp_path, vgg19):
    write_npz(tmp_path / "vgg.npz", vgg19)
    first = vgg_weights("vgg19", tmp_path / "vgg.npz")
    (tmp_path / "vgg.npz").unlink()
    assert vgg_weights("vgg19", str(tmp_path / "vgg.npz")) is first


@pytest.mark.parametrize("write", [write_npz, write_keras1])
def test_a_file_without_a_tensor_is_refused_with_what_was_expected(write, tmp_path, vgg19):
    path = tmp_path / "other"
    with path.open("wb") as file:
        write(file, vgg19 | {"block2_conv1/kernel": np.zeros((3, 3, 64, 64), np.float32)})
    message = r"other: expected VGG's tensor block2_conv1/kernel of shape \(3, 3, 64, 128\), found one of shape"
    with pytest.raises(WeightsError, match=message):
        vgg_weights("vgg19", path)


def test_a_file_of_something_else_is_refused_with_what_was_expected(tmp_path):
    np.savez(tmp_path / "other.npz", kernel=np.zeros((3, 3, 3, 64)))
    with pytest.raises(WeightsError, match=r"block1_conv1/kernel of shape \(3, 3, 3, 64\), found none"):
        vgg_weights("vgg19", tmp_path / "other.npz")


@pytest.mark.parametrize(
    "content", [b"", b"no weights", b"PK\x05\x06" + bytes(18) + b"x", b"\x89HDF\r\n\x1a\n" + bytes(64)]
)
def test_a_file_of_no_weights_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises((FileError, WeightsError), match="VGG's") as caught:
        vgg_weights("vgg19", tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_objects_in_a_file_are_not_unpickled(tmp_path, vgg19):
    np.savez(tmp_path / "vgg.npz", **vgg19 | {"block1_conv1/kernel": np.array([{}], object)})
    with pytest.raises(FileError, match="not a file with VGG's weights"):
        vgg_weights("vgg19", tmp_path / "vgg.npz")


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"none\.npz: expected a file with VGG's weights .* found nothing"):
        vgg_weights("vgg19", tmp_path / "none.npz")
    with pytest.raises(FileError, match="found a folder"):
        vgg_weights("vgg16", tmp_path)


def test_another_network_is_refused():
    with pytest.raises(InputError, match="network: expected 'vgg16' or 'vgg19', received 'vgg11'"):
        vgg_weights("vgg11")


# The download


@pytest.fixture
def _nothing_downloaded():
    vgg._downloaded_vgg19.cache_clear()
    yield
    vgg._downloaded_vgg19.cache_clear()


@pytest.mark.usefixtures("_nothing_downloaded")
def test_vgg19_is_downloaded_once_and_only_where_no_file_is_given(monkeypatch, vgg19, vgg19_file):
    from keras.src.applications import vgg19 as published

    asked = []
    monkeypatch.setattr(keras.utils, "get_file", lambda *args, **kwargs: asked.append((args, kwargs)) or vgg19_file)
    vgg_weights("vgg19", vgg19_file)
    vgg_weights("vgg16")
    assert not asked
    for _ in range(2):
        assert set(vgg_weights("vgg19")) == set(vgg19)
    ((name, url), options) = asked.pop()
    assert not asked
    assert url == published.WEIGHTS_PATH_NO_TOP
    assert url.endswith(f"/{name}")
    assert options == {"cache_subdir": "models", "file_hash": "253f8cb515780f3b799900260a226db6"}


@pytest.mark.usefixtures("_nothing_downloaded")
def test_a_failed_download_says_what_to_do(monkeypatch):
    def fail(*args, **kwargs):
        raise Exception("URL fetch failure on https://...: None --\n[Errno -2] Name or service not known")  # as Keras

    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.raises(FileError, match="--vgg_weights FILE") as caught:
        vgg_weights("vgg19")
    assert "Name or service not known" in str(caught.value)
    assert "\n" not in str(caught.value)
