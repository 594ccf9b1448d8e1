"""Detectors from files: tiny networks with the outputs of YOLO and SSD, whose scores are the picture's mean."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deblurgan.errors import FileError, InputError
from deblurgan.runtimes.detectors import FileDetector

FLOAT = TensorProto.FLOAT
CAT, DOG = [8.0, 8, 24, 24], [40.0, 16, 56, 48]  # left, top, right, bottom in the network's 64x64


def centred(box):
    left, top, right, bottom = box
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def onnx_file(path, shape, outputs, dtype=FLOAT, names=None):
    """An ONNX file whose outputs are constants, of which those parts that are marked are multiplied by the mean."""
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=FLOAT),
        helper.make_node("ReduceMean", ["values"], ["mean"], keepdims=0),
    ]
    constants = []
    for name, (array, scaled) in outputs.items():
        array = np.asarray(array, np.float32)
        constants.append(numpy_helper.from_array((array * (1 - scaled)).astype(np.float32), f"{name}_plain"))
        constants.append(numpy_helper.from_array((array * scaled).astype(np.float32), f"{name}_scaled"))
        nodes.append(helper.make_node("Mul", [f"{name}_scaled", "mean"], [f"{name}_product"]))
        nodes.append(helper.make_node("Add", [f"{name}_plain", f"{name}_product"], [name]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", dtype, shape)],
        [helper.make_tensor_value_info(name, FLOAT, np.shape(array)) for name, (array, _) in outputs.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if names:
        helper.set_model_props(model, {"names": str(names)})
    onnx.save(model, str(path))
    return path


def candidates(boxes, width, count=20):
    """Rows of candidates, (count, width): of class 1 a cat twice, the second less sure; a dog of class 0; zeros."""
    rows = np.zeros((count, width), np.float32)
    for place, box in zip((3, 4, 7), boxes, strict=True):
        rows[place, :4] = box
    return rows


def yolo8(relative=False):
    rows = candidates([centred(CAT), centred(CAT), centred(DOG)], 6)
    rows[:, :4] /= 64 if relative else 1
    rows[3, 5], rows[4, 5], rows[7, 4] = 1.0, 0.9, 0.8
    return rows


def yolo5():
    rows = np.insert(yolo8(), 4, 1.0, axis=1)
    rows[7, 4], rows[7, 5] = 0.5, 1.6  # what is a thing with 0.5 is a dog with 0.8
    return rows


def yolo_end():
    rows = candidates([CAT, [0.0] * 4, DOG], 6)
    rows[3, 4:], rows[7, 4:] = (1.0, 1), (0.8, 0)
    return rows


MARK = np.array([0, 0, 0, 0, 1, 1], np.float32)
LAYOUTS = {
    "v8": (yolo8().T[None], MARK[:, None]),
    "v8, parts of the sides": (yolo8(relative=True).T[None], MARK[:, None]),
    "v5": (yolo5()[None], np.array([0, 0, 0, 0, 1, 0, 0], np.float32)),
    "without doubles": (yolo_end()[None], np.array([0, 0, 0, 0, 1, 0], np.float32)),
}


def scaled(box, x, y):
    return [box[0] * x, box[1] * y, box[2] * x, box[3] * y]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 64, 64, 3)])
def test_outputs_of_yolo_are_read(tmp_path, layout, shape):
    detector = FileDetector(onnx_file(tmp_path / "yolo.onnx", shape, {"output0": LAYOUTS[layout]}), 0.3)
    found = detector(np.full((128, 128, 3), 204, np.uint8))  # 0.8 of 255
    np.testing.assert_allclose(found.boxes, [scaled(CAT, 2, 2), scaled(DOG, 2, 2)], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.8, 0.64], atol=1e-5)
    assert found.classes.tolist() == [1, 0]
    assert len(detector(np.full((64, 64, 3), 80, np.uint8))) == 1  # the dog's score is below 0.3


@pytest.mark.parametrize("count", [0, 1, 5])
def test_few_rows_without_doubles_are_read(tmp_path, count):
    rows = np.array([[*CAT, 0.9, 1]] * count, np.float32).reshape(1, count, 6)
    detector = FileDetector(onnx_file(tmp_path / "yolo.onnx", (1, 3, 64, 64), {"output0": (rows, 0.0)}), 0.3)
    assert detector(np.zeros((64, 64, 3), np.uint8)).boxes.tolist() == [CAT] * count


def test_pictures_keep_their_proportions_on_grey_and_classes_their_names(tmp_path):
    path = onnx_file(tmp_path / "yolo.onnx", (1, 3, 64, 64), {"output0": LAYOUTS["v8"]}, names={0: "dog", 1: "cat"})
    detector = FileDetector(path, 0.3)
    found = detector(np.full((64, 128, 3), 255, np.uint8))
    assert found.scores[0] == pytest.approx((255 + 114) / 2 / 255, abs=1e-5)
    np.testing.assert_allclose(found.boxes, [[16, 0, 48, 16], [80, 0, 112, 64]], atol=1e-4)  # cut at the top
    assert list(detector.names) == ["dog", "cat"]


def test_names_of_classes_that_are_no_text_are_left_out(tmp_path):
    path = onnx_file(tmp_path / "yolo.onnx", (1, 3, 64, 64), {"output0": LAYOUTS["v8"]}, names={0: "dog", 1: "cat"})
    path.write_bytes(path.read_bytes().replace(b"dog", b"d\xffg"))
    assert list(FileDetector(path, 0.3).names) == []


def test_a_network_for_pictures_of_any_size_is_given_whole_multiples(tmp_path):
    path = onnx_file(tmp_path / "yolo.onnx", (1, 3, "height", "width"), {"output0": LAYOUTS["v8"]})
    found = FileDetector(path, 0.3)(np.full((64, 64, 3), 255, np.uint8))
    np.testing.assert_allclose(found.boxes, [CAT, DOG], atol=1e-4)


def ssd(named):
    boxes, scores, classes = np.zeros((1, 5, 4)), np.zeros((1, 5)), np.ones((1, 5))
    for place, box in enumerate((CAT, DOG)):
        boxes[0, place] = np.array([box[1], box[0], box[3], box[2]]) / 64
    scores[0, :2], classes[0, :2] = (1, 0.8), (17, 18)
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    names = names if named else ("out:2", "out:0", "out:1", "out:3")
    arrays = ((boxes, 0.0), (classes, 0.0), (scores, 1.0), (np.array([2.0]), 0.0))
    return dict(zip(names, arrays, strict=True))


@pytest.mark.parametrize("named", [True, False])
def test_outputs_of_ssd_are_read(tmp_path, named):
    path = onnx_file(tmp_path / "ssd.onnx", (1, 64, 64, 3), ssd(named))
    found = FileDetector(path, 0.3)(np.full((128, 256, 3), 255, np.uint8))  # 1 of -1 to 1
    np.testing.assert_allclose(found.boxes, [scaled(CAT, 4, 2), scaled(DOG, 4, 2)], atol=1e-4)
    np.testing.assert_allclose(found.scores, [1, 0.8], atol=1e-5)
    assert found.classes.tolist() == [17, 18]


def test_whole_numbers_are_given_as_they_are(tmp_path):
    outputs = ssd(named=True)
    outputs["detection_scores"] = (outputs["detection_scores"][0] / 255, 1.0)
    path = onnx_file(tmp_path / "ssd.onnx", (1, "height", "width", 3), outputs, TensorProto.UINT8)
    found = FileDetector(path, 0.3)(np.full((64, 96, 3), 153, np.uint8))
    np.testing.assert_allclose(found.scores, [0.6, 0.48], atol=1e-5)


def test_litert_files_are_read(tmp_path):
    tf = pytest.importorskip("tensorflow")
    rows = yolo8().T[None]

    @tf.function(input_signature=[tf.TensorSpec((1, 64, 64, 3))])
    def network(images):
        return rows * (1 - MARK[:, None]) + rows * MARK[:, None] * tf.reduce_mean(images)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    (tmp_path / "yolo.tflite").write_bytes(converter.convert())
    found = FileDetector(tmp_path / "yolo.tflite", 0.3)(np.full((64, 64, 3), 204, np.uint8))
    np.testing.assert_allclose(found.boxes, [CAT, DOG], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.8, 0.64], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.pt", b"x", InputError, "expected a detector in a file that ends in .onnx or .tflite"),
        ("a.onnx", None, FileError, "expected a detector, found nothing"),
        ("a.onnx", b"", FileError, "expected a detector, found an empty file"),
        ("a.onnx", b"no protocol buffer", FileError, "not a readable ONNX file"),
        ("a.tflite", b"no flat buffer", FileError, "not a readable LiteRT file"),
    ],
)
def test_what_is_no_detector_is_told_in_one_line(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error) as caught:
        FileDetector(tmp_path / name, 0.3)
    assert str(caught.value).startswith(f"{tmp_path / name}: {message}")
    assert "\n" not in str(caught.value)


def test_networks_that_detect_nothing_are_told_in_one_line(tmp_path):
    plain = {"output0": (np.zeros((1, 3)), 0.0)}
    path = onnx_file(tmp_path / "grey.onnx", (1, 1, 64, 64), plain)
    with pytest.raises(
        FileError, match=r"grey\.onnx: expected an input of one RGB picture, found the shape \(1, 1, 64"
    ):
        FileDetector(path, 0.3)
    path = onnx_file(tmp_path / "classes.onnx", (1, 3, 64, 64), plain)
    with pytest.raises(FileError, match=r"classes\.onnx: expected boxes of YOLO.* an output of the shape \(1, 3\)"):
        FileDetector(path, 0.3)
    two = {name: (np.zeros((1, 3)), 0.0) for name in "abc"}
    path = onnx_file(tmp_path / "three.onnx", (1, 3, 64, 64), two)
    with pytest.raises(FileError, match=r"three\.onnx: expected boxes, classes and scores of SSD, found outputs of"):
        FileDetector(path, 0.3)


def test_a_network_that_takes_nothing_is_told_in_one_line(tmp_path):
    node = helper.make_node("Constant", [], ["output0"], value=numpy_helper.from_array(yolo_end()[None]))
    graph = helper.make_graph([node], "tiny", [], [helper.make_tensor_value_info("output0", FLOAT, (1, 20, 6))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "a.onnx"))
    with pytest.raises(FileError, match=r"a\.onnx: expected a network with an input, found none"):
        FileDetector(tmp_path / "a.onnx", 0.3)
