import functools
from typing import NamedTuple

import keras
import numpy as np
import pytest
from PIL import Image

from deblurgan.errors import FileError, WeightsError
from deblurgan.networks.maxim import maxim
from deblurgan.networks.maxim_weights import identify, initial, layout
from deblurgan.weights.any_file import convert, load, read
from tests.cli.program import deblurgan
from tests.maxim_files import OPTIONS, TINY, flax_arrays, graph_of, keras_arrays, shapes_of, tgz, write_folder

PUBLISHED = {  # of the authors' code, for one supervision scale
    "S-1": (32, 1, 6_108_515),
    "S-2": (32, 2, 13_353_830),
    "S-3": (32, 3, 20_599_145),
    "M-1": (64, 1, 19_361_219),
    "M-2": (64, 2, 40_839_110),
    "M-3": (64, 3, 62_317_001),
}
PAPER = {
    **TINY,
    "depth": 3,
    "groups": 2,
    "scales": 1,
    "bottleneck_blocks": 2,
    "high_resolutions": 2,
    "block_size": (16, 16),
    "grid_size": (16, 16),
    "low_block_size": (8, 8),
    "low_grid_size": (8, 8),
    "block_factor": 2,
    "grid_factor": 2,
    "reduction": 4,
}
OTHERS = [
    {},
    {"stages": 1},
    {"stages": 3, "scales": 1},
    {"depth": 1, "scales": 1},
    {"depth": 4, "scales": 3, "high_resolutions": 3, "features": 8, "reduction": 8},
    {"groups": 3, "bottleneck_blocks": 3},
    {"channels": 1},
]


class Shape(NamedTuple):
    """A tensor of which nothing but the shape can be read."""

    shape: tuple


@functools.cache
def cached_shapes(**changes):
    arrays = {}
    for name, shape in shapes_of({**TINY, **changes}).items():
        turned = "ConvTranspose" in name and len(shape) == 4
        arrays[name] = Shape((*shape[:2], shape[3], shape[2]) if turned else shape)
    return arrays


# Which network it is


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_networks_have_as_many_parameters_as_published(name):
    features, stages, published = PUBLISHED[name]
    options = {**PAPER, "features": features, "stages": stages}
    assert sum(np.prod(shape) for _, shape, _ in layout(options)) == published


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_the_options_are_told_from_the_shapes(changes):
    shapes = cached_shapes(**changes)
    assert identify(shapes) == {**TINY, **changes}
    assert {name: shape for name, shape, _ in layout({**TINY, **changes})} == {
        name: tensor.shape for name, tensor in shapes.items()
    }


def test_sizes_that_the_network_does_not_have_are_those_that_it_has():
    same = {"low_block_size": (4, 4), "low_grid_size": (2, 2)}
    assert identify(cached_shapes(**same)) == {**TINY, **same, "high_resolutions": 2}
    found = identify(cached_shapes(high_resolutions=2, bottleneck_blocks=0))
    assert found == {**TINY, **same, "high_resolutions": 2, "bottleneck_blocks": 0}
    assert identify(cached_shapes(high_resolutions=0)) == {
        **TINY,
        "high_resolutions": 2,
        "block_size": TINY["low_block_size"],
        "grid_size": TINY["low_grid_size"],
    }


def test_the_last_stages_smaller_outputs_may_be_missing():
    shapes = dict(cached_shapes())
    for part in ("kernel", "bias"):
        del shapes[f"stage_1_output_conv_1/{part}"]
    assert identify(shapes) == TINY


def test_the_first_stages_of_a_network_are_one():
    whole = cached_shapes(stages=3)
    scaled = 2 * 2 * TINY["depth"] ** 2  # the modules that are counted over the whole network, of two stages
    first = {
        name: tensor
        for name, tensor in whole.items()
        if name.startswith(("stage_0_", "stage_1_", *(f"UpSampleRatio_{i}/" for i in range(scaled))))
    }
    assert identify(first) == TINY
    assert {name for name, _, _ in layout(TINY, attends=True)} == set(first)


def test_whatever_is_missing_or_of_another_shape_is_refused():
    shapes = cached_shapes()
    for i, (name, (shape,)) in enumerate(shapes.items()):
        without = {key: tensor for key, tensor in shapes.items() if key != name}
        if name.startswith("stage_1_output_conv_1/"):
            assert identify(without) == TINY
        else:
            with pytest.raises(WeightsError, match=r"expected .* for a MAXIM generator, found |left over"):
                identify(without)
        other = ((*shape, 1), (*shape[:-1], 7), ())[i % 3]
        with pytest.raises(WeightsError, match=r"expected .* for a MAXIM generator, found |left over"):
            identify({**shapes, name: Shape(other)})


def test_what_is_wrong_is_named():
    shapes = cached_shapes()
    name = "stage_1_encoder_block_1/cross_gating_block/in_project_y/bias"
    with pytest.raises(WeightsError, match=f"^{name}: expected 8 for a MAXIM generator, found 5x2$"):
        identify({**shapes, name: Shape((5, 2))})
    with pytest.raises(WeightsError, match=f"^{name}: expected 8 for a MAXIM generator, found no such tensor$"):
        identify({key: tensor for key, tensor in shapes.items() if key != name})
    with pytest.raises(WeightsError, match=r"^a\\nb and 1 more: left over, a MAXIM generator has no such tensor$"):
        identify({**shapes, "a\nb": Shape(()), "c": Shape(())})
    with pytest.raises(WeightsError, match=r"^stage_0_input_conv_0/kernel: expected a kernel of 3x3"):
        identify({})
    gate = "stage_0_encoder_block_0/SplitHeadMultiAxisGmlpLayer_0/BlockGmlpLayer/BlockGatingUnit/Dense_0/kernel"
    with pytest.raises(WeightsError, match=f"^{gate}: expected as many places as a square has .* found 15"):
        identify({**shapes, gate: Shape((15, 15))})


def test_names_without_end_do_not_take_without_end():
    many = {f"stage_0_encoder_block_{i}/Conv_0/kernel": Shape((1, 1, 4, 4)) for i in range(20000)}
    many |= {f"stage_{i}_input_conv_0/kernel": Shape((3, 3, 3, 4)) for i in range(20000)}
    with pytest.raises(WeightsError, match="found no such tensor"):
        identify({**cached_shapes(), **many})


# Through the one door


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same tiny network in each public form."""
    folder = tmp_path_factory.mktemp("maxim")
    flax = flax_arrays()
    arrays = keras_arrays(flax)
    training = {"opt/state/step": np.array(3), **{f"opt/target/{name}": array for name, array in flax.items()}}
    np.savez(folder / "checkpoint.npz", **training)
    np.savez(folder / "plain.npz", **arrays)
    files = graph_of(arrays).files()
    write_folder(folder / "graph", files)
    (folder / "graph.tgz").write_bytes(tgz(files))
    (folder / "no ending").write_bytes((folder / "checkpoint.npz").read_bytes())
    return folder


FORMS = {
    "checkpoint.npz": "NumPy archive",
    "plain.npz": "NumPy archive",
    "no ending": "NumPy archive",
    "graph": "TensorFlow.js graph model",
    "graph/model.json": "TensorFlow.js graph model",
    "graph.tgz": "TensorFlow.js graph model",
}


@pytest.fixture(scope="module")
def expected():
    """An image and what the network of these weights, given to its builder directly, makes of it."""
    image = np.random.default_rng(1).uniform(-1, 1, (1, 16, 32, 3)).astype(np.float32)
    model = maxim(**OPTIONS, initial=initial(keras_arrays(flax_arrays()), OPTIONS["depth"]))
    result = np.asarray(model(image))
    assert np.abs(result - image).max() > 1e-2
    return image, result


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_told_by_its_content_and_holds_the_same_weights(folder, form):
    content = read(folder / form)
    assert content.format == FORMS[form]
    assert content.network == "MAXIM generator"
    assert content.is_generator
    assert content.parameters == sum(np.prod(shape) for shape in shapes_of(TINY).values())
    assert {**content.options, **content.assumed} == OPTIONS
    expected = keras_arrays(flax_arrays())
    assert {name for name, _ in content.tensors} == expected.keys()
    for name, tensor in content.tensors:
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)


def test_a_checkpoint_makes_the_network(folder, expected):
    np.testing.assert_array_equal(load(folder / "checkpoint.npz")(expected[0]), expected[1])


def test_the_number_of_stages_is_chosen_at_use(folder, expected):
    one = load(folder / "checkpoint.npz", stages=1)
    assert one.count_params() < read(folder / "checkpoint.npz").parameters / 2
    assert np.abs(one(expected[0]) - expected[1]).max() > 1e-3


@pytest.mark.parametrize("target", ["converted.keras", "converted.weights.h5"])
def test_a_converted_file_computes_the_same(folder, expected, tmp_path, target):
    done = convert(folder / "graph.tgz", tmp_path / target)
    assert done.format == "TensorFlow.js graph model"
    image, result = expected
    np.testing.assert_array_equal(load(tmp_path / target)(image), result)


def test_inspect_lists_options_and_tensors(folder):
    result = deblurgan("inspect", folder / "checkpoint.npz")
    assert result.exit_code == 0, result.output
    first, options, assumed, *_ = result.output.splitlines()
    assert first.endswith("checkpoint.npz: NumPy archive, MAXIM generator, 36,272 values")
    assert "features=4, depth=2, groups=1" in options
    assert assumed == "assumed (--assume): stages=2"
    assert "stage_0_decoder_block_0/ConvTranspose_0/kernel" in result.output


def test_deblur_takes_it(folder, tmp_path):
    Image.fromarray(np.full((20, 30, 3), 99, np.uint8)).save(tmp_path / "a.png")
    arguments = [tmp_path / "a.png", "--output_dir", tmp_path / "out", "--weight_path", folder / "graph"]
    result = deblurgan("deblur", *arguments, "--assume", "stages=1")
    assert result.exit_code == 0, result.output
    (written,) = (tmp_path / "out").iterdir()
    with Image.open(written) as picture:
        assert picture.size == (30, 20)


def test_images_of_other_channels_are_told(tmp_path):
    options = {**TINY, "channels": 1, "stages": 1}
    np.savez(tmp_path / "grey.npz", **keras_arrays(flax_arrays(options)))
    model = load(tmp_path / "grey.npz")
    assert isinstance(model, keras.Model)
    assert model.input_shape == (None, None, None, 1)


def test_what_does_not_fit_is_one_line_that_names_the_file(folder, tmp_path):
    arrays = keras_arrays(flax_arrays())
    del arrays["stage_0_input_conv_1/bias"]
    np.savez(tmp_path / "a.npz", **arrays)
    write_folder(tmp_path / "graph", graph_of(arrays).files())
    for name in ("a.npz", "graph"):
        with pytest.raises(WeightsError, match=f"{name}.*: stage_0_input_conv_1/bias: expected 8"):
            read(tmp_path / name)
    np.savez(tmp_path / "other.npz", a=np.zeros(3, np.float32))
    with pytest.raises(WeightsError, match=r"other\.npz: expected arrays called opt/target/stage_0_.*found 'a'"):
        read(tmp_path / "other.npz")
    (tmp_path / "a.json").write_text('{"nodes": []}')
    with pytest.raises(WeightsError, match=r"a\.json: expected a TensorFlow\.js graph model"):
        read(tmp_path / "a.json")
    (tmp_path / "a.gz").write_bytes((folder / "graph.tgz").read_bytes()[:100])
    with pytest.raises(FileError, match=r"a\.gz: "):
        read(tmp_path / "a.gz")


def test_values_that_are_not_finite_are_refused_by_name(tmp_path):
    arrays = keras_arrays(flax_arrays())
    arrays["stage_0_input_conv_0/bias"][1] = np.inf
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(WeightsError, match=r"a\.npz: expected finite values, .* stage_0_input_conv_0/bias"):
        load(tmp_path / "a.npz")
