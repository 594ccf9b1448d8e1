"""From a file to a picture: each step on the way is taken once."""

from collections import Counter

import numpy as np
import pytest

import deblurgan
from deblurgan.networks import zoo
from deblurgan.runtimes import engines
from deblurgan.weights import any_file, hdf5, torch_file
from deblurgan.weights.labelled import save_network
from tests.maxim_files import TINY, flax_arrays, keras_arrays, write_stages
from tests.networks.test_zoo import TINY as SMALL


@pytest.fixture
def calls(monkeypatch):
    """How often each of the functions that read files or choose engines has been called."""
    counts = Counter()

    def count(module, name):
        function = getattr(module, name)

        def counted(*arguments, **options):
            counts[name] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, counted)

    for module, name in ((hdf5, "read"), (torch_file, "read_safetensors"), (engines, "choose"), (zoo, "recognise")):
        count(module, name)
    return counts


@pytest.mark.parametrize("name", ["tutorial", "nafnet"])
def test_a_file_is_read_once_and_its_engine_chosen_once(calls, tmp_path, name):
    model = zoo.build_generator(name, SMALL[name])
    save_network(model, tmp_path / "g.weights.h5", name, SMALL[name])
    restored = deblurgan.load(tmp_path / "g.weights.h5").restore(np.zeros((8, 12, 3), np.uint8))
    assert restored.shape == (8, 12, 3)
    assert calls == {"read": 1, "choose": 1}


def test_each_stage_that_is_used_is_read_once(calls, tmp_path):
    write_stages(tmp_path / "maxim", keras_arrays(flax_arrays({**TINY, "stages": 3})), {**TINY, "stages": 3})
    deblurgan.load(tmp_path / "maxim", quality="balanced")
    assert calls == {"read_safetensors": 2, "recognise": 1, "choose": 1}
    assert any_file.read(tmp_path / "maxim").assumed == {"stages": 3}
