import json
import os
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.networks.footprint import footprint
from deblurgan.networks.tutorial import discriminator_model, generator_model
from deblurgan.networks.zoo import build_generator
from deblurgan.restoring.opening import open_restorer
from deblurgan.runtimes import contract, converting, exporting, int8
from deblurgan.runtimes.exporting import export
from deblurgan.runtimes.int8 import Calibration, read_calibration
from deblurgan.weights import catalogue, generators
from deblurgan.weights.any_file import load
from deblurgan.weights.hdf5 import read, save_keras2, save_weights
from deblurgan.weights.labelled import save_network
from deblurgan.weights.tutorial import GeneratorWeights
from tests import reference
from tests.cli.program import deblurgan
from tests.maxim_files import TINY, flax_arrays, keras_arrays

onnx = pytest.importorskip("onnx")
pytest.importorskip("tf2onnx")
onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")
pytestmark = pytest.mark.filterwarnings(
    "ignore:builtin type .* has no __module__ attribute:DeprecationWarning",  # raised by SWIG modules
)

NETWORKS = {
    "tutorial": {"ngf": 4, "n_blocks": 1},
    "paper": {"ngf": 4, "n_blocks": 1},
    "unet": {"ngf": 2, "num_downs": 5},
    "nafnet": {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1], "space_to_depth": 2, "local_window": 40},
}
TARGETS = ("g.onnx", "g.xml", "g.tflite", "g")


def random_images(*shape):
    return np.random.default_rng(1).random(shape, np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory, randomised):
    """A weight file of a small generator of each kind."""
    folder = tmp_path_factory.mktemp("weights")
    for name, options in NETWORKS.items():
        save_network(randomised(build_generator(name, options)), folder / f"{name}.weights.h5", name, options)
    return folder


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """A weight file of a small MAXIM of two stages.

    It changes the image by about as much as a trained one. With plain random weights it puts out values up to 67, and
    float32 alone is then 5e-4 away from float64.
    """
    path = tmp_path_factory.mktemp("weights") / "maxim.npz"
    arrays = flax_arrays({**TINY, "depth": 1, "scales": 1})
    for name in arrays:
        if "output_conv" in name or "supervised_attention" in name:
            arrays[name] /= 50
    np.savez(path, **keras_arrays(arrays))
    return path


@pytest.fixture
def pictures(tmp_path, photos):
    """A folder with A and B, two pairs of real pictures."""
    for side, photo in zip("AB", photos, strict=True):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(photo[number * 100 :][:90, :110]).save(tmp_path / "pairs" / side / f"{number}.png")
    return tmp_path / "pairs"


def run_file(path, images):
    """What a file makes of images, by its runtime alone; inputs are found by position."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: images})[0]
    if path.suffix == ".xml":
        return openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images)[0]
    if path.suffix == ".tflite":
        interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
        place = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(place, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place, images)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    import tensorflow as tf

    return tf.saved_model.load(str(path)).signatures["serve"](tf.constant(images))["output_0"].numpy()


def metadata(path):
    if path.suffix == ".onnx":
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}["deblurgan"]
    if path.suffix == ".xml":
        return openvino.Core().read_model(path).get_rt_info(["deblurgan"]).value
    if path.suffix == ".tflite":
        return re.search(rb'\{"takes".*\}', path.read_bytes())[0].decode()
    return (path / "assets.extra" / "deblurgan.json").read_text()


def needs_runtime(target):
    if target.endswith(".tflite"):
        pytest.importorskip("ai_edge_litert")


@pytest.mark.parametrize("target", TARGETS)
def test_an_exported_file_computes_what_the_definition_says(files, tmp_path, target, monkeypatch):
    needs_runtime(target)
    done = export(files / "tutorial.weights.h5", tmp_path / target)
    assert 0 <= done.difference < 1e-4
    weights = GeneratorWeights("", read(files / "tutorial.weights.h5").layers)
    tensors = [[layer.tensors for layer in layers] for layers in (weights.convs, weights.norms)]
    for shape in ((1, 16, 24, 3), (2, 52, 8, 3)):
        images = random_images(*shape)
        expected = (reference.generator(images * 2.0 - 1, *tensors, "transpose") + 1) / 2
        assert np.abs(expected - images).max() > 0.1
        np.testing.assert_allclose(run_file(tmp_path / target, images), np.clip(expected, 0, 1), atol=1e-5)
    monkeypatch.chdir(tmp_path)
    picture = np.rint(random_images(1, 20, 24, 3)[0] * 255).astype(np.uint8)
    Image.fromarray(picture).save("blurred.png")
    exec(done.example, {})
    expected = run_file(tmp_path / target, picture[np.newaxis] / np.float32(255))[0]
    with Image.open("restored.png") as restored:
        assert np.abs(np.asarray(restored) - expected * 255).max() < 0.51


@pytest.mark.parametrize(("target", "channels"), [("g.onnx", (1, 3)), ("g.xml", (3, 1)), ("g", (1, 1))], ids=str)
def test_networks_from_and_to_grey(tmp_path, randomised, monkeypatch, target, channels):
    weights = tmp_path / "grey.weights.h5"
    options = {"ngf": 2, "num_downs": 5, "image_shape": (None, None, channels[0]), "output_channels": channels[1]}
    save_network(randomised(build_generator("unet", options)), weights, "unet", options)
    done = export(weights, tmp_path / target)
    assert done.about.channels == channels
    monkeypatch.chdir(tmp_path)
    picture = np.rint(random_images(32, 64, 3) * 255).astype(np.uint8)
    Image.fromarray(picture).save("blurred.png")
    exec(done.example, {})
    expected = open_restorer(weights, precision="float32")(picture).astype(int)
    with Image.open("restored.png") as restored:
        assert restored.mode == ("RGB" if channels[1] == 3 else "L")
        assert np.abs(np.asarray(restored.convert("RGB")) - expected).max() <= 1
    if target != "g":
        restorer = open_restorer(target, precision="float32")
        assert restorer.channels == channels
        assert np.abs(restorer(picture[:21, :50]) - open_restorer(weights)(picture[:21, :50]).astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("network", "target"),
    [
        *(("paper", "g.onnx"), ("paper", "g.tflite"), ("unet", "g.xml"), ("unet", "g"), ("nafnet", TARGETS[0])),
        *(pytest.param("nafnet", target, marks=pytest.mark.slow) for target in TARGETS[1:]),
    ],
)
def test_the_other_networks_compute_what_keras_does(files, tmp_path, network, target):
    needs_runtime(target)
    done = export(files / f"{network}.weights.h5", tmp_path / target)
    model = build_generator(network, NETWORKS[network])
    model.load_weights(files / f"{network}.weights.h5")
    for shape in ((1, 64, 32, 3), (1, 96, 128, 3)):
        images = random_images(*shape)
        expected = (np.asarray(model(images * 2 - 1, training=False)) + 1) / 2
        assert np.abs(expected - images).max() > 0.1
        np.testing.assert_allclose(run_file(tmp_path / target, images), np.clip(expected, 0, 1), atol=1e-4)
    text, multiple = metadata(tmp_path / target), {"unet": 32}.get(network, 4)
    assert json.loads(text)["takes"] == (
        f"float32 (count, height, width, 3), RGB in [0, 1], height and width multiples of {multiple}, at least "
        f"{max(multiple, 8)}; gives the same"
    )
    about = contract.parse_about(text, target)
    assert about == done.about
    assert about.needs == footprint(model)


def restored_by(model, images):
    return np.clip((np.asarray(model(images * 2 - 1, training=False)) + 1) / 2, 0, 1)


@pytest.mark.slow
def test_the_stages_of_the_quality_are_exported(stages, tmp_path):
    needs_runtime("g.tflite")
    done = export(stages, tmp_path / "g.tflite", quality="fast")
    assert done.quality == "fast (1 stage)"
    one, both = (load(stages, stages=number) for number in (1, 2))
    for shape in ((1, 48, 32, 3), (2, 32, 64, 3)):
        images = random_images(*shape)
        expected, other = (restored_by(model, images) for model in (one, both))
        assert np.abs(expected - other).max() > 0.01
        np.testing.assert_allclose(run_file(tmp_path / "g.tflite", images), expected, atol=1e-4)


def test_sizes_are_open(files, tmp_path):
    export(files / "unet.weights.h5", tmp_path / "g.onnx")
    model = onnx.load(tmp_path / "g.onnx")
    onnx.checker.check_model(model, full_check=True)
    for value, name in ((model.graph.input[0], "blurred"), (model.graph.output[0], "restored")):
        sides = value.type.tensor_type.shape.dim
        assert value.name == name
        assert [side.dim_param or side.dim_value for side in sides] == ["count", "height", "width", 3]


def test_normalisations_are_folded(files, tmp_path):
    export(files / "tutorial.weights.h5", tmp_path / "g.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "g.onnx").graph.node]
    assert kinds.count("Conv") + kinds.count("ConvTranspose") == 8
    assert "BatchNormalization" not in kinds


def test_a_file_with_other_results_does_not_stay(files, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_of_keras", lambda model: lambda images: images)
    for target in ("g.onnx", "g"):
        with pytest.raises(
            FileError, match=r"^\S*: expected the results of Keras, found a difference of .*nothing is written$"
        ):
            export(files / "tutorial.weights.h5", tmp_path / target)
    assert os.listdir(tmp_path) == []


def test_what_stands_there_is_replaced_or_spared(files, tmp_path):
    for name in ("g.onnx", "g.xml", "g.bin"):
        (tmp_path / name).write_text("old")
    export(files / "tutorial.weights.h5", tmp_path / "g.onnx")
    export(files / "tutorial.weights.h5", tmp_path / "g.xml")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("g.onnx", "g.xml", "g.bin"))
    for name in ("folder", "folder.onnx", "there.bin"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").write_text("")
    for name in ("folder", "folder.onnx", "there.xml"):
        with pytest.raises(FileError, match=r"found something there|not a file but a folder"):
            export(files / "tutorial.weights.h5", tmp_path / name)
    assert (tmp_path / "folder" / "precious").exists()
    with pytest.raises(FileError, match="cannot be written"):
        export(files / "tutorial.weights.h5", tmp_path / "nowhere" / "g.onnx")


def test_names_and_networks_that_cannot_be_exported(files, tmp_path):
    for name in ("g.pb", ".onnx", "g.onnx.gz"):
        with pytest.raises(
            InputError, match=r"expected a name ending in .onnx, .xml, .tflite, or without an extension"
        ):
            export(files / "tutorial.weights.h5", tmp_path / name)
    save_weights(discriminator_model((32, 32, 3), ndf=2), tmp_path / "d.weights.h5")
    with pytest.raises(WeightsError, match="expected a generator's weights"):
        export(tmp_path / "d.weights.h5", tmp_path / "g.onnx")
    save_weights(generator_model((None, None, 4), ngf=2, n_blocks=1), tmp_path / "four.weights.h5")
    with pytest.raises(InputError, match="expected a network from 1 or 3 channels to 1 or 3"):
        export(tmp_path / "four.weights.h5", tmp_path / "g.onnx")
    with pytest.raises(InputError, match="a random result cannot be exported"):
        export(files / "paper.weights.h5", tmp_path / "g.onnx", test_dropout=True, dropout=0.5)
    with pytest.raises(InputError, match="residual: no assumption here; what a"):
        export(files / "paper.weights.h5", tmp_path / "g.onnx", residual=False)
    model = build_generator("paper", {"ngf": 2, "n_blocks": 1}, dtype="mixed_bfloat16")
    model.save(tmp_path / "half.keras")
    with pytest.raises(InputError, match="expected layers that compute in float32, found bfloat16"):
        export(tmp_path / "half.keras", tmp_path / "g.onnx")
    assert not (tmp_path / "g.onnx").exists()


@pytest.mark.parametrize(
    ("target", "package"), [("g.onnx", "tf2onnx"), ("g.xml", "openvino"), ("g.tflite", "litert")]
)
def test_a_missing_package_is_named_with_its_extra(files, tmp_path, monkeypatch, target, package):
    module = {"tf2onnx": "tf2onnx.convert", "litert": "ai_edge_litert.interpreter"}.get(package, package)
    monkeypatch.setitem(sys.modules, module, None)
    extra = "litert" if package == "litert" else "export"
    with pytest.raises(InputError, match=rf"is not installed; pip install 'deblurgan\[{extra}\]'$"):
        export(files / "tutorial.weights.h5", tmp_path / target)
    assert os.listdir(tmp_path) == []


# 8-bit integers


@pytest.mark.parametrize("target", ["g.onnx", "g.xml", "g.tflite"])
def test_integers_stay_close_to_float32(tmp_path, randomised, pictures, target):
    needs_runtime(target)
    path = tmp_path / "g.weights.h5"
    save_weights(randomised(generator_model((None, None, 3), ngf=16, n_blocks=2)), path)
    exact, done = export(path, tmp_path / f"exact{target}"), export(path, tmp_path / target, calibrate=pictures)
    assert exact.cost is None
    assert abs(done.cost) < 0.2
    assert done.paired
    assert done.about.precision == json.loads(metadata(tmp_path / target))["precision"] == "int8"
    suffix = Path(target).suffix.replace(".xml", ".bin")
    assert (tmp_path / "g").with_suffix(suffix).stat().st_size < 0.6 * (tmp_path / "exactg").with_suffix(
        suffix
    ).stat().st_size
    images = random_images(1, 48, 64, 3)
    results = [run_file(tmp_path / name, images) for name in (target, f"exact{target}")]
    assert 1e-5 < np.abs(np.subtract(*results)).mean() < 0.01


def test_the_first_and_the_last_convolution_stay_in_float32(files, tmp_path, pictures):
    export(files / "tutorial.weights.h5", tmp_path / "g.onnx", calibrate=pictures / "A")
    nodes = onnx.load(tmp_path / "g.onnx").graph.node
    made_by = {output: node.op_type for node in nodes for output in node.output}
    convs = [made_by.get(node.input[1]) for node in nodes if node.op_type == "Conv"]
    assert convs == [None, *["DequantizeLinear"] * 4, None]


def test_integers_that_cost_too_much_are_not_written(files, tmp_path, pictures):
    for target in ("g.onnx", "g.xml"):
        with pytest.raises(InputError, match=r"8-bit integers cost .* dB, expected less than -5; nothing is written"):
            export(files / "tutorial.weights.h5", tmp_path / target, calibrate=pictures, max_cost=-5)
    assert sorted(os.listdir(tmp_path)) == ["pairs"]


def test_the_cost_is_what_psnr_loses():
    random = np.random.default_rng(0)
    sharp = random.integers(60, 190, (64, 64, 3)).astype(np.uint8)
    exact = np.clip(sharp + random.normal(0, 255 / 10**1.5, sharp.shape), 0, 255).round()  # 30 dB
    rounded = np.clip(exact + random.normal(0, 255 / 10**1.5, sharp.shape), 0, 255).round()
    outputs = [[(image[np.newaxis] / 255).astype(np.float32)] for image in (exact, rounded)]

    def psnr(image):
        return 10 * np.log10(255**2 / np.mean((image - sharp) ** 2))

    paired = Calibration([sharp], [sharp]).cost(*outputs)
    assert paired == pytest.approx(psnr(exact) - psnr(rounded), abs=1e-9)
    assert paired == pytest.approx(3.0, abs=0.1)  # twice the error
    assert Calibration([sharp], None).cost(*outputs) == pytest.approx(paired, abs=0.1)
    assert Calibration([sharp], None).cost(outputs[0], outputs[0]) == 0
    grey = [[images[0][..., :1]] for images in outputs]
    assert Calibration([sharp], [sharp[..., :1]]).cost(*grey) == pytest.approx(3.0, abs=0.1)


def test_calibration_takes_the_middle_of_some_pictures(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(int8, "SIDE", 60)
    calibration = read_calibration(pictures, 16)
    assert [image.shape for image in calibration.blurred] == [(48, 48, 3)] * 2
    blurred, sharp = (np.asarray(Image.open(pictures / side / "1.png")) for side in "AB")
    np.testing.assert_array_equal(calibration.blurred[1], blurred[21:69, 31:79])
    np.testing.assert_array_equal(calibration.sharp[1], sharp[21:69, 31:79])
    assert read_calibration(pictures / "A", 16).sharp is None
    grey = read_calibration(pictures, 16, (1, 3))
    assert (grey.blurred[0].shape, grey.sharp[0].shape) == ((48, 48, 1), (48, 48, 3))
    monkeypatch.setattr(int8, "PICTURES", 1)
    assert len(read_calibration(pictures, 16).blurred) == 1
    with pytest.raises(InputError, match="expected at least 256x256 pixels to calibrate with"):
        read_calibration(pictures, 256)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected pictures to calibrate with, found none"):
        read_calibration(tmp_path / "empty", 16)


# The command


def test_the_command_says_how_the_file_is_used_and_that_works(files, tmp_path, photos, monkeypatch):
    done = deblurgan("export", files / "tutorial.weights.h5", tmp_path / "g.onnx")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0].endswith("g.onnx: ONNX, float32")
    assert "multiples of 4, at least 8" in lines[1]
    assert float(lines[2].rpartition(": ")[2]) < 1e-4
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photos[0]).save("blurred.png")
    exec(done.output.partition("In Python:\n")[2], {})
    deblurred = deblurgan("deblur", "blurred.png", "--weight_path", "g.onnx", "--output_dir", "out")
    assert deblurred.exit_code == 0
    restored, expected = (np.asarray(Image.open(name)).astype(int) for name in ("out/blurred.png", "restored.png"))
    assert np.abs(restored - expected).max() <= 1
    assert np.abs(expected - photos[0]).mean() > 5


@pytest.mark.parametrize(("arguments", "quality", "count"), [
    ([], "fast (1 stage)", 1),
    pytest.param(["--quality", "balanced"], "balanced (2 stages)", 2, marks=pytest.mark.slow),
])  # fmt: skip
def test_without_a_source_the_command_exports_the_weights_in_the_package(
    stages, tmp_path, monkeypatch, arguments, quality, count
):
    monkeypatch.setattr(catalogue, "place", lambda name: stages)
    monkeypatch.setattr(generators, "default_quality", lambda: "fast")  # which a GPU would change
    monkeypatch.chdir(tmp_path)
    done = deblurgan("export", "g.onnx", *arguments)
    assert done.exit_code == 0
    assert done.output.splitlines()[0] == (
        f"MAXIM generator of maxim-gopro, quality {quality}, written to g.onnx: ONNX, float32"
    )
    images = random_images(1, 32, 48, 3)
    expected = restored_by(load(stages, stages=count), images)
    np.testing.assert_allclose(run_file(tmp_path / "g.onnx", images), expected, atol=1e-3)


def test_without_a_source_the_tutorials_file_comes_first(tmp_path, monkeypatch, randomised):
    monkeypatch.chdir(tmp_path)
    save_keras2(randomised(generator_model((None, None, 3), ngf=4, n_blocks=1)), "generator.h5")
    done = deblurgan("export", "g.onnx")
    assert done.exit_code == 0
    assert done.output.splitlines()[0] == "tutorial generator of generator.h5 written to g.onnx: ONNX, float32"


def test_the_command_exports_integers(files, tmp_path, pictures):
    options = ("--int8", "--calibrate", pictures, "--max_cost", 3)
    done = deblurgan("export", files / "tutorial.weights.h5", tmp_path / "g.xml", *options)
    assert done.exit_code == 0
    assert "OpenVINO IR, int8" in done.output
    assert re.search(r"8-bit integers cost -?\d+\.\d{3} dB on the pairs", done.output)


def test_bad_input_is_one_line(files, stages, tmp_path, pictures):
    weights = files / "tutorial.weights.h5"
    for arguments, message in [
        ((weights, tmp_path / "g.onnx", "--int8"), "--int8: expected --calibrate FOLDER with it, and only with it"),
        ((weights, tmp_path / "g.onnx", "--calibrate", pictures), "--int8: expected --calibrate FOLDER with it"),
        ((weights, tmp_path / "g", "--int8", "--calibrate", pictures), "a SavedModel cannot hold 8-bit integers"),
        ((tmp_path / "none.h5", tmp_path / "g.onnx"), "expected a weight file, found nothing"),
        ((weights, tmp_path / "g.pdf"), "expected a name ending in .onnx"),
        ((weights, tmp_path / "g.onnx", "--quality", "fast"), "expected the weights of a network with stages"),
        ((stages, tmp_path / "g.onnx", "--quality", "best"), "'best' takes 3 stages, found 2"),
        ((stages, tmp_path / "g.onnx", "--quality", "preview"), "expected fast, balanced or best"),
    ]:
        done = deblurgan("export", *arguments)
        assert done.exit_code == 1
        assert message in done.output
        assert done.output.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["maxim-gopro"]])  # a name is no target
def test_a_target_is_asked_for(arguments):
    done = deblurgan("export", *arguments)
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == "Error: Missing argument 'TARGET'."


def test_keras_is_what_files_are_checked_with(files):
    """The function that is exported scales and clips around the network."""
    model = build_generator("nafnet", NETWORKS["nafnet"])
    model.load_weights(files / "nafnet.weights.h5")
    images = random_images(1, 16, 16, 3)
    expected = np.clip((keras.ops.convert_to_numpy(model(images * 2 - 1)) + 1) / 2, 0, 1)
    assert 0.05 < np.mean((expected == 0) | (expected == 1)) < 0.95
    np.testing.assert_allclose(converting.served(model)(images).numpy(), expected, atol=1e-6)
