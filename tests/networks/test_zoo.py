import keras
import pytest
import tensorflow as tf

from deblurgan.errors import InputError
from deblurgan.networks import zoo
from tests import maxim_files
from tests.batches import noise

TINY = {
    "tutorial": {"ngf": 4, "n_blocks": 1},
    "paper": {"ngf": 4, "n_blocks": 1},
    "unet": {"ngf": 4, "num_downs": 5},
    "nafnet": {"width": 4, "encoder_blocks": [1, 1], "decoder_blocks": [1, 1]},
    "maxim": maxim_files.OPTIONS,
}
LISTS = {"conv_filters": [4, 1], "conv_kernel_size": [3, 3], "conv_strides": [2, 1]}
TINY_CRITICS = {"tutorial": {"ndf": 4}, "patchgan": {"ndf": 4}, "dcgan": LISTS}
SAMPLER = {**LISTS, "initial_dense_layer_size": [4, 4, 2], "upsample": [1, 1], "z_dim": 8}
TINY_ROLES = {"generator": TINY, "critic": TINY_CRITICS, "sampler": {"dcgan": SAMPLER}}
OTHERS = [
    ("unet", {"ngf": 2, "num_downs": 6}, 64),
    ("nafnet", {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]}, 2),
    ("nafnet", {"width": 4, "encoder_blocks": [1, 0, 1], "decoder_blocks": [0, 1, 0], "space_to_depth": 2}, 16),
]
MULTIPLES = {"tutorial": 4, "paper": 4, "unet": 32, "nafnet": 4, "maxim": 16}
LAST = {"maxim": "stage_1.out_0", "dcgan": "{}_conv_1"}  # the last convolution, where it has another name
SIZES = [*((name, options, MULTIPLES[name]) for name, options in TINY.items()), *OTHERS]


# Names and options


@pytest.mark.parametrize(
    ("role", "name", "message"),
    [
        (
            "generator",
            "nafnett",
            r"network: expected a generator, one of .*, received 'nafnett'; did you mean nafnet\?$",
        ),
        ("generator", "u-net", r"did you mean unet\?$"),
        (
            "critic",
            "pachgan",
            r"one of tutorial, patchgan, dcgan, received 'pachgan'; did you mean patchgan\?$",
        ),
        ("generator", "resnet50", "one of tutorial, paper, unet, nafnet.*, received 'resnet50'"),
        ("generator", None, "received None"),
        ("teacher", "nafnet", "role: expected one of generator, critic, sampler, received 'teacher'"),
    ],
)
def test_an_unknown_network_is_refused_with_the_nearest_name(role, name, message):
    with pytest.raises(InputError, match=message) as caught:
        zoo.build(role, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "option", "nearest"),
    [
        ("nafnet", "widht", "width"),
        ("nafnet", "local_windows", "local_window"),
        ("unet", "n_downs", "num_downs"),
        ("paper", "test_drop", "test_dropout"),
        ("tutorial", "blocks", "n_blocks"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_one(name, option, nearest):
    with pytest.raises(InputError, match=rf"^{option}: expected an option of {name}, .*; did you mean {nearest}\?$"):
        zoo.build_generator(name, {option: 1})


@pytest.mark.parametrize("option", ["dtype", "name"])
def test_what_the_zoo_decides_is_no_option(option):
    with pytest.raises(InputError, match=f"{option}: expected an option of nafnet"):
        zoo.build_generator("nafnet", {option: "float32"})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nafnet", {"width": 4.0}, "width: expected a value like 32, received 4.0"),
        ("nafnet", {"width": True}, "width: expected a value like 32, received True"),
        ("nafnet", {"encoder_blocks": "1111"}, "encoder_blocks: expected a value like"),
        ("nafnet", {"local_window": 1.5}, "local_window: expected an int or None, received 1.5"),
        ("nafnet", {"encoder_blocks": [1, 2]}, "decoder_blocks: expected 2 numbers"),
        ("paper", {"dropout": "0.5"}, "dropout: expected a value like 0.5, received '0.5'"),
        ("paper", {"residual": 1}, "residual: expected a value like True, received 1"),
        ("paper", {"statistics": None}, "statistics: expected a value like 'image', received None"),
        ("unet", {"num_downs": 4}, "num_downs: expected an int of at least 5, received 4"),
    ],
)
def test_a_value_that_makes_no_network_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        zoo.build_generator(name, options)


def test_lists_stand_for_tuples_and_ints_for_floats():
    options = {"width": 4, "encoder_blocks": [1, 0], "decoder_blocks": [0, 1], "dropout": 0, "local_window": 8}
    checked = zoo.checked_options("generator", "nafnet", options)
    assert checked == {**options, "encoder_blocks": (1, 0), "decoder_blocks": (0, 1)}
    model = zoo.build_generator("nafnet", {**options, "image_shape": [8, None, 1]})
    assert model.input_shape == (None, 8, None, 1)


# What is built


@pytest.mark.parametrize("name", zoo.GENERATORS)
def test_the_defaults_build_a_generator_for_any_size(name):
    with keras.StatelessScope(initialize_variables=False):  # no values: quick
        model = zoo.build_generator(name)
    assert model.input_shape == model.output_shape == (None, None, None, 3)


@pytest.mark.parametrize("name", zoo.CRITICS)
def test_the_defaults_build_a_critic(name):
    assert zoo.build_critic(name).input_shape[-1] == (1 if name == "dcgan" else 3)


@pytest.mark.parametrize("name", zoo.CRITICS)
def test_a_critic_can_be_conditional(name):
    model = zoo.build_critic(name, {"image_shape": [32, 32, 6], **TINY_CRITICS[name]})
    assert model(noise((2, 32, 32, 6))).shape[0] == 2


@pytest.mark.parametrize("role", zoo.ROLES)
def test_a_dtype_policy_reaches_every_network(role):
    for name in zoo.ROLES[role]:
        with keras.StatelessScope(initialize_variables=False):
            model = zoo.build(role, name, TINY_ROLES[role][name], dtype="mixed_bfloat16")
        last = LAST.get(name, "out_conv").format("discriminator" if role == "critic" else "generator")
        assert model.get_layer(last).compute_dtype == "bfloat16"
        assert model.layers[-1].compute_dtype == "float32"


@pytest.mark.parametrize("role", zoo.ROLES)
def test_switches_are_options_that_leave_the_weights_alone(role):
    others = {
        "image_shape": (64, 64, 3),
        "dropout": 0.25,
        "dropout_rate": 0.25,
        "test_dropout": True,
        "test_statistics": True,
        "local_window": 8,
        "legacy_batchnorm": True,
        "padding": 2,
        "sigmoid": None,
        "statistics": "image",  # the other direction needs more weights
        "stages": 1,
        "outputs": "all",
    }

    def weights(name, options):
        with keras.StatelessScope(initialize_variables=False):
            return [(v.path, v.shape) for v in zoo.build(role, name, options).weights]

    for name, network in zoo.ROLES[role].items():
        options = {**TINY_ROLES[role][name], **({"image_shape": (64, 64, 3)} if role == "critic" else {})}
        shapes = weights(name, options)
        for switch in network.switches:
            value = not network.defaults[switch] if switch == "sigmoid" else others[switch]
            built = weights(name, {**options, switch: value})
            if network.nested and switch in ("stages", "outputs"):  # one of the two has more
                assert set(built) < set(shapes) if switch == "stages" else set(built) > set(shapes)
            else:
                assert built == shapes, (name, switch)


# Sizes


@pytest.mark.parametrize(("name", "options", "multiple"), SIZES)
def test_sides_that_are_multiples_run(name, options, multiple):
    assert zoo.size_multiple(name, options) == multiple
    model = zoo.build_generator(name, options)
    least = max(multiple, 8)
    for size in ((least, least), (least + multiple, least)):
        assert model(noise((1, *size, 3))).shape == (1, *size, 3)


@pytest.mark.parametrize(("name", "options", "multiple"), SIZES)
def test_sides_that_are_no_multiples_are_refused_and_would_not_run(name, options, multiple):
    side = 4 * multiple + multiple // 2
    with pytest.raises(InputError, match=rf"image_shape: expected sides that are multiples of {multiple}\b"):
        zoo.build_generator(name, {**options, "image_shape": [side, 8 * multiple, 3]})
    images = noise((1, side, 8 * multiple, 3))
    model = zoo.build_generator(name, options)
    try:
        shape = model(images).shape
    except (ValueError, tf.errors.InvalidArgumentError):
        return
    assert shape != images.shape


def test_the_size_multiple_is_that_of_the_options():
    assert zoo.size_multiple("nafnet") == 16
    assert zoo.size_multiple("unet") == 256
    with pytest.raises(InputError, match="network: expected a generator"):
        zoo.size_multiple("patchgan")
    with pytest.raises(InputError, match="num_down: expected an option of unet"):
        zoo.size_multiple("unet", {"num_down": 5})


@pytest.mark.parametrize("name", [name for name in zoo.GENERATORS if name != "tutorial"])
def test_each_network_is_known_in_an_archive(name):
    with keras.StatelessScope(initialize_variables=False):
        model = zoo.build_generator(name, TINY[name])
    assert zoo.in_archive(model.name) is zoo.GENERATORS[name]
