"""The network itself: against reference pictures of the shipped weights, and against a restatement of it."""

from pathlib import Path

import keras
import numpy as np
import pytest

from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.networks.maxim import maxim, size_multiple
from deblurgan.networks.maxim_weights import initial
from deblurgan.restoring.opening import open_restorer
from deblurgan.restoring.preview import HalfSizeRestorer
from deblurgan.weights import any_file, catalogue
from deblurgan.weights.labelled import save_network
from tests import maxim_reference
from tests.maxim_files import OPTIONS as SMALL
from tests.maxim_files import flax_arrays, keras_arrays, write_stages

DATA = Path(__file__).parents[1] / "data" / "maxim"
# Two scales of three, grids and blocks that are no squares, and sizes that differ between the levels.
ODD = {
    "features": 4,
    "depth": 3,
    "stages": 3,
    "groups": 1,
    "scales": 2,
    "bottleneck_blocks": 2,
    "high_resolutions": 2,
    "block_size": (4, 2),
    "grid_size": (2, 4),
    "low_block_size": (2, 4),
    "low_grid_size": (4, 2),
    "input_factor": 2,
    "block_factor": 2,
    "grid_factor": 4,
    "reduction": 2,
}
OTHER = {**ODD, "depth": 1, "stages": 1, "groups": 2, "scales": 1, "bottleneck_blocks": 1, "input_factor": 4}

IMAGE = np.random.default_rng(0).random((1, 16, 32, 3), np.float32)


def arrays_of(options, factor=0.7):
    """Random weights by the authors' names; pictures stay of the size of the image with this `factor`."""
    arrays = keras_arrays(flax_arrays({"channels": 3, **options}))
    return {name: array * np.float32(factor if name.endswith("kernel") else 1) for name, array in arrays.items()}


def built(arrays, options, **more):
    """The network of these weights."""
    return maxim(**options, **more, initial=initial(arrays, options["depth"]))


def called(model, images):
    """What `model` makes of images in [0, 1], in that range, float64."""
    made = model(images * 2 - 1, training=False)
    return [np.asarray(image, np.float64) / 2 + 0.5 for image in (made if isinstance(made, list) else [made])]


@pytest.fixture(scope="module")
def small():
    """Arrays of a small network, the network with all that it puts out, and its pictures of an image."""
    arrays = arrays_of(SMALL)
    model = built(arrays, SMALL, outputs="all")
    return arrays, model, called(model, IMAGE)


# The weights of the package


@pytest.fixture(scope="module")
def reference():
    """A blurred picture, float32 in [0, 1], and the pictures after one, two and three stages."""
    with np.load(DATA / "reference.npz") as file:
        blurred = file["blurred"] / 255
        restored = blurred + np.cumsum(file["differences"], 0, dtype=int) * 4e-5
    return blurred.astype(np.float32), restored


@pytest.mark.slow
def test_the_shipped_network_gives_the_reference_pictures_after_each_stage(reference):
    blurred, restored = reference
    content = any_file.read(catalogue.place("maxim-gopro"))
    assert content.parameters == 22_207_605
    model = content.build(dtype="float32")
    assert model.count_params() == 22_207_605
    images = [model.get_layer(f"stage_{stage}.out_0_add").output for stage in range(3)]
    *before, last = keras.Model(model.input, [*images[:2], model.output])(blurred[None] * 2 - 1)
    for image, expected in zip([*before, last / 2 + 0.5], restored, strict=True):
        np.testing.assert_allclose(np.asarray(image)[0], expected, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def fast():
    """The weights in the package, as they restore on a CPU."""
    return open_restorer(quality="fast", precision="float32")


def test_restoring_gives_the_reference_picture(reference, fast):
    blurred, restored = reference
    np.testing.assert_allclose(fast(blurred), np.clip(restored[0], 0, 1), rtol=0, atol=1e-4)


def test_a_preview_gains_less_for_less_work(photos, fast):
    blurred, sharp = (photo.astype(np.float32) / 255 for photo in photos)

    def psnr(image):
        return 10 * np.log10(1 / np.mean((image.astype(np.float64) - sharp) ** 2))

    preview, whole = psnr(HalfSizeRestorer(fast)(blurred)), psnr(fast(blurred))
    assert psnr(blurred) + 0.5 < preview < whole


# The papers' networks

PUBLISHED = {
    "S-1": ({"features": 32, "stages": 1, "scales": 1}, 6_108_515),
    "S-2": ({"features": 32, "stages": 2, "scales": 1}, 13_353_830),
    "S-3": ({"features": 32, "stages": 3, "scales": 1}, 20_599_145),
    "M-1": ({"features": 64, "stages": 1, "scales": 1}, 19_361_219),
    "S-3 for deblurring": ({}, 22_207_605),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_networks_have_their_numbers_of_parameters(name):
    options, published = PUBLISHED[name]
    with keras.StatelessScope(initialize_variables=False):  # no values: quick
        assert maxim(**options).count_params() == published


# The network, restated


@pytest.mark.parametrize("options", [ODD, OTHER], ids=["three stages", "one stage"])
def test_all_pictures_are_those_of_the_restatement(options):
    arrays, taken = arrays_of(options), set()
    images = np.random.default_rng(0).random((2, 32, 64, 3))
    expected = [image for stage in maxim_reference.network(images, arrays, options, taken) for image in stage]
    assert taken == set(arrays)
    made = called(built(arrays, options, outputs="all"), images.astype(np.float32))
    for image, other in zip(made, expected, strict=True):
        assert other.std() > 0.2
        np.testing.assert_allclose(image, other, rtol=0, atol=5e-5)


def test_the_outputs_are_the_pictures_of_all_stages_from_the_full_size_down(small):
    arrays, model, everything = small
    assert [image.shape for image in everything] == [(1, 16, 32, 3), (1, 8, 16, 3)] * 2
    assert np.std(everything[2] - everything[0]) > 0.05
    last = built(arrays, SMALL)
    assert last.count_params() < model.count_params()  # the smaller output of the last stage
    (image,) = called(last, IMAGE)
    np.testing.assert_allclose(image, everything[2], rtol=0, atol=1e-5)


def test_the_first_stages_of_a_network_are_one(small):
    arrays, _, everything = small
    first = built(arrays, {**SMALL, "stages": 1})
    (image,) = called(first, IMAGE)
    np.testing.assert_allclose(image, everything[0], rtol=0, atol=1e-5)


def test_frozen_weights_are_constants_and_the_pictures_the_same(small):
    arrays, _, everything = small
    frozen = built(arrays, SMALL, frozen=True)
    assert frozen.count_params() < built(arrays, SMALL).count_params() / 2
    (image,) = called(frozen, IMAGE)
    np.testing.assert_allclose(image, everything[2], rtol=0, atol=1e-5)
    with pytest.raises(WeightsError, match="stage_0_encoder_block_0/Conv_0/kernel is missing"):
        built({k: v for k, v in arrays.items() if k != "stage_0_encoder_block_0/Conv_0/kernel"}, SMALL, frozen=True)


def test_bfloat16_stays_close(small):
    arrays, _, everything = small
    half = built(arrays, SMALL, dtype="mixed_bfloat16")
    assert {weight.dtype for weight in half.weights} == {"float32"}
    assert half.get_layer("stage_1.encoder_1.mlp_0").compute_dtype == "bfloat16"
    made = half(IMAGE * 2 - 1)
    assert made.dtype == "float32"
    difference = np.asarray(made) / 2 + 0.5 - everything[2]
    assert 1e-4 < np.sqrt(np.mean(difference**2)) < 0.05 * everything[2].std()


def test_dropout_counts_in_training_alone():
    model = maxim(**{**OTHER, "groups": 1}, dropout=0.5)
    one, other, in_training = (np.asarray(model(IMAGE, training=training)) for training in (False, False, True))
    np.testing.assert_array_equal(one, other)
    assert np.abs(in_training - one).max() > 1e-3


# Sizes and options


def test_sides_are_multiples_of_what_blocks_and_grids_need_at_each_size():
    assert size_multiple() == 64
    assert size_multiple(depth=2) == 32
    assert size_multiple(high_resolutions=3) == 64
    assert size_multiple(depth=4, high_resolutions=4, low_block_size=(1, 1), low_grid_size=(1, 1)) == 128
    assert size_multiple(1, 1, (3, 4), (5, 1), (1, 1), (1, 7)) == 420
    model = maxim(**OTHER, image_shape=(32, 64, 3))
    assert model.input_shape == model.output_shape == (None, 32, 64, 3)
    with pytest.raises(InputError, match="multiples of 8"):
        maxim(**OTHER, image_shape=(32, 36, 3))


BAD = [
    ({"stages": 0}, "stages: expected"),
    ({"features": 0}, "features: expected"),
    ({"groups": 1.5}, "groups: expected"),
    ({"depth": True}, "depth: expected"),
    ({"bottleneck_blocks": -1}, "bottleneck_blocks: expected"),
    ({"high_resolutions": -1}, "high_resolutions: expected"),
    ({"dropout": 1.0}, "dropout: expected"),
    ({"outputs": "first"}, "outputs: expected 'last', 'all', received 'first'"),
    ({"scales": 4}, "scales: expected at most the depth, 3, received 4"),
    ({"reduction": 64}, "reduction: expected at most the features, 32, received 64"),
    ({"block_size": (8,)}, "block_size: expected two positive ints, received"),
    ({"grid_size": (8, 0)}, "grid_size: expected two positive ints, received"),
    ({"low_block_size": 8}, "low_block_size: expected two positive ints, received 8"),
    ({"low_grid_size": (8.0, 8)}, "low_grid_size: expected two positive ints, received"),
    ({"image_shape": (60, 64, 3)}, "multiples of 64"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=str)
def test_what_makes_no_network_is_refused(options, message):
    with pytest.raises(InputError, match=message) as caught:
        maxim(**options)
    assert "\n" not in str(caught.value)


def test_bad_sizes_of_smaller_levels_are_refused_even_where_only_the_bottleneck_has_them():
    with pytest.raises(InputError, match="low_grid_size: expected two positive ints, received"):
        maxim(depth=1, scales=1, low_grid_size=(8, 0))


# Files


def test_a_keras_archive_loads_in_safe_mode_and_computes_the_same(small, tmp_path):
    _, model, everything = small
    model.save(tmp_path / "maxim.keras")
    loaded = keras.saving.load_model(tmp_path / "maxim.keras", compile=False, safe_mode=True)
    for image, other in zip(called(loaded, IMAGE), everything, strict=True):
        np.testing.assert_array_equal(image, other)


def test_a_weight_file_that_names_its_network_has_the_weights_of_as_many_stages_as_are_asked_for(small, tmp_path):
    _, model, _ = small
    save_network(model, tmp_path / "m.weights.h5", "maxim", {**SMALL, "outputs": "all"})
    content = any_file.read(tmp_path / "m.weights.h5")
    assert content.network == "MAXIM generator"
    assert content.assumed["stages"] == 2
    kept = {weight.path: np.asarray(weight) for weight in model.weights}
    for stages in (1, 2):
        built = content.build(stages=stages, outputs="last")
        assert len(built.outputs) == 1
        assert {weight.path.split(".")[0] for weight in built.weights} == {f"stage_{i}" for i in range(stages)}
        for weight in built.weights:
            np.testing.assert_array_equal(weight, kept[weight.path])


def test_no_file_of_a_stage_is_opened_that_is_not_used(small, tmp_path):
    arrays, _, everything = small
    folder = write_stages(tmp_path / "stages", arrays)
    (folder / "stage_1.safetensors").write_bytes(b"not to be opened")
    (image,) = called(any_file.read(folder, stages=1).build(), IMAGE)
    np.testing.assert_allclose(image, everything[0], rtol=0, atol=1e-5)
    with pytest.raises(FileError, match=r"stage_1\.safetensors"):
        any_file.read(folder)
    (folder / "stage_1.safetensors").unlink()
    assert any_file.read(folder).assumed == {"stages": 1}


def test_the_shipped_files_of_one_stage_hold_the_parameters_of_one_stage():
    folder = catalogue.place("maxim-gopro")
    sizes = [(folder / f"stage_{number}.safetensors").stat().st_size for number in range(3)]
    counts = [any_file.read(folder, stages=number).parameters for number in (1, 2)]
    assert counts[0] < 6_500_000
    for size, count in zip(np.cumsum(sizes), counts, strict=False):
        assert 2 * count < size < 2 * count + 300_000  # float16, and names
    assert sum(sizes) < 46_000_000
