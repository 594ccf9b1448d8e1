"""How many stages are taken: by quality, by device, by assumption; and what is said where that cannot be."""

import keras
import pytest

import deblurgan
from deblurgan import devices
from deblurgan.errors import FileError, InputError
from deblurgan.networks.tutorial import generator_model
from deblurgan.networks.zoo import build_generator
from deblurgan.restoring import opening
from deblurgan.restoring.opening import open_restorer
from deblurgan.restoring.preview import HalfSizeRestorer
from deblurgan.runtimes.exporting import export
from deblurgan.weights import catalogue
from deblurgan.weights.hdf5 import save_weights
from deblurgan.weights.labelled import save_network
from deblurgan.weights.qualities import default_quality
from tests.maxim_files import TINY, flax_arrays, keras_arrays, write_stages

OPTIONS = {**TINY, "depth": 1, "scales": 1}


def folder_of(path, stages):
    options = {**OPTIONS, "stages": stages}
    return write_stages(path, keras_arrays(flax_arrays(options)), options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of three stages, a file for each."""
    return folder_of(tmp_path_factory.mktemp("maxim") / "three", 3)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """Weights of a network without stages."""
    path = tmp_path_factory.mktemp("tutorial") / "g.weights.h5"
    save_weights(generator_model((None, None, 3), ngf=4, n_blocks=1), path)
    return path


@pytest.fixture
def opened(monkeypatch):
    """A function as `open_restorer` on a CPU, whose restorers say which stages their network has.

    Neither the network's values nor its graph are made, which takes longest.
    """

    class Recorded:
        needs = engine = engine_precision = quality = None
        channels = (3, 3)

        def __init__(self, model, *, strength, **options):
            self.strength = strength
            self.stages = {
                int(weight.path.split("_")[1].split(".")[0])
                for weight in model.weights
                if weight.path.startswith("stage_")
            }

    monkeypatch.setattr(opening, "Restorer", Recorded)
    monkeypatch.setattr(devices, "gpu_names", lambda: ())

    def call(path, **options):
        with keras.StatelessScope(initialize_variables=False):
            return open_restorer(path, precision="float32", **options)

    return call


@pytest.mark.parametrize(
    ("quality", "stages", "words"),
    [("fast", 1, "fast (1 stage)"), ("balanced", 2, "balanced (2 stages)"), ("best", 3, "best (3 stages)")],
)
def test_a_quality_is_a_number_of_stages(opened, folder, quality, stages, words):
    for restore in (opened(folder, quality=quality), opened(folder, stages=stages)):
        assert restore.stages == set(range(stages))
    assert opened(folder, quality=quality).quality == words


def test_preview_is_one_stage_at_half_size_with_the_strength_for_the_whole(opened, folder):
    restore = opened(folder, quality="preview", strength=0.25)
    assert isinstance(restore, HalfSizeRestorer)
    assert restore._restorer.stages == {0}
    assert (restore._restorer.strength, restore.strength) == (1, 0.25)
    assert restore.quality == "preview (1 stage at half size)"


@pytest.mark.parametrize(("gpus", "stages"), [((), 1), (("a GPU",), 3)])
def test_without_a_quality_the_device_decides(opened, folder, monkeypatch, gpus, stages):
    monkeypatch.setattr(devices, "gpu_names", lambda: gpus)
    assert default_quality() == ("best" if gpus else "fast")
    assert opened(folder).stages == set(range(stages))
    assert opened(folder, stages=2).stages == {0, 1}


def test_without_a_quality_no_more_stages_are_wanted_than_there_are(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "gpu_names", lambda: ("a GPU",))
    restore = opened(folder_of(tmp_path / "two", 2))
    assert restore.stages == {0, 1}
    assert restore.quality == "balanced (2 stages)"


def test_a_number_of_stages_that_no_quality_has_is_said(opened, tmp_path):
    assert opened(folder_of(tmp_path / "four", 4), stages=4).quality == "of its own (4 stages)"


def test_stages_of_a_file_that_names_its_network_are_chosen_as_well(opened, tmp_path):
    options = {name: value for name, value in OPTIONS.items() if name != "channels"}
    model = build_generator("maxim", {**options, "stages": 2})
    save_network(model, tmp_path / "m.weights.h5", "maxim", {**options, "stages": 2})
    assert opened(tmp_path / "m.weights.h5").stages == {0}
    assert opened(tmp_path / "m.weights.h5", quality="balanced").quality == "balanced (2 stages)"
    with pytest.raises(InputError, match=r"quality: 'best' takes 3 stages, found 2 in .*m\.weights\.h5"):
        opened(tmp_path / "m.weights.h5", quality="best")


@pytest.mark.parametrize("quality", ["preview", "fast"])
def test_a_network_without_stages_has_no_quality(tutorial, opened, quality):
    message = (
        f"^quality: expected the weights of a network with stages, such as {catalogue.DEFAULT}; .*g.weights.h5 holds "
        "those of a tutorial generator$"
    )
    with pytest.raises(InputError, match=message):
        opened(tutorial, quality=quality)
    assert open_restorer(tutorial, precision="float32").quality is None


def test_too_few_stages_are_told(opened, tmp_path):
    one = folder_of(tmp_path / "one", 1)
    for quality, count in (("balanced", 2), ("best", 3)):
        with pytest.raises(InputError, match=rf"^quality: '{quality}' takes {count} stages, found 1 in .*one$"):
            opened(one, quality=quality)
    assert opened(one, quality="fast").stages == {0}
    with pytest.raises(InputError, match=r"^stages: expected 1 to 1, received 2$"):
        opened(one, stages=2)


@pytest.mark.parametrize("quality", ["quick", "Fast", "", 1])
def test_an_unknown_quality_is_refused(opened, folder, quality):
    with pytest.raises(
        InputError, match=f"^quality: expected one of preview, fast, balanced, best, received {quality!r}$"
    ):
        opened(folder, quality=quality)


@pytest.mark.parametrize("quality", ["preview", "best"])
def test_a_quality_and_a_number_of_stages_exclude_each_other(opened, folder, quality):
    with pytest.raises(InputError, match=rf"^quality: expected it or stages, received both \('{quality}' and 2\)$"):
        opened(folder, quality=quality, stages=2)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (0, "stages: expected 1 to 3, received 0"),
        (-1, "stages: expected 1 to 3, received -1"),
        (4, "stages: expected 1 to 3, received 4"),
        (1.0, "stages: expected a value like 3, received 1.0"),
        (True, "stages: expected a value like 3, received True"),
    ],
)
def test_stages_that_are_not_there_are_told_with_those_that_are(opened, folder, stages, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        opened(folder, stages=stages)


def test_another_assumption_is_refused_by_name(opened, folder):
    with pytest.raises(InputError, match="residual: no assumption here; what a MAXIM generator leaves open: stages"):
        opened(folder, residual=False)


def test_load_takes_a_quality_and_needs_no_path(opened, folder, monkeypatch):
    def loaded(*path, **options):
        with keras.StatelessScope(initialize_variables=False):
            return deblurgan.load(*path, precision="float32", **options)._restore

    assert isinstance(loaded(folder, quality="preview"), HalfSizeRestorer)
    assert loaded(folder, stages=2).stages == {0, 1}
    monkeypatch.setattr(catalogue, "place", lambda name: {"maxim-gopro": folder}[name])
    assert loaded(quality="balanced").stages == {0, 1}
    assert loaded().quality == "fast (1 stage)"


# Exported networks


def test_an_exported_network_has_the_quality_that_it_was_exported_with(tutorial, tmp_path):
    pytest.importorskip("tf2onnx")
    export(tutorial, tmp_path / "g.onnx")
    for quality in ("preview", "fast"):
        with pytest.raises(
            InputError, match=f"g.onnx: .* takes no assumption or quality, received quality '{quality}'$"
        ):
            open_restorer(tmp_path / "g.onnx", quality=quality)


def test_no_stage_is_read_for_a_quality_that_does_not_take_it(opened, folder, tmp_path):
    part = folder_of(tmp_path / "part", 3)
    (part / "stage_1.safetensors").write_bytes(b"not to be opened")
    assert opened(part, quality="fast").stages == {0}
    assert opened(part, quality="preview")._restorer.stages == {0}
    with pytest.raises(FileError, match=r"stage_1\.safetensors"):
        opened(part, quality="balanced")
