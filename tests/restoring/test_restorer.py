import functools
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deblurgan.errors import InputError
from deblurgan.networks.folding import folded
from deblurgan.networks.footprint import footprint
from deblurgan.networks.tutorial import generator_model
from deblurgan.networks.zoo import build_generator
from deblurgan.pictures.pixels import from_model, to_model
from deblurgan.restoring import memory
from deblurgan.restoring import restorer as restorers
from deblurgan.restoring.opening import open_restorer
from deblurgan.restoring.restorer import Restorer
from deblurgan.scoring.metrics import psnr
from deblurgan.weights.any_file import load
from deblurgan.weights.hdf5 import save_weights
from tests.photographs import noise
from tests.restoring.tiled import Tiled

upsamplings = pytest.mark.parametrize("upsampling", ["transpose", "resize"])


@pytest.fixture(scope="module")
def generator(randomised):
    """A small generator for images of any size."""
    return randomised(generator_model((None, None, 3), ngf=4, n_blocks=2))


@pytest.fixture(scope="module")
def restorer(generator):
    return fast(generator)


def fast(model, **options):
    """As `open_restorer` makes it of a weight file."""
    return Tiled(folded(model), fixed=True, **options)


def plainly_restored(generator, image):
    """What Keras alone gives: scale, mirror up to a multiple of 4 from 8 on, predict, crop, scale back."""
    height, width = image.shape[:2]
    padding = [(0, max(8, -(-side // 4) * 4) - side) for side in (height, width)]
    padded = np.pad(to_model(image), [*padding, (0, 0)], mode="reflect")
    return from_model(generator(padded[None], training=False)[0, :height, :width])


def largest_difference(image, other):
    return np.abs(image.astype(int) - other).max()


# Whole images


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (5, 40), (7, 9), (8, 8), (9, 13), (16, 12), (33, 50), (61, 64)])
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
    save_weights(model, tmp_path / "g.weights.h5")
    image = noise(18, 23)
    expected = plainly_restored(load(tmp_path / "g.weights.h5"), image)
    for restore in (open_restorer(tmp_path / "g.weights.h5", precision="float32"), Restorer(model), fast(model)):
        assert largest_difference(restore(image), expected) <= 1


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
    restored = fast(model)(image)
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


SIZES = [(299, 262), (517, 9)]  # cut in both directions, or in one


@pytest.mark.parametrize("size", SIZES)
def test_tiles_make_the_same_picture_as_the_whole(size):
    model, image = far_sighted(), noise(*size)
    whole = fast(model)(image)
    tiled = fast(model, tile_pixels=256 * 256)(image)
    assert whole.std() > 20
    assert largest_difference(tiled, whole) <= 1
    assert np.mean(tiled != whole) < 0.01


@upsamplings
def test_tiles_of_a_random_network_make_the_same_picture_as_the_whole(randomised, upsampling):
    model = randomised(generator_model((None, None, 3), ngf=4, upsampling=upsampling))
    image = noise(270, 283)
    whole = fast(model)(image)
    tiled = fast(model, tile_pixels=252 * 256)(image)
    assert largest_difference(tiled, whole) <= 1
    assert np.mean(tiled != whole) < 0.01


def test_a_smaller_overlap_would_show(monkeypatch):
    model, image = far_sighted(), noise(299, 262)
    whole = fast(model)(image)
    monkeypatch.setattr(restorers, "MOST_OVERLAP", 48)
    monkeypatch.setattr(restorers, "BLEND", 0)
    tiled = fast(model, tile_pixels=256 * 256)(image)
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
    reached = np.any(tanh(images) != 0, axis=-1)
    radii = []
    for mask, (y, x) in zip(reached, positions, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert rows[0] > 0  # not cut off by the image
        assert rows[-1] < 255
        radii += [y - rows[0], rows[-1] - y, x - columns[0], columns[-1] - x]
    assert 72 + 6 < max(radii) <= footprint(model).reach <= 88


# Precision


def test_bfloat16_restores_nearly_the_same_picture(randomised, photos, tmp_path):
    """With the statistics that training on photographs leaves, at a tenth of the real width."""
    blurred, sharp = photos
    model = randomised(generator_model((None, None, 3), ngf=6, dropout=0))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(to_model(blurred)[None], training=True)
    save_weights(model, tmp_path / "g.weights.h5")
    exact, half = (
        open_restorer(tmp_path / "g.weights.h5", precision=precision)(blurred)
        for precision in ("float32", "bfloat16")
    )
    assert largest_difference(exact, blurred) > 50
    assert psnr(exact, half) > 40
    assert psnr(sharp, half) == pytest.approx(psnr(sharp, exact), abs=0.05)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "auto"])
def test_every_precision_restores(generator, restorer, precision, tmp_path):
    image = noise(24, 30)
    save_weights(generator, tmp_path / "g.weights.h5")
    restored = open_restorer(tmp_path / "g.weights.h5", precision=precision)(image)
    assert restored.dtype == np.uint8
    assert psnr(restored, restorer(image)) > 35


# Errors

IMAGES = {
    "grey": (
        np.zeros((16, 16), np.uint8),
        r"expected uint8, uint16 or float32 \(height, width, 3\), received uint8 \(16, 16\)",
    ),
    "alpha": (np.zeros((16, 16, 4), np.uint8), r"received uint8 \(16, 16, 4\)"),
    "a batch": (np.zeros((1, 16, 16, 3), np.uint8), r"received uint8 \(1, 16, 16, 3\)"),
    "floats": (np.zeros((16, 16, 3), np.float64), r"received float64 \(16, 16, 3\)"),
    "32 bits": (np.zeros((16, 16, 3), np.uint32), r"received uint32 \(16, 16, 3\)"),
    "empty": (
        np.zeros((0, 16, 3), np.uint8),
        r"expected uint8, uint16 or float32 \(height, width, 3\), received uint8 \(0, 16, 3\)",
    ),
}


@pytest.mark.parametrize(("image", "message"), IMAGES.values(), ids=IMAGES.keys())
def test_an_image_that_cannot_be_restored_is_refused(restorer, image, message):
    with pytest.raises(InputError, match=message):
        restorer(image)


OPTIONS = [
    ({"tta": "yes"}, "tta: expected True or False, received 'yes'"),
    ({"strength": 1.5}, "strength: expected a number from 0 to 1, received 1.5"),
    ({"memory": "much"}, "memory: expected a size like 2GB or 800MB, received 'much'"),
    ({"memory": 0}, "memory: expected a size like 2GB or 800MB, received 0"),
]


@pytest.mark.parametrize(("option", "message"), OPTIONS, ids=str)
def test_an_option_that_makes_no_sense_is_refused(generator, option, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        Restorer(generator, **option)


def test_an_unknown_precision_is_refused(generator, tmp_path):
    save_weights(generator, tmp_path / "g.weights.h5")
    with pytest.raises(InputError, match="precision: expected one of"):
        open_restorer(tmp_path / "g.weights.h5", precision="double")


# 16 bits and floats, flips and turns, strength


def exactly(model, image):
    """What Keras gives for an image whose sides are multiples: float64 in [0, 1]."""
    top = 1 if image.dtype == np.float32 else np.iinfo(image.dtype).max
    output = model(image[np.newaxis].astype(np.float32) / (top / 2) - 1, training=False)
    return np.clip(np.asarray(output)[0].astype(np.float64) / 2 + 0.5, 0, 1)


@pytest.mark.parametrize("options", [{}, {"tile_pixels": 216 * 216}], ids=["whole", "tiles"])
def test_16_bit_images_are_restored_without_rounding_to_8_bits(generator, options):
    image = np.random.default_rng(0).integers(0, 2**16, (240, 248, 3), dtype=np.uint16)
    restored = fast(generator, **options)(image)
    assert restored.dtype == np.uint16
    np.testing.assert_allclose(restored, exactly(generator, image) * 65535, atol=2)
    assert len(np.unique(restored % 257)) > 250  # more than 8 bits hold


def test_floats_are_restored_without_rounding(generator, restorer):
    image = np.random.default_rng(0).random((24, 32, 3), np.float32)
    restored = restorer(image)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, exactly(generator, image), atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "options"), [(np.uint8, {"tile_pixels": 216 * 216}), (np.uint16, {})], ids=["tiles", "whole"]
)
def test_flips_and_turns_are_averaged_and_blended_with_the_input(generator, dtype, options):
    top = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(0, top, (240, 244, 3), dtype=dtype, endpoint=True)
    ways = []
    for turns in range(4):
        for flipped in (False, True):
            turned = np.rot90(np.fliplr(image) if flipped else image, turns)
            back = np.rot90(exactly(generator, turned), -turns)
            ways.append(np.fliplr(back) if flipped else back)
    expected = 0.4 * np.mean(ways, axis=0) * top + 0.6 * image
    restore = fast(generator, tta=True, strength=0.4, **options)
    got = restore(image)
    assert (got.dtype, round(restore.pixels_done)) == (dtype, 240 * 244)
    np.testing.assert_allclose(got, expected, atol=0.51 if dtype == np.uint8 else 2)
    assert np.std(ways, axis=0).max() > 0.01  # the network is not symmetric
    np.testing.assert_array_equal(Restorer(generator, strength=0.0)(image), image)


def test_images_of_a_batch_are_restored_as_each_alone(generator, restorer):
    images = [noise(22, 30, seed=seed) for seed in range(5)]
    alone = [restorer(image) for image in images]
    for options in ({}, {"tile_pixels": 24 * 32 * 2}, {"tile_pixels": 24 * 32}):
        restore = fast(generator, **options)
        together = restore.batch(images)
        assert (len(together), restore.pixels_done) == (5, 5 * 22 * 30)
        for one, other in zip(together, alone, strict=True):
            assert one.dtype == np.uint8
            assert largest_difference(one, other) <= 1
    assert restorer.batch([]) == []
    assert all(map(np.array_equal, restorer.batch(np.stack(images)), restorer.batch(images)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected all as the first, uint8 \(22, 30, 3\), found uint8 \(8, 8, 3\)"):
        restorer.batch([images[0], noise(8, 8)])


# Tiles of other networks


def difference_of_tiles(model, image, tile_pixels):
    """The largest and mean difference that tiles make, and the mean change by the network; in levels."""
    image = (image / 255).astype(np.float32)
    whole, tiled = (Tiled(model, tile_pixels=pixels)(image) for pixels in (10**9, tile_pixels))
    difference = 255 * np.abs(tiled - whole)
    return difference.max(), difference.mean(), 255 * np.abs(whole - image).mean()


def textured(height, width):
    """Shapes of all sizes, alike everywhere, over a grey that rises."""
    random, image = np.random.default_rng(0), np.zeros((height, width, 3))
    for scale in (1, 4, 16, 64):
        coarse = random.normal(size=(-(-height // scale), -(-width // scale), 3)) * 20
        image += np.kron(coarse, np.ones((scale, scale, 1)))[:height, :width]
    return np.clip(image + 128, 0, 255).astype(np.uint8)


def test_tiles_of_a_batch_normalised_network_are_exact(randomised):
    model = randomised(build_generator("paper", {"ngf": 4, "n_blocks": 2, "norm": "batch", "dropout": 0.0}))
    largest, _, change = difference_of_tiles(model, textured(133, 150), 100 * 100)
    assert largest < 0.01
    assert change > 5


def test_tiles_with_the_statistics_of_the_whole_picture_are_exact(randomised, monkeypatch):
    model = randomised(build_generator("paper", {"ngf": 4, "n_blocks": 2, "dropout": 0.0}))

    def of_whole(self, padded, parts):
        return [None] if len(parts[0]) == 1 else [self._run.measured(padded[np.newaxis])]

    monkeypatch.setattr(Restorer, "_statistics", of_whole)
    largest, _, change = difference_of_tiles(model, textured(280, 400), 160 * 160)
    assert largest < 0.05
    assert change > 20


def test_tiles_of_an_instance_normalised_network_share_statistics(randomised, monkeypatch):
    """Closer to the whole picture than tiles with statistics of their own, and without seams."""
    model = randomised(build_generator("paper", {"ngf": 4, "n_blocks": 2, "dropout": 0.0}))
    image = textured(280, 400)
    image[:, 200:] //= 2
    _, shared, change = difference_of_tiles(model, image, 160 * 160)
    monkeypatch.setattr(Restorer, "_statistics", lambda self, padded, parts: [None])
    _, own, _ = difference_of_tiles(model, image, 160 * 160)
    assert shared < 0.5 * own
    assert shared < 0.25 * change


@pytest.mark.parametrize("window", [64, None])
def test_tiles_of_nafnet_are_nearly_those_of_the_whole(randomised, window):
    options = {"width": 4, "encoder_blocks": (1, 1), "decoder_blocks": (1, 1), "local_window": window}
    model = randomised(build_generator("nafnet", options))
    for variable in model.weights:
        if variable.path.split("/")[-1] in ("beta", "gamma"):
            variable.assign(np.full(variable.shape, 0.3))
    _, mean, change = difference_of_tiles(model, textured(260, 300), 150 * 150)
    assert change > 2
    assert mean < 0.05 * change


def test_tiles_of_a_unet_are_blended(randomised):
    model = randomised(build_generator("unet", {"ngf": 2, "num_downs": 5, "residual": True, "dropout": 0.0}))
    _, mean, change = difference_of_tiles(model, textured(350, 500), 352 * 400)
    assert mean < 0.05 * change


def test_tiles_of_a_unet_share_statistics_that_need_larger_squares(randomised):
    options = {"ngf": 2, "num_downs": 7, "wiring": "tensorflow", "test_statistics": True, "dropout": 0.0}
    model = randomised(build_generator("unet", options))
    _, mean, change = difference_of_tiles(model, textured(500, 760), 512 * 640)
    assert mean < 0.25 * change


# A U-Net, and grey


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (31, 33), (64, 65), (100, 32)])
@pytest.mark.parametrize("channels", [(3, 3), (1, 3), (1, 1), (3, 1)], ids=str)
def test_a_unet_restores_pictures_of_any_size_in_colours_and_grey(unets, channels, size):
    model = unets(channels)
    image = noise(*size)
    given = image if channels[0] == 3 else np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
    padding = [(0, -side % 32) for side in size]
    padded = np.pad(to_model(given), [*padding, (0, 0)], mode="reflect")
    expected = from_model(model(padded[None], training=False)[0, : size[0], : size[1]])
    restorer = fast(model)
    assert restorer.channels == channels
    for restored in (restorer(image), *restorer.batch([image, image])):
        assert restored.shape == image.shape
        assert largest_difference(restored, np.broadcast_to(expected, image.shape)) <= 1
    assert np.ptp(restored, axis=2).any() == (channels[1] == 3)


def test_tiles_turns_and_floats_of_grey_networks(unets):
    image = textured(350, 500)
    for channels in ((1, 3), (3, 1)):
        whole = Restorer(unets(channels))(image)
        _, mean, change = difference_of_tiles(unets(channels), image, 352 * 400)
        assert mean < 0.05 * change
        turned = Restorer(unets(channels), tta=True, strength=0.5)(image)
        assert turned.shape == image.shape
        floats = Restorer(unets(channels))((image / np.float32(255)).astype(np.float32))
        assert np.abs(floats * 255 - whole).max() < 2


@pytest.fixture(scope="module")
def unets(randomised):
    """A function that returns a small U-Net for so many channels."""

    @functools.cache
    def unet(channels):
        options = {"ngf": 2, "num_downs": 5, "image_shape": (None, None, channels[0]), "output_channels": channels[1]}
        return randomised(build_generator("unet", options))

    return unet


# Memory


def test_a_smaller_memory_makes_smaller_tiles_and_too_small_a_one_is_refused(generator, monkeypatch):
    monkeypatch.setattr(memory, "resident", lambda: 10**9)
    small, large = (fast(generator, memory=size) for size in ("1.6GB", "3GB"))
    tiles = [restorer.tile_plan(4000, 6000) for restorer in (small, large)]
    assert len(tiles[0][0]) * len(tiles[0][1]) > len(tiles[1][0]) * len(tiles[1][1])
    for restorer, (rows, columns), size in zip((small, large), tiles, (1.6e9, 3e9), strict=True):
        pixels = max(r.see_to - r.see_from for r in rows) * max(c.see_to - c.see_from for c in columns)
        assert pixels * restorer.needs.bytes_per_pixel < size - 1e9
    image = noise(300, 300)
    with pytest.raises(InputError, match=r"^memory: expected \d+ MB more for tiles of \d+ pixels, received 900MB$"):
        Restorer(generator, memory="900MB")(image)


def test_an_error_in_the_middle_leaves_nothing_behind(generator, monkeypatch):
    restorer = fast(generator, tile_pixels=216 * 216)
    image, other = noise(240, 248), noise(240, 248, seed=1)
    expected, run, calls = restorer(image), restorer._run, []

    def broken(*arguments):
        calls.append(0)
        if len(calls) == 2:
            raise MemoryError
        return run(*arguments)

    monkeypatch.setattr(restorer, "_run", broken)
    with pytest.raises(MemoryError):
        restorer(other)
    np.testing.assert_array_equal(restorer(image), expected)


def test_tensorflow_has_nothing_to_say_about_networks_one_after_the_other(generator):
    said, handler = [], logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    try:
        for _ in range(5):  # traces of the same code that TensorFlow warns of
            Restorer(generator)(noise(16, 16))
    finally:
        tf.get_logger().removeHandler(handler)
    assert said == []
