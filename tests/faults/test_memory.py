import random
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from tests.faults.children import Memory, started
from tests.photographs import names
from tests.video import clips

pytestmark = pytest.mark.faults


KINDS = {".png": 4, ".jpg": 8, ".bmp": 1, ".tif": 2, ".webp": 1}
LARGEST = 1400  # pixels of a side: two megapixels
RATE = Fraction(25, 2)  # frames a second


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Weights of the tutorial's generator with few channels, but many layers.

    TensorFlow keeps what it has prepared for the latest thousand operations and sizes; with as many layers as
    larger networks have, these are together after a few dozen pictures.
    """
    import keras

    from deblurgan.networks.tutorial import generator_model
    from deblurgan.weights.hdf5 import save_weights

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "deep.weights.h5"
    save_weights(generator_model((None, None, 3), ngf=4, n_blocks=30), path)
    return path


def growth(child, done, total):
    """What a child's memory grows by while it works, and how large that is, when it has ended well."""
    memory = Memory(child.pid, done)
    _, err = child.communicate()
    assert child.returncode == 0, err
    return memory.growth(0, total)


def test_a_thousand_pictures_of_mixed_sizes(often, note, deep, tmp_path):
    count, largest, chance = often(200, 1000), often(300, LARGEST), random.Random(14)
    (tmp_path / "in").mkdir()
    canvas = Image.fromarray(np.random.default_rng(14).integers(0, 255, (largest // 8, largest // 8, 3), np.uint8))
    canvas = canvas.resize((largest, largest))
    for number in range(count):
        size = chance.randint(20, largest), chance.randint(20, largest)
        (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
        canvas.crop((0, 0, *size)).save(tmp_path / "in" / f"{number:04}{kind}", quality=90)
    out = tmp_path / "out"
    child = started("deblur", tmp_path / "in", "--output_dir", out, "--weight_path", deep, "--precision", "float32")
    grown, figures = growth(child, lambda: len(names(out)) if out.exists() else 0, count)
    assert len(names(out)) == count
    assert abs(grown) < often(0.1, 0.05), figures
    note("memory of `deblur` over pictures of mixed sizes and formats", count, figures)


def test_a_video_of_half_an_hour(often, note, deep, tmp_path):
    minutes = often(1, 30)
    frames = round(minutes * 60 * RATE)
    still = np.random.default_rng(14).integers(0, 255, (48, 64, 3), np.uint8)
    rolled = [np.roll(still, number, 1) for number in range(100)] * (frames // 100)
    clip = clips.write(tmp_path / "clip.mp4", rolled, unit=1 / RATE)
    out = tmp_path / "out"
    child = started("deblur", clip, "--output_dir", out, "--weight_path", deep, "--precision", "float32")
    parts = out / ".clip.mp4.parts"
    grown, figures = growth(child, lambda: 100 * len(names(parts)) if parts.exists() else 0, frames)
    assert names(out) == ["clip.mp4"]
    assert abs(grown) < often(0.1, 0.05), figures
    note("memory of `deblur` over a video, in minutes", minutes, figures)
