"""Weight files that say which network they belong to, read alone and as every command reads them."""

import json

import h5py
import keras
import numpy as np
import pytest

from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.networks import zoo
from deblurgan.restoring.opening import open_restorer
from deblurgan.weights import hdf5, labelled
from deblurgan.weights.any_file import convert, load
from deblurgan.weights.any_file import read as read_any
from deblurgan.weights.hdf5 import ATTRIBUTE
from deblurgan.weights.labelled import save_network
from tests.batches import noise, run
from tests.cli.program import deblurgan

NETWORKS = {
    "tutorial": ("generator", "tutorial", {"ngf": 4, "n_blocks": 2, "upsampling": "resize"}),
    "paper": ("generator", "paper", {"ngf": 4, "n_blocks": 2, "test_dropout": False}),
    "paper, one convolution": ("generator", "paper", {"ngf": 4, "n_blocks": 2, "block": "second", "dropout": 0.0}),
    "paper, batch": ("generator", "paper", {"ngf": 4, "n_blocks": 1, "norm": "batch", "residual": False}),
    "paper, noted": ("generator", "paper", {"ngf": 4, "n_blocks": 1, "statistics": "noted"}),
    "unet": ("generator", "unet", {"ngf": 4, "num_downs": 5, "residual": True}),
    "unet, instance": ("generator", "unet", {"ngf": 4, "num_downs": 6, "norm": "instance", "skip_first": False}),
    "nafnet": (
        "generator",
        "nafnet",
        {"width": 4, "encoder_blocks": [1, 2], "middle_blocks": 2, "decoder_blocks": [1, 0], "local_window": 8},
    ),
    "nafnet, squares": (
        "generator",
        "nafnet",
        {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1], "space_to_depth": 2, "dropout": 0.1},
    ),
    "critic": ("critic", "tutorial", {"ndf": 4, "image_shape": [32, 64, 3]}),
    "critic, instance": ("critic", "tutorial", {"ndf": 4, "image_shape": [64, 64, 3], "norm": "instance"}),
    "critic, none": ("critic", "tutorial", {"ndf": 4, "image_shape": [64, 64, 3], "norm": "none", "sigmoid": False}),
    "patchgan": ("critic", "patchgan", {"ndf": 4, "padding": 2, "image_shape": [64, 64, 6]}),
    "dcgan critic": (
        "critic",
        "dcgan",
        {"image_shape": [16, 16, 1], "conv_filters": [4, 4], "conv_kernel_size": [3, 3], "conv_strides": [2, 1]},
    ),
    "patchgan, batch": ("critic", "patchgan", {"ndf": 4, "n_layers": 2, "norm": "batch", "sigmoid": True}),
}
each_network = pytest.mark.parametrize(
    ("role", "name", "options"), [pytest.param(*network, id=key) for key, network in NETWORKS.items()]
)
NAFNET = NETWORKS["nafnet"][2]


def read(path):
    return labelled.of(path, hdf5.read(path))


def differing(model):
    """Give each weight other values, all positive, and return the model."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.uniform(0.1, 0.3, variable.shape))
    return model


def saved(path, role, name, options):
    """A file of a small network, and the network."""
    model = differing(zoo.build(role, name, options))
    save_network(model, path, name, options, role=role)
    return model


@pytest.fixture(scope="module")
def nafnet_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("nafnet") / "n.weights.h5"
    saved(path, "generator", "nafnet", NAFNET)
    return path.read_bytes()


@pytest.fixture
def nafnet_file(nafnet_bytes, tmp_path):
    """A file that the test may change."""
    path = tmp_path / "n.weights.h5"
    path.write_bytes(nafnet_bytes)
    return path


# There and back


@each_network
def test_the_file_brings_back_the_network_and_is_an_ordinary_one_for_keras(role, name, options, tmp_path):
    path = tmp_path / "x.weights.h5"
    model = saved(path, role, name, options)
    named = read(path)
    assert (named.role, named.name) == (role, name)
    assert named.options == zoo.checked_options(role, name, options)
    built = named.build()
    assert [v.path for v in built.weights] == [v.path for v in model.weights]
    for variable, old in zip(built.weights, model.weights, strict=True):
        np.testing.assert_array_equal(variable, old)
    images = noise((1, *(side or 64 for side in model.input_shape[1:])))
    np.testing.assert_array_equal(run(load(path), images), run(model, images))
    for variable in built.weights:
        variable.assign(np.zeros(variable.shape))
    built.load_weights(path)
    for variable, old in zip(built.weights, model.weights, strict=True):
        np.testing.assert_array_equal(variable, old)


def test_the_tensors_have_the_names_of_their_layers(nafnet_file):
    tensors = dict(read(nafnet_file).tensors)
    assert tensors["in_conv/0"].shape == (3, 3, 3, 4)
    assert {name.split("/")[0] for name in tensors} == {
        *("in_conv", "encoder1_block1", "down1_conv", "encoder2_block1", "encoder2_block2", "down2_conv"),
        *("middle_block1", "middle_block2", "up2_conv", "decoder2_block1", "up1_conv", "out_conv"),
    }


def test_a_name_without_role_is_a_generators_where_both_roles_have_it(tmp_path):
    critic = zoo.build_critic("patchgan", {"ndf": 4})
    save_network(critic, tmp_path / "c.weights.h5", "patchgan", {"ndf": 4})
    assert read(tmp_path / "c.weights.h5").role == "critic"
    generator = zoo.build_generator("tutorial", {"ngf": 4, "n_blocks": 1})
    save_network(generator, tmp_path / "g.weights.h5", "tutorial", {"ngf": 4, "n_blocks": 1})
    assert read(tmp_path / "g.weights.h5").role == "generator"


def test_an_optimizer_is_left_out(tmp_path):
    model = zoo.build_generator("nafnet", NAFNET)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    save_network(model, tmp_path / "n.weights.h5", "nafnet", NAFNET)
    with h5py.File(tmp_path / "n.weights.h5") as file:
        assert "optimizer" not in file
    assert read(tmp_path / "n.weights.h5").build().count_params() == model.count_params()


def test_the_network_is_built_in_another_precision(nafnet_file):
    model = load(nafnet_file, dtype="mixed_bfloat16")
    assert model.get_layer("middle_block1").compute_dtype == "bfloat16"
    images = noise((1, 16, 16, 3))
    exact, half = run(load(nafnet_file), images), run(model, images)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - exact).mean() < 0.1 * np.abs(exact - images).mean()


def test_a_files_fixed_size_gives_way_to_any(tmp_path):
    options = {**NAFNET, "image_shape": [16, 16, 1]}
    model = saved(tmp_path / "n.weights.h5", "generator", "nafnet", options)
    assert model.input_shape == (None, 16, 16, 1)
    assert load(tmp_path / "n.weights.h5").input_shape == (None, None, None, 1)
    assert load(tmp_path / "n.weights.h5", image_shape=(8, 8, 1)).input_shape == (None, 8, 8, 1)


# Switches


def test_switches_have_the_files_values_unless_overridden(nafnet_file):
    images = noise((1, 24, 24, 3))
    model = load(nafnet_file)
    assert read(nafnet_file).switches == {"image_shape": (None, None, 3), "dropout": 0.0, "local_window": 8}
    np.testing.assert_array_equal(run(load(nafnet_file, local_window=8), images), run(model, images))
    assert np.abs(run(load(nafnet_file, local_window=None), images) - run(model, images)).max() > 1e-5
    assert load(nafnet_file, dropout=0.5).get_layer("middle_block1").dropout == 0.5


def test_dropout_can_be_kept_on_when_restoring(tmp_path):
    path = tmp_path / "p.weights.h5"
    saved(path, *NETWORKS["paper"])
    images = noise((1, 16, 16, 3))
    always = load(path, test_dropout=True)
    assert np.any(run(always, images) != run(always, images))
    np.testing.assert_array_equal(run(load(path), images), run(load(path), images))


def test_noted_statistics_can_be_left_out(tmp_path):
    path = tmp_path / "p.weights.h5"
    saved(path, *NETWORKS["paper, noted"])
    images = noise((1, 16, 16, 3))
    own = load(path, statistics="image")
    assert own.get_layer("in_norm").weights == []
    assert np.abs(run(own, images) - run(load(path), images)).max() > 1e-3
    np.testing.assert_array_equal(run(load(path, statistics="noted"), images), run(load(path), images))


def test_statistics_that_were_not_noted_are_refused(tmp_path):
    path = tmp_path / "p.weights.h5"
    saved(path, *NETWORKS["paper"])
    with pytest.raises(InputError, match=r"statistics: expected 'image', since .* has no noted ones"):
        load(path, statistics="noted")


@pytest.mark.parametrize("key", ["critic, instance", "patchgan"])
def test_a_critics_values_become_probabilities_or_logits(key, tmp_path):
    path = tmp_path / "c.weights.h5"
    saved(path, *NETWORKS[key])
    images = noise((1, 64, 64, read(path).options["image_shape"][2]))
    logits = run(load(path, sigmoid=False), images).astype(np.float64)
    np.testing.assert_allclose(run(load(path, sigmoid=True), images), 1 / (1 + np.exp(-logits)), rtol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"width": 8}, "width: no assumption here; .* leaves open: image_shape, dropout, local_window"),
        ({"local_window": "8"}, "local_window: expected an int or None"),
        ({"local_window": 0}, "local_window: expected an int of at least 1"),
        ({"dropout": 1}, "dropout: expected a rate"),
        ({"image_shape": (6, 8, 3)}, "image_shape: expected sides that are multiples of 4"),
        ({"image_shape": [8, 8, 3, 1]}, "image_shape"),
    ],
)
def test_overrides_that_make_no_network_are_refused(overrides, message, nafnet_file):
    with pytest.raises(InputError, match=message):
        load(nafnet_file, **overrides)


# What is refused


@pytest.mark.parametrize(
    ("name", "file", "options", "message"),
    [
        ("nafnet", "n.h5", NAFNET, r"n\.h5: expected a name that ends in \.weights\.h5"),
        ("nafnets", "n.weights.h5", NAFNET, "did you mean nafnet"),
        ("nafnet", "n.weights.h5", {"widht": 4}, "did you mean width"),
        ("nafnet", "n.weights.h5", {"width": "4"}, "width: expected a value like 32"),
    ],
)
def test_what_cannot_be_read_again_is_not_written(name, file, options, message, tmp_path):
    model = zoo.build_generator("nafnet", NAFNET)
    with pytest.raises(InputError, match=message):
        save_network(model, tmp_path / file, name, options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_one_clear_line(tmp_path):
    model = zoo.build_generator("nafnet", NAFNET)
    with pytest.raises(FileError, match=r"no/n\.weights\.h5"):
        save_network(model, tmp_path / "no" / "n.weights.h5", "nafnet", NAFNET)


VALID = {"network": "nafnet", "role": "generator", "options": {}}


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("", "expected JSON with network, role and options in the attribute deblurgan, received ''"),
        ("{", "expected JSON"),
        ("[]", "expected JSON"),
        ("null", "expected JSON"),
        ("{}", "expected JSON"),
        (np.arange(3), "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
        ("[" * 50_000, "expected JSON"),
        (json.dumps({"network": "nafnet", "role": "generator"}), "expected JSON"),
        (json.dumps({**VALID, "options": [1]}), "expected JSON"),
        (json.dumps({**VALID, "options": None}), "expected JSON"),
        (json.dumps({**VALID, "network": ["nafnet"]}), "expected JSON"),
        (json.dumps({**VALID, "network": "nafnot"}), "did you mean nafnet"),
        (json.dumps({**VALID, "role": "critic"}), "expected a critic, one of tutorial.*, received 'nafnet'"),
        (json.dumps({**VALID, "role": "judge"}), "role: expected one of generator, critic, .*received 'judge'"),
        (json.dumps({**VALID, "options": {"depth": 3}}), "depth: expected an option of nafnet"),
        (json.dumps({**VALID, "options": {"width": "4"}}), "width: expected a value like 32"),
        (json.dumps({**VALID, "options": {"width": 4.5}}), "width: expected a value like 32"),
        (json.dumps({**VALID, "options": {"dtype": "float64"}}), "dtype: expected an option"),
    ],
)
def test_an_attribute_that_names_no_network_is_one_clear_line(attribute, message, nafnet_file):
    with h5py.File(nafnet_file, "a") as file:
        file.attrs[ATTRIBUTE] = attribute
    with pytest.raises(WeightsError, match=message) as caught:
        read(nafnet_file)
    assert str(nafnet_file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**NAFNET, "width": 8}, "layer in_conv does not fit in_conv: expected shapes 3x3x3x8"),
        ({**NAFNET, "width": -4}, "width: expected an int of at least 1"),
        ({**NAFNET, "middle_blocks": 3}, "layer middle_block3 is missing"),
        ({**NAFNET, "middle_blocks": 1}, "layer middle_block2 is left over"),
        ({**NAFNET, "encoder_blocks": [1]}, "decoder_blocks: expected 1 numbers"),
        ({**NAFNET, "image_shape": []}, "image_shape"),
        ({**NAFNET, "image_shape": ["a", "b", "c"]}, "image_shape"),
    ],
)
def test_options_of_another_network_are_one_clear_line(options, message, nafnet_file):
    with h5py.File(nafnet_file, "a") as file:
        file.attrs[ATTRIBUTE] = json.dumps({**VALID, "options": options})
    with pytest.raises(WeightsError, match=message) as caught:
        load(nafnet_file)
    assert str(nafnet_file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"width": 10**5}, {"middle_blocks": 10**9}])
def test_options_of_a_network_larger_than_the_weights_are_refused_before_it_is_built(changes, nafnet_file):
    with h5py.File(nafnet_file, "a") as file:
        file.attrs[ATTRIBUTE] = json.dumps({**VALID, "options": {**NAFNET, **changes}})
    with pytest.raises(FileError, match=r": damaged, or made to exhaust the memory: its network is larger"):
        load(nafnet_file)
    assert zoo.build("generator", "nafnet", NAFNET).count_params() > 0  # as before


def test_tensors_of_another_shape_leave_the_model_alone(nafnet_file):
    model = zoo.build_generator("nafnet", {**NAFNET, "width": 8})
    before = [np.array(variable) for variable in model.weights]
    with pytest.raises(WeightsError, match="layer in_conv does not fit"):
        read(nafnet_file).assign(model)
    for variable, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable, old)


def test_tensors_of_a_layer_that_has_none_are_left_over(tmp_path):
    path = tmp_path / "u.weights.h5"
    saved(path, "generator", "unet", NETWORKS["unet"][2])
    with h5py.File(path, "a") as file:
        layer = file["layers"].create_group("leaky_re_lu_99")
        layer.create_group("vars").create_dataset("0", data=np.zeros(3, np.float32))
        layer["vars"].attrs["name"] = "down2_relu"
    with pytest.raises(WeightsError, match="layer down2_relu is left over"):
        load(path)


def test_a_value_that_is_no_number_is_named(nafnet_file):
    with h5py.File(nafnet_file, "a") as file:
        file["layers/conv2d/vars/0"][0, 0, 0, 0] = np.nan
    with pytest.raises(WeightsError, match="expected finite values, found NaN or infinity in in_conv/0"):
        load(nafnet_file)


@pytest.mark.parametrize("length", [0, 7, 100, 3000, -1])
def test_a_cut_file_is_one_clear_line(length, nafnet_file):
    content = nafnet_file.read_bytes()
    nafnet_file.write_bytes(content[:length])
    with pytest.raises((FileError, WeightsError)) as caught:
        load(nafnet_file)
    assert str(nafnet_file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_the_attribute_is_none_of_these(tmp_path):
    keras.Model(*[keras.Input((3,))] * 2).save_weights(tmp_path / "x.weights.h5")
    assert read(tmp_path / "x.weights.h5") is None
    zoo.build_generator("nafnet", NAFNET).save_weights(tmp_path / "n.weights.h5")
    assert read(tmp_path / "n.weights.h5") is None
    with pytest.raises(WeightsError, match="expected a generator's") as caught:
        load(tmp_path / "n.weights.h5")
    assert "\n" not in str(caught.value)


# At the command line


def test_inspect_says_what_network_a_file_is_of(nafnet_file):
    result = deblurgan("inspect", nafnet_file)
    assert result.exit_code == 0, result.output
    count = zoo.build_generator("nafnet", NAFNET).count_params()
    lines = result.stdout.splitlines()
    assert lines[0] == f"{nafnet_file}: Keras 3 weights, NAFNet generator, {count:,} values"
    assert "width=4, encoder_blocks=(1, 2), middle_blocks=2, decoder_blocks=(1, 0)" in lines[1]
    assert lines[2] == "assumed (--assume): image_shape=(None, None, 3), dropout=0.0, local_window=8"
    assert lines[3] == "takes images as float32 RGB in [-1, 1] and gives the same"
    assert any(line.split()[:2] == ["in_conv/0", "3x3x3x4"] for line in lines)


def test_inspect_says_how_many_channels_a_network_takes_and_gives(tmp_path):
    unet = {"ngf": 1, "num_downs": 5, "image_shape": (None, None, 1), "output_channels": 3}
    patchgan = {"ndf": 1, "image_shape": (None, None, 6)}
    for role, name, options, takes in (
        ("generator", "unet", unet, "grey in [-1, 1] and gives RGB"),
        ("critic", "patchgan", patchgan, "of 6 channels in [-1, 1]"),
    ):
        path = tmp_path / f"{name}.weights.h5"
        save_network(zoo.build(role, name, options), path, name, options, role=role)
        assert f"\ntakes images as float32 {takes}\n" in deblurgan("inspect", path).stdout
    zoo.build("generator", "unet", unet).save(tmp_path / "unet.keras")
    assert "float32 grey in [-1, 1] and gives RGB\n" in deblurgan("inspect", tmp_path / "unet.keras").stdout


def test_a_converted_nafnet_restores_the_same(nafnet_file, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (19, 33, 3), np.uint8)
    result = deblurgan("convert", nafnet_file, tmp_path / "n.keras")
    assert result.exit_code == 0, result.output
    assert f"NAFNet generator of {nafnet_file} (Keras 3 weights) written to" in result.stdout
    first, second = (open_restorer(path, precision="float32") for path in (nafnet_file, tmp_path / "n.keras"))
    restored = first(image)
    assert restored.shape == image.shape
    assert np.any(restored != image)
    np.testing.assert_array_equal(second(image), restored)


@each_network
def test_a_converted_weight_file_still_says_what_it_is(role, name, options, tmp_path):
    saved(tmp_path / "x.weights.h5", role, name, options)
    convert(tmp_path / "x.weights.h5", tmp_path / "y.weights.h5")
    first, second = (read(tmp_path / f"{x}.weights.h5") for x in "xy")
    assert (second.role, second.name, second.options) == (first.role, first.name, first.options)
    for (key, tensor), (again, same) in zip(first.tensors, second.tensors, strict=True):
        assert key == again
        np.testing.assert_array_equal(tensor, same)


def test_converting_with_another_switch_keeps_it(tmp_path):
    saved(tmp_path / "p.weights.h5", *NETWORKS["paper, noted"])
    result = deblurgan(
        "convert", tmp_path / "p.weights.h5", tmp_path / "q.weights.h5", "--assume", "statistics=image"
    )
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "q.weights.h5").options["statistics"] == "image"
    assert load(tmp_path / "q.weights.h5").get_layer("in_norm").weights == []


@pytest.mark.parametrize(("key", "target"), [("nafnet", "y.h5"), ("critic, none", "y.h5"), ("unet", "y")])
def test_a_format_that_could_not_be_read_again_is_refused(key, target, tmp_path):
    saved(tmp_path / "x.weights.h5", *NETWORKS[key])
    with pytest.raises(InputError, match=r"expected a name ending in \.keras or \.weights\.h5 for a "):
        convert(tmp_path / "x.weights.h5", tmp_path / target)


def test_a_critic_restores_nothing(tmp_path):
    saved(tmp_path / "c.weights.h5", *NETWORKS["critic, none"])
    assert read_any(tmp_path / "c.weights.h5").network == "tutorial discriminator"
    with pytest.raises(WeightsError, match="expected a generator's weights, found those of a tutorial discriminator"):
        open_restorer(tmp_path / "c.weights.h5")
