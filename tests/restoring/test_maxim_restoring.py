"""Restoring with a network that mixes over whatever it is given: tiles, turns, depths, alpha, batches."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deblurgan.deblurrer import Deblurrer
from deblurgan.errors import InputError
from deblurgan.networks import footprint, maxim_layers
from deblurgan.networks.maxim import maxim
from deblurgan.networks.maxim_weights import initial
from deblurgan.restoring import memory
from deblurgan.restoring import restorer as restorers
from deblurgan.restoring.restorer import Restorer
from tests.maxim_files import TINY, flax_arrays, keras_arrays
from tests.photographs import noise
from tests.restoring.tiled import Tiled

OPTIONS = {**TINY, "stages": 1, "depth": 1, "scales": 1, "low_grid_size": (8, 8)}  # multiples of 16
TILE, OVERLAP = 48, 8  # in place of 384 and 32
TILED = (90, 151)  # rows and columns of a picture that does not fit into the largest tile, 80x80
DTYPES = (np.uint8, np.uint16, np.float32)


@pytest.fixture(scope="module", autouse=True)
def small_tiles():
    """Tiles of about 48x48: the geometry is the same, and there is less to compute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maxim_layers, "TILE", TILE)
        patch.setattr(restorers, "ALIKE_OVERLAP", OVERLAP)
        yield


@pytest.fixture(scope="module")
def model():
    """A small network whose pictures stay of the size of the image."""
    arrays = keras_arrays(flax_arrays(OPTIONS))
    arrays = {name: array * np.float32(0.7 if name.endswith("kernel") else 1) for name, array in arrays.items()}
    options = {name: value for name, value in OPTIONS.items() if name != "channels"}
    return maxim(**options, dtype="float32", initial=initial(arrays, options["depth"]))


@pytest.fixture(scope="module")
def restorer(model):
    return Restorer(model)


@pytest.fixture(scope="module")
def made(model, restorer):
    """What makes other restorers with the same network, which share its graphs: they take longest."""

    def make(**options):
        other = Tiled(model, **options)
        other._run = restorer._run
        return other

    return make


@pytest.fixture
def weaker(model):
    """A function that multiplies what the network adds to an image by a factor, until the end of the test."""
    out = model.get_layer("stage_0.out_0")
    before = out.get_weights()

    def multiply(factor):
        out.set_weights([weight * np.float32(factor) for weight in before])

    yield multiply
    out.set_weights(before)


@pytest.fixture(scope="module")
def answers(model):
    """What gives for images in [0, 1] what Keras makes of them, float64, limited to [0, 1]."""
    graph = tf.function(
        lambda images: model(images * 2 - 1, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3))],
        autograph=False,
    )

    def answer(images):
        found = {}
        for shape in {image.shape for image in images}:
            alike = [i for i, image in enumerate(images) if image.shape == shape]
            made = np.asarray(graph(np.stack([images[i] for i in alike]).astype(np.float32)), np.float64)
            found |= dict(zip(alike, np.clip(made / 2 + 0.5, 0, 1), strict=True))
        return [found[i] for i in range(len(images))]

    return answer


# Two computations of a network in float32 that take sums in another order may differ by this in [0, 1]: each value is
# exact to 2**-24, which some hundred operations with random weights and normalisations between enlarge.
FLOAT32 = 2**-13


def limit(dtype):
    """How far a restored image may be from the exact values."""
    return FLOAT32 * scale(dtype) + (0 if dtype == np.float32 else 0.5)


def scale(dtype):
    return 1 if dtype == np.float32 else np.iinfo(dtype).max


def averaged(answers, images):
    """Means of the answers for images turned and mirrored in 8 ways each."""
    turned = [
        np.rot90(np.fliplr(image) if flipped else image, turns)
        for image, flipped, turns in itertools.product(images, (False, True), range(4))
    ]
    made = answers(turned)
    ways = itertools.product(images, (False, True), range(4))
    back = [np.rot90(image, -turns) for image, (_, _, turns) in zip(made, ways, strict=True)]
    back = [np.fliplr(image) if i % 8 > 3 else image for i, image in enumerate(back)]
    return [np.mean(back[i : i + 8], axis=0) for i in range(0, len(back), 8)]


def weights(part, parts):
    """How much each pixel of a side counts that a part sees: less and less over the pixels that two parts share."""
    place = np.arange(part.see_from, part.see_to) + 0.5
    rising = 1 if part is parts[0] else np.clip((place - part.start + OVERLAP / 2) / OVERLAP, 0, 1)
    falling = 1 if part is parts[-1] else np.clip((part.stop - place + OVERLAP / 2) / OVERLAP, 0, 1)
    return rising * falling * np.ones(len(place))


def by_definition(plan, image, restore):
    """A float64 picture in [0, 1], restored in tiles by `restore`, which takes and gives lists; and blended."""
    height, width = image.shape[:2]
    rows, columns = plan
    padding = [(0, parts[-1].see_to - side) for parts, side in ((rows, height), (columns, width))]
    padded = np.pad(image / scale(image.dtype), [*padding, (0, 0)], mode="reflect")
    places = [
        (slice(row.see_from, row.see_to), slice(column.see_from, column.see_to))
        for row, column in itertools.product(rows, columns)
    ]
    blended, total = np.zeros(padded.shape), np.zeros((*padded.shape[:2], 1))
    factors = [
        np.outer(weights(row, rows), weights(column, columns)) for row, column in itertools.product(rows, columns)
    ]
    for place, tile, factor in zip(places, restore([padded[place] for place in places]), factors, strict=True):
        blended[place] += factor[..., None] * tile
        total[place] += factor[..., None]
    np.testing.assert_allclose(total, 1, atol=1e-12)
    return blended[:height, :width]


def assert_restored(image, restored, expected):
    """Compare with `expected`, in [0, 1]."""
    assert restored.dtype == image.dtype
    assert restored.shape == image.shape
    np.testing.assert_allclose(restored, expected * scale(image.dtype), rtol=0, atol=limit(image.dtype))
    assert np.abs(expected - image / scale(image.dtype)).mean() > 0.1  # the network does something


# Tiles


def test_the_network_is_known_to_mix_over_all_that_it_sees(model, restorer):
    needs = footprint.footprint(model)
    assert (needs.multiple, needs.tile, needs.whole, needs.local) == (16, TILE, True, False)
    assert restorer.needs == needs


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_picture_in_tiles_is_the_blend_of_what_the_network_gives_for_each(answers, restorer, dtype):
    image = noise(*TILED, dtype=dtype)
    plan = restorer.tile_plan(*TILED, dtype)
    assert [len(parts) for parts in plan] == [2, 2]
    assert all(parts[0].see_to % 16 == 0 for parts in plan)
    expected = by_definition(plan, image, answers)
    assert_restored(image, restorer(image), expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 31), (16, 16), (17, 40), (80, 66)])
def test_a_picture_that_fits_is_mirrored_up_to_a_multiple_and_restored_in_one_piece(answers, restorer, size):
    image = noise(*size)
    plan = restorer.tile_plan(*size)
    assert [[tuple(part) for part in parts] for parts in plan] == [
        [(0, end, 0, end)] for end in (-(-side // 16) * 16 for side in size)
    ]
    expected = by_definition(plan, image, answers)
    np.testing.assert_allclose(restorer(image), expected * 255, rtol=0, atol=limit(np.uint8))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_that_changes_nothing_gives_the_picture_back_without_a_seam(restorer, weaker, dtype):
    weaker(0)
    for image in (noise(*TILED, dtype=dtype), np.full((*TILED, 3), 0.3 * scale(dtype)).astype(dtype)):
        np.testing.assert_allclose(restorer(image), image, rtol=0, atol=1e-6 if dtype == np.float32 else 0)


def test_the_tiles_of_a_constant_picture_meet_without_a_jump(restorer, weaker):
    """Between tiles that differ, the blend adds to a step between pixels at most what they differ by, over 8."""
    weaker(0.1)
    flat = np.full((*TILED, 3), 0.5, np.float32)
    rows, columns = restorer.tile_plan(*TILED, np.float32)
    restored = restorer(flat)
    tile = restorer(flat[: rows[0].see_to, : columns[0].see_to])
    assert 0.01 < np.ptp(tile) < 0.4
    for axis in (0, 1):
        steps, own = (np.abs(np.diff(image, axis=axis)).max() for image in (restored, tile))
        assert steps <= own + np.ptp(tile) / OVERLAP + 1e-5


@pytest.mark.parametrize("size", [TILED, (60, 80)], ids=["tiles", "one piece"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_turns_are_averaged_and_strength_mixes_with_the_input(answers, made, size, dtype):
    image = noise(*size, dtype=dtype)
    restore = made(tta=True, strength=0.7)
    expected = by_definition(restore.tile_plan(*size, dtype), image, lambda images: averaged(answers, images))
    mixed = 0.7 * expected + 0.3 * image / scale(dtype)
    np.testing.assert_allclose(restore(image), mixed * scale(dtype), rtol=0, atol=limit(dtype))
    plain = by_definition(restore.tile_plan(*size, dtype), image, answers)
    assert np.abs(expected - plain).mean() > 0.01  # the network is not symmetric


def test_each_tile_is_told_with_how_many_there_are(made):
    restore, told = made(tta=True), []
    restore.on_tile = lambda done, total: told.append((done, total))
    restore(noise(*TILED))
    assert told == [(i, 32) for i in range(1, 33)]
    told.clear()
    restore(noise(20, 30))
    assert told == [(i, 8) for i in range(1, 9)]


# Memory


def test_less_memory_makes_smaller_tiles_and_too_little_is_refused(model, monkeypatch):
    monkeypatch.setattr(memory, "resident", lambda: 10**9)
    monkeypatch.setattr(maxim_layers, "TILE", 384)
    monkeypatch.setattr(restorers, "ALIKE_OVERLAP", 32)

    def sides(**options):
        restore = Restorer(model, **options)
        plan = restore.tile_plan(3000, 4000)
        seen = [{part.see_to - part.see_from for part in parts} for parts in plan]
        assert [len(lengths) for lengths in seen] == [1, 1]
        pixels = math.prod(min(lengths) for lengths in seen)
        return pixels, pixels * restore.needs.bytes_per_pixel

    pixels, activations = sides(memory="3GB")
    assert 368 <= pixels**0.5 <= 416  # no larger for having more memory
    held = 10**9 + 80 * 10**6 + 2 * 3000 * 4000 * 3  # Python, TensorFlow, and the picture twice
    less, smaller = sides(memory=int(held + 0.5 * activations))
    assert less < 0.6 * pixels
    assert smaller < 0.5 * activations
    with pytest.raises(InputError, match=r"^memory: expected \d+ MB more for tiles of \d+ pixels, received 1\.1GB$"):
        Restorer(model, memory="1.1GB").tile_plan(3000, 4000)


def test_smaller_tiles_are_blended_as_well(answers, made):
    image = noise(*TILED, dtype=np.float32)
    restore = made(tile_pixels=1100)
    plan = restore.tile_plan(*TILED, np.float32)
    assert [parts[0].see_to for parts in plan] == [32, 32]
    expected = by_definition(plan, image, answers)
    assert_restored(image, restore(image), expected)


def test_a_network_whose_multiple_is_larger_than_the_usual_tile_takes_it_for_its_tile(monkeypatch):
    """A stand-in, as such a network would take long."""
    restore = Tiled.__new__(Tiled)
    restore.needs = footprint.Footprint(512, 600, 0, True, 1000, 512)
    restore._tile_pixels = 10**7
    rows, columns = restore.tile_plan(700, 3000)
    assert [(part.see_from, part.see_to) for part in rows] == [(0, 1024)]
    assert {part.see_to - part.see_from for part in columns} <= {512, 1024, 1536}
    assert columns[-1].see_to >= 3000


# Alpha, batches


def test_alpha_is_restored_and_what_it_hides_does_not_show(restorer):
    rgb = noise(*TILED)
    alpha = np.zeros(TILED, np.uint8)
    alpha[:, :75] = 255
    results = []
    for hidden in (0, 200):
        rgb[:, 75:] = hidden
        given = np.dstack([rgb, alpha])
        restored = Deblurrer(restorer).restore(Image.fromarray(given))
        assert restored.mode == "RGBA"
        results.append(np.asarray(restored))
    np.testing.assert_array_equal(results[0][..., 3], results[1][..., 3])
    seen = results[0][..., 3] > 0
    np.testing.assert_array_equal(results[0][seen], results[1][seen])
    grey = restorer(np.repeat(alpha[..., None], 3, axis=2)).mean(2)
    np.testing.assert_allclose(results[0][:, 70:80, 3], grey[:, 70:80], atol=0.51)
    opaque = Deblurrer(restorer).restore(Image.fromarray(np.dstack([rgb, np.full(TILED, 255, np.uint8)])))
    np.testing.assert_array_equal(np.asarray(opaque)[..., :3], restorer(rgb))


def test_images_of_a_batch_are_restored_as_each_alone(made, restorer):
    images = [noise(22, 30, seed=seed) for seed in range(5)]
    alone = [restorer(image) for image in images]
    for room, runs in ((10**6, [5]), (2 * 32 * 32, [2, 2, 1]), (32 * 32, [1] * 5)):
        restore, counts = made(tile_pixels=room), []
        run = restore._run
        restore._run = lambda given, *rest, run=run, counts=counts: (counts.append(len(given)), run(given, *rest))[1]
        together = restore.batch(images)
        assert counts == runs
        for one, other in zip(together, alone, strict=True):
            assert one.dtype == np.uint8
            assert np.abs(one.astype(int) - other).max() <= 1
