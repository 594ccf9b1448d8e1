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
LARGEST = 1000  # pixels of a side
RATE = Fraction(25, 2)  # frames a second


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """Weights of the tutorial's generator with all its layers, but few channels."""
    import keras

    from deblurgan.networks.tutorial import generator_model
    from deblurgan.weights.hdf5 import save_weights

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tutorial.weights.h5"
    save_weights(generator_model((None, None, 3), ngf=4), path)
    return path


def growth(weights, source, out, done, total):
    """What the memory of `deblur` grows by, and how large it is, when it has ended well.

    It is that without oneDNN, of which each thread of TensorFlow keeps what is prepared for the latest 1,024
    operations and sizes: until these are together takes more than a tenth.
    """
    arguments = ["--output_dir", out, "--weight_path", weights, "--precision", "float32"]
    child = started("deblur", source, *arguments, env={"TF_ENABLE_ONEDNN_OPTS": "0"})
    memory = Memory(child.pid, done)
    _, err = child.communicate()
    assert child.returncode == 0, err
    return memory.growth(0, total)


def test_a_thousand_pictures_of_mixed_sizes(often, note, tutorial, tmp_path):
    count, largest, chance = often(200, 1000), often(300, LARGEST), random.Random(14)
    (tmp_path / "in").mkdir()
    canvas = Image.fromarray(np.random.default_rng(14).integers(0, 255, (largest // 8, largest // 8, 3), np.uint8))
    canvas = canvas.resize((largest, largest))
    for number in range(count):
        size = chance.randint(20, largest), chance.randint(20, largest)
        (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
        canvas.crop((0, 0, *size)).save(tmp_path / "in" / f"{number:04}{kind}", quality=90)
    out = tmp_path / "out"
    grown, figures = growth(tutorial, tmp_path / "in", out, lambda: len(names(out)) if out.exists() else 0, count)
    assert len(names(out)) == count
    assert abs(grown) < often(0.1, 0.05), figures
    note("memory of `deblur` over pictures of mixed sizes and formats, without oneDNN", count, figures)


def test_a_video_of_half_an_hour(often, note, tutorial, tmp_path):
    minutes = often(1, 30)
    frames = round(minutes * 60 * RATE)
    still = np.random.default_rng(14).integers(0, 255, (48, 64, 3), np.uint8)
    rolled = [np.roll(still, number, 1) for number in range(100)] * (frames // 100)
    clip = clips.write(tmp_path / "clip.mp4", rolled, unit=1 / RATE)
    out = tmp_path / "out"
    parts = out / ".clip.mp4.parts"
    grown, figures = growth(tutorial, clip, out, lambda: 100 * len(names(parts)) if parts.exists() else 0, frames)
    assert names(out) == ["clip.mp4"]
    assert abs(grown) < often(0.1, 0.05), figures
    note("memory of `deblur` over a video, in minutes", minutes, figures)
