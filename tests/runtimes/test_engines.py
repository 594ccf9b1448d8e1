import importlib.util
import itertools
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import deblurgan
from deblurgan.devices import cpu_has_bfloat16
from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.networks.tutorial import discriminator_model, generator_model
from deblurgan.networks.zoo import build_generator
from deblurgan.restoring.opening import open_restorer
from deblurgan.restoring.restorer import Restorer
from deblurgan.runtimes import engines
from deblurgan.runtimes.exporting import export
from deblurgan.weights import generators
from deblurgan.weights.hdf5 import read, save_weights
from deblurgan.weights.labelled import save_network
from deblurgan.weights.tutorial import GeneratorWeights
from tests import reference
from tests.photographs import noise
from tests.restoring.tiled import Tiled

onnx = pytest.importorskip("onnx")
pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.filterwarnings(
    "ignore:builtin type .* has no __module__ attribute:DeprecationWarning",  # raised by SWIG modules
)

others = pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])


@pytest.fixture(scope="module")
def generator_file(tmp_path_factory, randomised):
    """Weights of a small tutorial generator."""
    path = tmp_path_factory.mktemp("weights") / "g.weights.h5"
    save_weights(randomised(generator_model((None, None, 3), ngf=4, n_blocks=1)), path)
    return path


@pytest.fixture(scope="module")
def exported(generator_file, tmp_path_factory):
    """The folder with that generator exported as `g.onnx` and `g.xml`."""
    folder = tmp_path_factory.mktemp("exported")
    for name in ("g.onnx", "g.xml"):
        export(generator_file, folder / name)
    return folder


def by_definition(path, image):
    """`image` restored in float64 NumPy, mirrored up to multiples of 4; values of its dtype."""
    top = np.iinfo(image.dtype).max
    height, width = image.shape[:2]
    padded = np.pad(image, [(0, -height % 4), (0, -width % 4), (0, 0)], mode="reflect")
    weights = GeneratorWeights("", read(path).layers)
    tensors = [[layer.tensors for layer in layers] for layers in (weights.convs, weights.norms)]
    upsampling = weights.hyper_parameters["upsampling"]
    output = reference.generator(padded[np.newaxis] / (top / 2) - 1, *tensors, upsampling)[0, :height, :width]
    return np.clip((output + 1) * (top / 2), 0, top)


def test_the_real_network(tmp_path, randomised, photos):
    save_weights(randomised(generator_model((None, None, 3))), tmp_path / "g.weights.h5")
    image = photos[0][:64, :64]
    restored = open_restorer(tmp_path / "g.weights.h5", engine="openvino", precision="float32")(image)
    assert np.abs(restored - by_definition(tmp_path / "g.weights.h5", image)).max() < 0.51


@others
def test_an_engine_restores_as_the_definition_does(generator_file, engine):
    restore = open_restorer(generator_file, engine=engine, precision="float32")
    for dtype, size in itertools.product([np.uint8, np.uint16], [(16, 24), (37, 21)]):
        image = noise(*size, dtype=dtype)
        restored, expected = restore(image), by_definition(generator_file, image)
        assert restored.dtype == dtype
        assert np.abs(expected - image).max() > 0.1 * np.iinfo(dtype).max
        assert np.abs(restored - expected).max() < 0.5 + 1e-5 * np.iinfo(dtype).max


@others
def test_the_generator_that_resizes_too(tmp_path, randomised, engine):
    save_weights(
        randomised(generator_model((None, None, 3), ngf=4, n_blocks=1, upsampling="resize")),
        tmp_path / "g.weights.h5",
    )
    image = noise(20, 28)
    restored = open_restorer(tmp_path / "g.weights.h5", engine=engine, precision="float32")(image)
    assert np.abs(restored - by_definition(tmp_path / "g.weights.h5", image)).max() < 0.51


@pytest.mark.parametrize(
    ("name", "engine"), [("g.onnx", "onnxruntime"), ("g.onnx", "openvino"), ("g.xml", "openvino")]
)
def test_an_exported_file_restores_as_its_weights_do(generator_file, exported, name, engine):
    image = noise(37, 21)
    restored = open_restorer(exported / name, engine=engine, precision="float32")(image)
    assert np.abs(restored - by_definition(generator_file, image)).max() < 0.51


@others
def test_an_exported_file_with_a_name_that_is_no_text_is_refused(exported, tmp_path, engine, capsys):
    path = tmp_path / "g.onnx"
    path.write_bytes((exported / "g.onnx").read_bytes().replace(b"blurred", b"blur\xffed", 1))
    with pytest.raises(FileError, match=r"g\.onnx: not a readable .*can't decode byte 0xff"):
        open_restorer(path, engine=engine)
    assert capsys.readouterr().out == ""


@others
def test_an_exported_file_whose_network_gives_something_else_is_refused(exported, tmp_path, engine):
    network = onnx.load(exported / "g.onnx")
    network.graph.output[0].name = "restored"
    network.graph.node[-1].output[0] = "whole"
    shape = onnx.numpy_helper.from_array(np.array([-1]), "flat")
    network.graph.initializer.append(shape)
    network.graph.node.append(onnx.helper.make_node("Reshape", ["whole", "flat"], ["restored"]))
    network.graph.output[0].type.tensor_type.shape.ClearField("dim")
    network.graph.output[0].type.tensor_type.shape.dim.add()
    onnx.save(network, tmp_path / "g.onnx")
    with pytest.raises(FileError, match=r"g\.onnx: expected results of the shape \(1, 12, 16, 3\), found \(576,\)"):
        open_restorer(tmp_path / "g.onnx", engine=engine)(noise(12, 16))


def test_an_exported_file_names_its_own_engine(exported, generator_file):
    assert engines.choose(exported / "g.onnx", None) == "onnxruntime"
    assert engines.choose(exported / "g.xml", None) == "openvino"
    assert engines.choose(generator_file, None) == "tensorflow"
    image = noise(12, 16)
    expected = by_definition(generator_file, image)
    restored = deblurgan.load(exported / "g.onnx", strength=0.5).restore(image)
    assert np.abs(restored - (image + expected) / 2).max() < 0.51


@others
def test_tiles_turns_strength_and_batches_are_those_of_tensorflow(generator_file, exported, engine):
    images = [noise(60, 44), noise(60, 44)[::-1].copy()]
    network = engines.open_exported(exported / "g.onnx", engine, "float32")
    keras_network = generators.generator_file(generator_file).build()
    for options in ({"tile_pixels": 60 * 60}, {"tta": True}, {"strength": 0.3}, {"tile_pixels": 3600, "tta": True}):
        theirs, ours = (Tiled(each, **options) for each in (network, keras_network))
        assert theirs.tile_plan(300, 200) == ours.tile_plan(300, 200)
        for a, b in zip(theirs.batch(images), ours.batch(images), strict=True):
            assert np.abs(a.astype(int) - b).max() <= 1


@others
def test_tiles_make_the_picture_of_the_whole(exported, engine):
    network = engines.open_exported(exported / "g.onnx", engine, "float32")
    image = noise(150, 130)
    tiled = Tiled(network, tile_pixels=96 * 96)
    assert min(map(len, tiled.tile_plan(150, 130))) > 1
    whole = Restorer(network)
    assert len(whole.tile_plan(150, 130)[0]) == 1
    assert np.abs(tiled(image).astype(int) - whole(image)).max() <= 1


@others
def test_threads_may_share_a_restorer(exported, engine):
    restore = open_restorer(exported / "g.onnx", engine=engine, precision="float32")
    images = [np.roll(noise(40, 32), shift, axis=1) for shift in range(24)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(restore, images))
    np.testing.assert_array_equal(together, [restore(image) for image in images])


def test_a_precision_that_openvino_lacks_on_a_processor_is_one_line(generator_file, monkeypatch):
    def compile_model(core, *arguments):
        raise RuntimeError("could not create\na primitive")

    monkeypatch.setattr("openvino.Core.compile_model", compile_model)
    with pytest.raises(
        InputError, match=r"^precision bfloat16: OpenVINO cannot .* try float32: could not create a pr"
    ):
        open_restorer(generator_file, engine="openvino", precision="bfloat16")


unlimited = pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ and not cpu_has_bfloat16(),
    reason="OpenVINO asks the processor, which oneDNN is told not to use whole, what it can",
)


@unlimited
def test_bfloat16_is_close_to_float32(generator_file):
    image = noise(32, 32)
    restored = open_restorer(generator_file, engine="openvino", precision="bfloat16")(image)
    difference = np.abs(restored - by_definition(generator_file, image))
    assert difference.max() < 12
    assert difference.mean() < 1


@unlimited
def test_bfloat16_is_automatic_where_no_means_are_summed_up(generator_file, tmp_path, monkeypatch):
    options = {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]}
    path = tmp_path / "g.weights.h5"
    save_network(build_generator("nafnet", options), path, "nafnet", options)
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(engines, "cpu_has_bfloat16", lambda native=native: native)
        assert open_restorer(generator_file, engine="openvino").engine_precision == expected
    monkeypatch.setattr(engines, "cpu_has_bfloat16", lambda: True)
    assert open_restorer(generator_file, engine="onnxruntime").engine_precision == "float32"
    assert open_restorer(path, engine="openvino").engine_precision == "float32"
    assert open_restorer(path, engine="openvino", precision="bfloat16").engine_precision == "bfloat16"
    assert open_restorer(path).engine_precision is None


@pytest.mark.parametrize(
    ("name", "engine"),
    [*itertools.product(["paper", "unet"], ["openvino", "onnxruntime"]), ("nafnet", "onnxruntime")],
)
def test_other_networks_restore_as_with_tensorflow(tmp_path, randomised, name, engine):
    options = {
        "paper": {"ngf": 4, "n_blocks": 1},
        "unet": {"ngf": 2, "num_downs": 5},
        "nafnet": {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1], "local_window": 24},
    }[name]
    path = tmp_path / "g.weights.h5"
    save_network(randomised(build_generator(name, options)), path, name, options)
    image = noise(50, 70)
    expected, restored = (
        open_restorer(path, engine=each, precision="float32")(image) for each in ("tensorflow", engine)
    )
    assert np.abs(expected.astype(int) - image).max() > 20
    assert np.abs(expected.astype(int) - restored).max() <= 1


def test_tiles_of_instance_normalisation_are_refused(tmp_path, randomised):
    options = {"ngf": 4, "n_blocks": 1}
    path = tmp_path / "g.weights.h5"
    save_network(randomised(build_generator("paper", options)), path, "paper", options)
    export(path, tmp_path / "g.xml")
    restore = Tiled(engines.open_exported(tmp_path / "g.xml"), tile_pixels=128 * 128)
    with pytest.raises(InputError, match="own statistics restores in tiles with tensorflow only"):
        restore(noise(200, 300))


# What cannot be


@others
def test_a_missing_package_is_named_with_its_extra(generator_file, monkeypatch, engine):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(InputError, match=rf"^{engine}: is not installed; pip install 'deblurgan\[export\]'$"):
        open_restorer(generator_file, engine=engine, precision="float32")


def test_engines_and_precisions_that_do_not_fit(exported, generator_file):
    for path, engine, precision, message in [
        (
            generator_file,
            "caffe",
            "auto",
            "engine: expected one of tensorflow, openvino, onnxruntime, auto, received 'caffe'",
        ),
        (exported / "g.xml", "onnxruntime", "auto", "engine: expected openvino for .*g.xml, received 'onnxruntime'"),
        (exported / "g.onnx", "tensorflow", "auto", "engine: expected onnxruntime or openvino for .*g.onnx"),
        (generator_file, "onnxruntime", "bfloat16", "precision: expected one of auto, float32 with onnxruntime"),
        (exported / "g.xml", None, "float16", "precision: expected one of auto, float32, bfloat16 with openvino"),
    ]:
        with pytest.raises(InputError, match=message):
            open_restorer(path, engine=engine, precision=precision)
    with pytest.raises(InputError, match="an exported network takes no assumption"):
        open_restorer(exported / "g.onnx", residual=False)


@others
def test_files_that_are_no_exported_network(tmp_path, engine):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "foreign",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value("y", onnx.TensorProto.FLOAT, [1])],
    )
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "foreign.onnx")
    (tmp_path / "damaged.onnx").write_bytes(b"\x08\x01damaged")
    (tmp_path / "folder.onnx").mkdir()
    for name, message in [
        ("foreign.onnx", "expected a file of `deblurgan export`, found none of its metadata"),
        ("damaged.onnx", "not a readable"),
        ("folder.onnx", "expected an exported network, found a folder"),
        ("none.onnx", "expected an exported network, found nothing"),
    ]:
        with pytest.raises(FileError, match=message) as caught:
            engines.open_exported(tmp_path / name, engine)
        assert "\n" not in str(caught.value)


def test_a_damaged_ir(exported, tmp_path):
    (tmp_path / "g.xml").write_bytes((exported / "g.xml").read_bytes()[:-500])
    (tmp_path / "alone.xml").write_bytes((exported / "g.xml").read_bytes())  # without its .bin
    for name in ("g.xml", "alone.xml"):
        with pytest.raises(FileError, match="not a readable network"):
            engines.open_exported(tmp_path / name)


@others
def test_a_critic_is_refused(tmp_path, engine):
    save_weights(discriminator_model((32, 32, 3), ndf=2), tmp_path / "d.weights.h5")
    with pytest.raises(WeightsError, match="expected a generator's weights, found those of a tutorial discriminator"):
        open_restorer(tmp_path / "d.weights.h5", engine=engine)


AVX2, AVX512 = frozenset({"avx2", "fma"}), frozenset({"avx2", "avx512f", "avx512_bf16"})


@pytest.mark.parametrize(
    ("features", "gpus", "installed", "convolutional", "expected"),
    [
        (AVX2, (), True, True, "openvino"),
        (AVX2, (), True, False, "tensorflow"),
        (AVX2, (), False, True, "tensorflow"),
        (AVX2, ("a GPU",), True, True, "tensorflow"),
        (AVX512, (), True, True, "tensorflow"),
        (frozenset(), (), True, True, "tensorflow"),
    ],
)
def test_the_fastest_engine(features, gpus, installed, convolutional, expected, monkeypatch):
    monkeypatch.setattr(engines, "cpu_features", lambda: features)
    monkeypatch.setattr(engines, "gpu_names", lambda: gpus)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found(name) if installed else None)
    assert engines.fastest(convolutional) == expected


def test_auto_is_the_engine_of_an_exported_file():
    assert engines.choose("network.onnx", "auto") == "onnxruntime"
    assert engines.choose("network.xml", "auto") == "openvino"
    assert engines.choose("generator.h5", "auto") == "auto"
