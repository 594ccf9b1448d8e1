"""Training MAXIM: all stages and scales count, a part of it starts from the whole, one picture is what remains."""

import json

import keras
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from deblurgan.errors import InputError
from deblurgan.networks import zoo
from deblurgan.pictures.reading import read_rgb
from deblurgan.restoring.opening import open_restorer
from deblurgan.training.recipe import read_fields
from deblurgan.training.trainer import train
from deblurgan.weights import any_file
from deblurgan.weights.labelled import save_network
from tests import maxim_files
from tests.maxim_files import TINY, flax_arrays
from tests.training.runs import CROPS, Listener, recipe

OPTIONS = {**maxim_files.OPTIONS, "stages": 1}


@pytest.fixture(scope="module")
def whole(randomised, tmp_path_factory):
    """A file of a tiny MAXIM of two stages with random weights, and these by the layer's name."""
    path, options = tmp_path_factory.mktemp("maxim") / "whole.weights.h5", {**OPTIONS, "stages": 2}
    network = randomised(zoo.build_generator("maxim", options))
    save_network(network, path, "maxim", options)
    return path, weights_of(network)


def weights_of(network):
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def plan_of(**changes):
    fields = read_fields("maxim")
    network = {**fields["network_options"], **OPTIONS}
    run = {"network_options": network, "image_size": 32, "steps": 2, "steps_per_epoch": 2}
    return recipe(fields, **{**run, "precision": "float32", **changes})


@pytest.mark.parametrize(("stages", "scales"), [(1, 2), (2, 2), (2, 1)])
def test_the_pictures_are_as_small_as_the_zoo_says(stages, scales):
    options = {**OPTIONS, "stages": stages, "scales": scales, "outputs": "all"}
    with keras.StatelessScope(initialize_variables=False):
        network = zoo.build_generator("maxim", {**options, "image_shape": (32, 48, 3)})
    reductions = zoo.reductions("maxim", options)
    assert [shape[1:3] for shape in network.output_shape] == [(32 // n, 48 // n) for n in reductions]
    assert zoo.reductions("maxim", {**options, "outputs": "last"}) == zoo.reductions("nafnet") == (1,)


@pytest.mark.slow
def test_the_recipe_trains_all_pictures_and_leaves_a_network_of_one(tmp_path):
    listener = Listener()
    result = train(plan_of(n_val=-1), tmp_path, progress=listener)
    assert set(listener.steps[0]) == {"loss", "charbonnier", "frequency", "gradient_norm"}
    assert json.loads((tmp_path / "recipe.json").read_text())["network_options"]["outputs"] == "all"
    content = any_file.read(result.run / "generator_last.weights.h5")
    assert "outputs" not in content.named.options
    assert len(content.build().outputs) == 1
    restore = open_restorer(result.run / "generator_last.weights.h5", precision="float32")
    scores = [
        peak_signal_noise_ratio(read_rgb(path), restore(read_rgb(path.parent.parent / "blur" / path.name)))
        for path in (CROPS / "test").glob("*/sharp/*")
    ]
    assert result.history[-1]["val_psnr"] == pytest.approx(np.mean(scores), abs=1e-4)


class Seen(Exception):  # noqa: N818  (it is no error)
    """Ends a run before its first step, which would take long."""


class Seeing(keras.callbacks.Callback):
    """Notes the generator's weights at the start, by the layer's name."""

    def on_train_begin(self, logs=None):
        self.start = weights_of(self.model.generator)
        raise Seen


@pytest.mark.parametrize(
    ("stages", "outputs"), [(1, "last"), *(pytest.param(n, "all", marks=pytest.mark.slow) for n in (1, 2))]
)
def test_a_network_starts_from_the_stages_of_a_file(tmp_path, whole, stages, outputs):
    path, weights = whole
    assert "stage_0.out_1" in weights
    assert "stage_1.out_1" not in weights  # where it starts at zero
    seeing, network = Seeing(), {"stages": stages, "outputs": outputs}
    plan = plan_of(init_weights=str(path), network_options=network, val_dir=None)
    with pytest.raises(Seen):
        train(plan, tmp_path / "run", callbacks=[seeing])
    assert (f"stage_{stages - 1}.out_1" in seeing.start) == (outputs == "all")
    for name, values in seeing.start.items():
        known = weights[name] if name != "stage_1.out_1" else [np.zeros_like(value) for value in values]
        for value, expected in zip(values, known, strict=True):
            np.testing.assert_array_equal(value, expected, err_msg=name)
    content = any_file.read(tmp_path / "run" / "generator_last.weights.h5")
    assert (content.assumed["stages"], content.named.name) == (stages, "maxim")


def test_a_network_starts_from_its_authors_checkpoint(tmp_path):
    arrays = flax_arrays(TINY)
    np.savez(tmp_path / "checkpoint.npz", **{f"opt/target/{name}": array for name, array in arrays.items()})
    seeing, listener = Seeing(), Listener()
    plan = plan_of(
        init_weights=str(tmp_path / "checkpoint.npz"), network_options={"stages": 1, "outputs": "all"}, val_dir=None
    )
    with pytest.raises(Seen):
        train(plan, tmp_path / "run", callbacks=[seeing], progress=listener)
    kernel, bias = seeing.start["stage_0.out_1"]
    name = "stage_0_supervised_attention_module_1/Conv_1"
    np.testing.assert_array_equal(kernel, arrays[f"{name}/kernel"])
    np.testing.assert_array_equal(bias, arrays[f"{name}/bias"])
    assert not any(name.startswith("stage_1") for name in seeing.start)
    assert any(line.startswith("network: maxim, as in ") for line in listener.notices)


def test_the_shipped_weights_have_the_smaller_pictures_of_all_stages_but_the_last():
    content = any_file.read("maxim-gopro", stages=1)
    network = content.build(stages=1, outputs="all")
    assert len(network.outputs) == 3
    tensors = dict(content.tensors)
    for level in (1, 2):
        kernel, _ = network.get_layer(f"stage_0.out_{level}").get_weights()
        expected = tensors[f"stage_0_supervised_attention_module_{level}/Conv_1/kernel"]
        np.testing.assert_array_equal(kernel, np.float32(expected))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 3}, "layer stage_2"),
        ({"outputs": "some"}, "outputs: expected .*, received 'some'"),
    ],
)
def test_options_that_the_file_cannot_have_are_refused(tmp_path, whole, options, message):
    plan = plan_of(init_weights=str(whole[0]), network_options=options)
    with pytest.raises((InputError, any_file.WeightsError), match=message):
        train(plan, tmp_path / "run")
