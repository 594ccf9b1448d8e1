"""Other engines than TensorFlow: ONNX Runtime and OpenVINO run a network, or a file that was exported from one."""

import importlib.util
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deblurgan.devices import PRECISIONS, cpu_features, cpu_has_bfloat16, gpu_names
from deblurgan.errors import FileError, InputError
from deblurgan.files import reason, shown
from deblurgan.runtimes import AUTO, ENGINES
from deblurgan.runtimes.contract import KEY, About, Images, optional, parse_about
from deblurgan.runtimes.converting import to_onnx, to_openvino
from deblurgan.untrusted import opened

if TYPE_CHECKING:
    import keras

_ERRORS = (RuntimeError, ValueError)  # the latter: names in a file that are no text
EXPORTED = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",)}  # what runs a file, the default first


@dataclass(frozen=True)
class Engine:
    """A network in another runtime.

    Attributes:
        name: one of `runtimes.ENGINES`.
        about: what it is and needs.
        precision: what it computes in, "float32" or "bfloat16", integers apart.
        run: float32 (count, height, width, channels) in [0, 1] -> the same, restored; see `contract`.
    """

    name: str
    about: About
    precision: str
    run: Callable[[Images], Images]


def choose(path: str | os.PathLike[str], engine: str | None) -> str:
    """Return which engine runs the file `path`: `engine`, or where that is None the file's own.

    "auto" is the same as None for an exported file, and stays "auto" for others; see `fastest`.

    Raises:
        InputError: one that does not exist, or cannot run such a file.
    """
    if engine == AUTO:
        return EXPORTED.get(Path(path).suffix.lower(), (AUTO,))[0]
    if engine is not None and engine not in ENGINES:
        raise InputError(f"engine: expected one of {', '.join((*ENGINES, AUTO))}, received {engine!r}")
    fitting = EXPORTED.get(Path(path).suffix.lower(), ENGINES)
    if engine is not None and engine not in fitting:
        raise InputError(f"engine: expected {' or '.join(fitting)} for {shown(path)}, received {engine!r}")
    return engine or fitting[0]


def fastest(convolutional: bool) -> str:
    """Return the engine that is fastest here for a network, of those that are installed.

    That is OpenVINO for a network of convolutions alone on a CPU with AVX2 and without AVX-512, and TensorFlow, with
    what this package adds to it, elsewhere: as `benchmarks/engines.py` and `benchmarks/maxim.py` show.
    """
    features = cpu_features()
    old = "avx2" in features and not any(feature.startswith("avx512") for feature in features)
    there = importlib.util.find_spec("openvino") is not None
    return "openvino" if convolutional and old and there and not gpu_names() else "tensorflow"


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether the name is that of a file which `open_exported` reads."""
    return Path(path).suffix.lower() in EXPORTED


def resolve_precision(engine: str, precision: str, about: About) -> str:
    """Return what OpenVINO or ONNX Runtime computes a network in on the CPU, "float32" or "bfloat16".

    "auto" is bfloat16 with OpenVINO on a CPU that multiplies it natively, for networks without means over large parts
    of an image, which OpenVINO would sum up in bfloat16 as well; and float32 elsewhere.

    Raises:
        InputError: the engine cannot compute in `precision`.
    """
    known = tuple(name for name in PRECISIONS if name != "float16" and (engine, name) != ("onnxruntime", "bfloat16"))
    if precision not in known:
        raise InputError(f"precision: expected one of {', '.join(known)} with {engine}, received {precision!r}")
    if precision != "auto":
        return precision
    return "bfloat16" if engine == "openvino" and about.needs.local and cpu_has_bfloat16() else "float32"


def from_model(model: "keras.Model", about: About, engine: str, precision: str = "auto") -> Engine:
    """Return a generator that computes in float32 in another engine, "openvino" or "onnxruntime", with its weights.

    Raises:
        InputError: a package is missing, or a precision that the engine has not.
    """
    precision = resolve_precision(engine, precision, about)
    if engine == "openvino":
        return Engine(engine, about, precision, _openvino(to_openvino(model, about), precision))
    optional("onnxruntime")
    return Engine(engine, about, precision, _session(to_onnx(model, about).SerializeToString())[1])


def open_exported(path: str | os.PathLike[str], engine: str | None = None, precision: str = "auto") -> Engine:
    """Return the network in an exported `.onnx` or `.xml` file.

    Raises:
        FileError: missing, damaged, or not exported by this package.
        InputError: a package is missing, or an engine or precision that does not fit.
    """
    engine = choose(path, engine)
    with opened(path, "an exported network"):
        pass
    return (_open_openvino if engine == "openvino" else _open_onnxruntime)(Path(path), precision)


def threads() -> int:
    """Return how many threads may compute at once: all that this process has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _session(content: str | bytes) -> tuple[Any, Callable[[Images], Images]]:
    """Return the ONNX Runtime session of a file's name or content, and what runs it."""
    onnxruntime = optional("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    return session, lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises for files that it cannot use; its own have no base class in common."""
    state = optional("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, *_ERRORS)


def said(session: Any, key: str) -> str | None:
    """Return what the file of an ONNX Runtime session says under a name, if it says so in text."""
    try:
        text: str | None = session.get_modelmeta().custom_metadata_map.get(key)
    except UnicodeDecodeError:
        return None
    return text


def open_session(path: str | os.PathLike[str]) -> tuple[Any, Callable[[Images], Images]]:
    """Return the ONNX Runtime session of a file, and what runs one that has one input and one output.

    Raises:
        FileError: it is damaged, takes nothing, or holds what the runtime does not know.
        InputError: the runtime is not installed.
    """
    errors = onnxruntime_errors()
    try:
        session, run = _session(os.fspath(path))
    except errors as error:
        raise FileError(f"{shown(path)}: not a readable ONNX file: {reason(error)[:200]}") from error
    if not session.get_inputs():
        raise FileError(f"{shown(path)}: expected a network with an input, found none")
    return session, run


def _open_onnxruntime(path: Path, precision: str) -> Engine:
    session, run = open_session(path)
    about = parse_about(said(session, KEY), path)
    run = _checked(run, about, path, onnxruntime_errors())
    return Engine("onnxruntime", about, resolve_precision("onnxruntime", precision, about), run)


def _open_openvino(path: Path, precision: str) -> Engine:
    openvino = optional("openvino")
    try:
        model = openvino.Core().read_model(path)
    except _ERRORS as error:
        raise FileError(f"{shown(path)}: not a readable network: {reason(error)[-200:]}") from error
    about = parse_about(_openvino_text(model), path)
    precision = resolve_precision("openvino", precision, about)
    return Engine("openvino", about, precision, _checked(_openvino(model, precision), about, path, _ERRORS))


def _checked(
    run: Callable[[Images], Images], about: About, path: Path, errors: tuple[type[Exception], ...]
) -> Callable[[Images], Images]:
    """Let what a file's network cannot compute, or computes of another shape, be a FileError."""

    def checked(images: Images) -> Images:
        try:
            results = run(images)
        except errors as error:
            raise FileError(f"{shown(path)}: does not run: {reason(error)[-200:]}") from error
        expected = (*images.shape[:3], about.channels[1])
        if results.shape != expected:
            raise FileError(f"{shown(path)}: expected results of the shape {expected}, found {results.shape}")
        return results

    return checked


def _openvino_text(model: Any) -> str | None:
    """The metadata of a `.xml` file, or of a `.onnx` file, which OpenVINO keeps under a name of its own."""
    for place in ([KEY], ["framework", KEY]):
        if model.has_rt_info(place):
            return str(model.get_rt_info(place).value)
    return None


def _openvino(model: Any, precision: str) -> Callable[[Images], Images]:
    settings = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads(),
    }
    try:
        compiled = optional("openvino").Core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise InputError(
            f"precision {precision}: OpenVINO cannot compute this network in it on this processor; "
            f"try float32: {reason(error)[-200:]}"
        ) from error
    lock = threading.Lock()  # two calls at once wait for each other, for ever

    def run(images: Images) -> Images:
        with lock:
            return compiled(images)[0]

    return run
