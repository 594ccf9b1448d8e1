import keras
import numpy as np
import pytest

from deblurgan import inference
from deblurgan.errors import InputError, WeightsError
from deblurgan.images import from_model, to_model
from deblurgan.inference import OVERLAP, Refined, Restorer, WholePictureRestorer, spans
from deblurgan.metrics import psnr
from deblurgan.model import generator_model
from deblurgan.weights import generator_weights, load_generator, read_generator

upsamplings = pytest.mark.parametrize("upsampling", ["transpose", "resize"])


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def generator(randomised):
    """A small generator for images of any size."""
    return randomised(generator_model((None, None, 3), ngf=4, n_blocks=2))


@pytest.fixture(scope="module")
def restorer(generator):
    return Restorer(generator, precision="float32")


def plainly_restored(generator, image):
    """What Keras alone gives: scale, mirror up to a multiple of 4 from 8 on, predict, crop, scale back."""
    height, width = image.shape[:2]
    padding = [(0, max(8, -(-side // 4) * 4) - side) for side in (height, width)]
    padded = np.pad(to_model(image), [*padding, (0, 0)], mode="reflect")
    return from_model(generator(padded[None], training=False)[0, :height, :width])


def largest_difference(image, other):
    return np.abs(image.astype(int) - other).max()


# Whole images


@pytest.mark.parametrize("size", [(5, 5), (5, 40), (6, 7), (7, 9), (8, 8), (9, 13), (16, 12), (33, 50), (61, 64)])
def test_an_image_of_any_size_is_restored_as_keras_alone_does_within_a_level(restorer, generator, size):
    image = noise(*size)
    restored = restorer(image)
    assert restored.dtype == np.uint8
    assert restored.shape == image.shape
    expected = plainly_restored(generator, image)
    assert largest_difference(expected, image) > 20
    assert largest_difference(restored, expected) <= 1
    assert np.mean(restored != expected) < 0.01


@upsamplings
def test_a_restorer_takes_the_weights_of_a_file(tmp_path, randomised, upsampling):
    model = randomised(generator_model((16, 16, 3), ngf=4, n_blocks=1, upsampling=upsampling))
    model.save_weights(tmp_path / "g.weights.h5")
    image = noise(18, 23)
    expected = plainly_restored(load_generator(tmp_path / "g.weights.h5"), image)
    for weights in (read_generator(tmp_path / "g.weights.h5"), generator_weights(model), model):
        assert largest_difference(Restorer(weights, precision="float32")(image), expected) <= 1


def test_restoring_is_repeatable_and_leaves_the_image_alone(restorer):
    image = noise(21, 34)
    before = image.copy()
    np.testing.assert_array_equal(restorer(image), restorer(image))
    np.testing.assert_array_equal(image, before)


def test_views_and_read_only_arrays_are_restored_as_their_copies(restorer):
    image = noise(40, 60)
    view = image[::2, ::-3]
    np.testing.assert_array_equal(restorer(view), restorer(view.copy()))
    image.flags.writeable = False
    np.testing.assert_array_equal(restorer(image), restorer(image.copy()))


def test_a_network_that_changes_nothing_gives_half_of_the_image_back(restorer, generator):
    """The output is (tanh + input) / 2: with tanh at 0, grey values move half-way to the middle."""
    model = generator_model((None, None, 3), ngf=4, n_blocks=2)
    model.get_layer("out_conv").kernel.assign(np.zeros((7, 7, 4, 3)))
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = (image.astype(float) + 127.5) / 2
    restored = Restorer(model, precision="float32")(image)
    assert np.abs(restored - expected).max() <= 0.5


# Tiles


def far_sighted(upsampling="transpose"):
    """A 9-block generator whose pixels depend on others 60 away, up and left or down and right, as on near ones.

    Each channel's kernels in the blocks look at one corner only, and shift by two positions a block, with which the
    block's input is outweighed; all values are positive, so nothing is lost in a ReLU.
    """
    model = generator_model((None, None, 3), ngf=4, upsampling=upsampling)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if not layer.weights or isinstance(layer, keras.layers.BatchNormalization):
            continue
        kernel = np.abs(random.normal(size=layer.kernel.shape)) / np.prod(layer.kernel.shape[:3])
        if layer.name.startswith("block"):
            kernel[:] = 0
            for channel in range(len(kernel[0, 0])):
                corner = 0 if channel % 2 else 2
                kernel[corner, corner, channel, channel] = 2
        layer.kernel.assign(kernel)
    model.get_layer("in_conv").bias.assign(np.full(4, 1.0))
    out = model.get_layer("out_conv").kernel
    out.assign(out * random.choice([-1, 1], (1, 1, 4, 3)))
    image = to_model(noise(64, 64))[None]
    features = keras.Model(model.inputs[0], model.get_layer("out_conv").output)(image)
    out.assign(out / np.std(features))
    model.get_layer("out_conv").bias.assign(-np.mean(features, axis=(0, 1, 2)) / np.std(features))
    return model


SIZES = [(299, 262), (120, 413), (517, 9)]  # cut in both directions, or in one


@pytest.mark.parametrize("size", SIZES)
def test_tiles_make_the_same_picture_as_the_whole(size):
    model, image = far_sighted(), noise(*size)
    whole = Restorer(model, precision="float32")(image)
    tiled = Restorer(model, precision="float32", tile=64)(image)
    assert whole.std() > 20
    assert largest_difference(tiled, whole) <= 1
    assert np.mean(tiled != whole) < 0.01


@upsamplings
def test_tiles_of_a_random_network_make_the_same_picture_as_the_whole(randomised, upsampling):
    model = randomised(generator_model((None, None, 3), ngf=4, upsampling=upsampling))
    image = noise(270, 283)
    whole = Restorer(model, precision="float32")(image)
    tiled = Restorer(model, precision="float32", tile=60)(image)
    assert largest_difference(tiled, whole) <= 1
    assert np.mean(tiled != whole) < 0.01


def test_a_smaller_overlap_would_show(monkeypatch):
    model, image = far_sighted(), noise(299, 262)
    whole = Restorer(model, precision="float32")(image)
    monkeypatch.setattr(inference, "OVERLAP", 48)
    tiled = Restorer(model, precision="float32", tile=64)(image)
    assert largest_difference(tiled, whole) > 10


@upsamplings
def test_the_overlap_covers_the_receptive_field(upsampling):
    """One bright pixel on black reaches exactly the pixels whose receptive field it is in.

    All kernels are positive and no bias stands against them, so no contribution cancels, and float32 tells the
    smallest, some 1e-25, from 0.
    """
    model = generator_model((256, 256, 3), ngf=1, upsampling=upsampling)
    for layer in model.layers:
        if layer.weights and not isinstance(layer, keras.layers.BatchNormalization):
            layer.kernel.assign(np.full(layer.kernel.shape, 1 / np.prod(layer.kernel.shape[:3])))
    tanh = keras.Model(model.inputs[0], model.get_layer("out_tanh").output)
    positions = [(128 + i, 128 + j) for i in range(4) for j in range(4)]  # all phases of the two halvings
    images = np.zeros((len(positions), 256, 256, 3), np.float32)
    for image, (y, x) in zip(images, positions, strict=True):
        image[y, x] = 1
    reached = np.any(tanh.predict(images, batch_size=4, verbose=0) != 0, axis=-1)
    radii = []
    for mask, (y, x) in zip(reached, positions, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert rows[0] > 0  # not cut off by the image
        assert rows[-1] < 255
        radii += [y - rows[0], rows[-1] - y, x - columns[0], columns[-1] - x]
    assert 72 + 6 < max(radii) <= OVERLAP


@pytest.mark.parametrize("tile", [4, 8, 12, 64, 1280])
@pytest.mark.parametrize("overlap", [0, 4, 96])
def test_spans_cover_a_side_and_see_enough(tile, overlap):
    for size in [*range(1, 700), 1279, 1280, 1281, 1472, 1473, 2559, 2561, 4000, 6003]:
        parts = spans(size, tile, overlap)
        starts, stops = [part[0] for part in parts], [part[1] for part in parts]
        assert starts == [0, *stops[:-1]]
        assert stops[-1] == size
        lengths = [stop - start for start, stop, _, _ in parts]
        assert min(lengths) > 0
        assert max(lengths) <= tile or len(parts) == 1
        for start, stop, see_from, see_to in parts:
            assert start % 4 == see_from % 4 == 0
            assert stop % 4 == 0 or stop == size
            assert see_to % 4 == 0 or see_to == size
            assert see_from == max(0, start - overlap)
            assert see_to == min(size, stop + overlap)


def test_spans_differ_in_length_by_at_most_4():
    for size in range(5, 4000):
        lengths = [stop - start for start, stop, _, _ in spans(size, 64, 8)]
        assert max(lengths) - min(lengths) <= 4, size


def test_a_side_that_one_tile_with_its_surroundings_covers_is_not_cut():
    assert spans(64 + 2 * 96, 64, 96) == [(0, 256, 0, 256)]
    assert len(spans(64 + 2 * 96 + 1, 64, 96)) == 5


# New weights


def test_update_follows_the_models_new_weights(randomised):
    model = randomised(generator_model((16, 16, 3), ngf=4, n_blocks=2), seed=1)
    restorer, image = Restorer(model, precision="float32"), noise(22, 31)
    before = restorer(image)
    randomised(model, seed=2)
    np.testing.assert_array_equal(restorer(image), before)
    restorer.update(model)
    after = restorer(image)
    assert largest_difference(after, before) > 20
    np.testing.assert_array_equal(after, Restorer(model, precision="float32")(image))


@pytest.mark.parametrize("arguments", [{"n_blocks": 3}, {"ngf": 5}, {"upsampling": "resize"}], ids=str)
def test_update_refuses_a_model_of_another_shape(generator, arguments):
    other = generator_model((16, 16, 3), **{"ngf": 4, "n_blocks": 2, **arguments})
    with pytest.raises(WeightsError, match=r"Generator: .*expected"):
        Restorer(generator, precision="float32").update(other)


# Precision


@upsamplings
def test_bfloat16_restores_nearly_the_same_picture(randomised, photos, upsampling):
    """With the statistics that training on photographs leaves, at a tenth of the real width."""
    blurred, sharp = photos
    model = randomised(generator_model((None, None, 3), ngf=6, upsampling=upsampling, dropout=0))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(to_model(blurred)[None], training=True)
    exact, half = (Restorer(model, precision=precision)(blurred) for precision in ("float32", "bfloat16"))
    assert largest_difference(exact, blurred) > 50
    assert psnr(exact, half) > 40
    assert psnr(sharp, half) == pytest.approx(psnr(sharp, exact), abs=0.05)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "auto"])
def test_every_precision_restores(generator, restorer, precision):
    image = noise(24, 30)
    restored = Restorer(generator, precision=precision)(image)
    assert restored.dtype == np.uint8
    assert psnr(restored, restorer(image)) > 35


# Errors

IMAGES = {
    "grey": (
        np.zeros((16, 16), np.uint8),
        r"expected uint8 or uint16 \(height, width, 3\), received uint8 \(16, 16\)",
    ),
    "alpha": (np.zeros((16, 16, 4), np.uint8), r"received uint8 \(16, 16, 4\)"),
    "a batch": (np.zeros((1, 16, 16, 3), np.uint8), r"received uint8 \(1, 16, 16, 3\)"),
    "floats": (np.zeros((16, 16, 3), np.float32), r"received float32 \(16, 16, 3\)"),
    "signed": (np.zeros((16, 16, 3), np.int16), r"received int16 \(16, 16, 3\)"),
    "low": (np.zeros((4, 16, 3), np.uint8), "expected at least 5x5 pixels, received 16x4"),
    "narrow": (np.zeros((16, 4, 3), np.uint8), "expected at least 5x5 pixels, received 4x16"),
    "empty": (
        np.zeros((0, 16, 3), np.uint8),
        r"expected uint8 or uint16 \(height, width, 3\), received uint8 \(0, 16, 3\)",
    ),
}


@pytest.mark.parametrize(("image", "message"), IMAGES.values(), ids=IMAGES.keys())
def test_an_image_that_cannot_be_restored_is_refused(restorer, image, message):
    with pytest.raises(InputError, match=message):
        restorer(image)


@pytest.mark.parametrize("tile", [0, -4, 2, 65])
def test_a_tile_that_is_no_positive_multiple_of_4_is_refused(generator, tile):
    with pytest.raises(InputError, match=f"tile: expected a positive multiple of 4, received {tile}"):
        Restorer(generator, tile=tile)


def test_an_unknown_precision_is_refused(generator):
    with pytest.raises(InputError, match="precision: expected one of"):
        Restorer(generator, precision="double")


# 16 bits, flips and turns, strength


def odd(image):
    """A restorer that is not symmetric, and needs 16 bits."""
    assert image.dtype == np.uint16
    shifted = np.roll(image, 1, axis=1).astype(np.float64)
    return np.rint(0.75 * shifted + 0.25 * image).astype(np.uint16)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flips_and_turns_are_averaged_and_blended_with_the_input(dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (7, 10, 3), dtype=dtype, endpoint=True)
    step = 257 if dtype == np.uint8 else 1
    deep = image.astype(np.float64) * step
    ways = []
    for turns in range(4):
        for flipped in (False, True):
            turned = np.rot90(np.fliplr(deep) if flipped else deep, turns)
            back = np.rot90(0.75 * np.roll(turned, 1, axis=1) + 0.25 * turned, -turns)
            ways.append(np.fliplr(back) if flipped else back)
    expected = (0.4 * np.mean(ways, axis=0) + 0.6 * deep) / step
    got = Refined(odd, tta=True, strength=0.4)(image)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, atol=0.51 if dtype == np.uint8 else 1.0)
    np.testing.assert_array_equal(Refined(odd, strength=0)(image), image)


def test_a_strength_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"strength: expected 0 to 1, received 1\.5"):
        Refined(odd, strength=1.5)


def test_16_bit_images_are_restored_without_rounding_to_8_bits(randomised):
    model = randomised(generator_model((None, None, 3), ngf=4, n_blocks=1))
    image = np.random.default_rng(0).integers(0, 2**16, (24, 32, 3), dtype=np.uint16)
    for restorer in (Restorer(model, precision="float32"), WholePictureRestorer(model)):
        restored = restorer(image)
        exact = np.asarray(model(image[np.newaxis].astype(np.float32) / 32767.5 - 1))[0].astype(np.float64)
        assert restored.dtype == np.uint16
        np.testing.assert_allclose(restored, np.clip(exact * 32767.5 + 32767.5, 0, 65535), atol=2)
        assert len(np.unique(restored % 257)) > 200  # more than 8 bits hold
