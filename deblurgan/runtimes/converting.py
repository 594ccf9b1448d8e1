"""A network as another runtime's model: ONNX, OpenVINO, a SavedModel, TensorFlow Lite."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deblurgan.runtimes.contract import INPUT, KEY, OUTPUT, About, Images, optional

if TYPE_CHECKING:
    import keras

OPSET = 18


def served(model: "keras.Model") -> Any:
    """Return `model` with the contract of an exported network, as a `tf.function` for images of any size."""
    import tensorflow as tf

    def serve(blurred: Any) -> Any:
        restored = model(blurred * 2.0 - 1.0, training=False)
        return tf.clip_by_value(restored * 0.5 + 0.5, 0.0, 1.0)

    signature = [tf.TensorSpec((None, None, None, model.input_shape[-1]), tf.float32, name=INPUT)]
    return tf.function(serve, input_signature=signature, autograph=False)


def to_onnx(model: "keras.Model", about: About) -> Any:
    """Return `model` as an `onnx.ModelProto`.

    Raises:
        InputError: onnx or tf2onnx is missing.
    """
    optional("onnx")
    convert = optional("tf2onnx.convert")
    function = served(model)
    with _quiet("tf2onnx"):
        proto, _ = convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    names = {proto.graph.input[0].name: INPUT, proto.graph.output[0].name: OUTPUT}
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = names[value.name]
        sides = value.type.tensor_type.shape.dim
        for side, name in zip(sides, ("count", "height", "width"), strict=False):
            side.dim_param = name
    for node in proto.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(tensor, tensor) for tensor in tensors]
    proto.producer_name, proto.producer_version = KEY, ""
    set_onnx_about(proto, about)
    return proto


def set_onnx_about(proto: Any, about: About) -> None:
    """Let an `onnx.ModelProto` say what it is."""
    del proto.metadata_props[:]
    proto.metadata_props.add(key=KEY, value=about.text())


def to_openvino(model: "keras.Model", about: About) -> Any:
    """Return `model` as an `openvino.Model`.

    Raises:
        InputError: openvino is missing.
    """
    return named_openvino(optional("openvino").convert_model(served(model)), about)


def named_openvino(model: Any, about: About) -> Any:
    """Give an `openvino.Model` the names of its input and output, and let it say what it is."""
    model.inputs[0].get_tensor().set_names({INPUT})
    model.outputs[0].get_tensor().set_names({OUTPUT})
    model.set_rt_info(about.text(), [KEY])
    return model


def write_saved_model(model: "keras.Model", about: About, folder: Path) -> None:
    """Write `model` as a SavedModel with an endpoint `serve` to `folder`, which must not exist yet."""
    import keras

    function = served(model)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", function.python_function, input_signature=function.input_signature)
    archive.write_out(folder, verbose=False)
    extra = folder / "assets.extra"  # which is for what TensorFlow does not read
    extra.mkdir()
    (extra / f"{KEY}.json").write_text(about.text())


def to_tflite(saved_model: Path, about: About, calibration: Sequence[Images] | None = None) -> bytes:
    """Return what `write_saved_model` wrote as the content of a `.tflite` file, whose input can be resized.

    With `calibration`, inputs to measure ranges on, it computes in 8-bit integers inside.
    """
    import tensorflow as tf
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({INPUT: images} for images in calibration)
    with warnings.catch_warnings():
        # The converter itself calibrates with what it tells others to replace by LiteRT's package.
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated", UserWarning)
        converted = converter.convert()
    content = flatbuffer_utils.convert_bytearray_to_object(bytearray(converted))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(about.text().encode())
    entry.name, entry.buffer = KEY, len(content.buffers)
    content.buffers.append(buffer)
    content.metadata = [*(content.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep what a library logs below an error to itself."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
