"""Which device computes, in which precision, and how TensorFlow and Keras are started."""

import contextlib
import functools
import gc
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deblurgan.errors import FileError, InputError
from deblurgan.files import reason, shown

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def choose_kernels() -> None:
    """Let TensorFlow, which must not have been imported yet, use oneDNN's operations only where they are fast.

    It would use them on every processor with AVX_VNNI, but without AVX-512 oneDNN has no fast convolutions of float32
    and takes its plain loops for large ones: a picture of a megapixel takes minutes in place of seconds. What the
    environment says in TF_ENABLE_ONEDNN_OPTS holds.
    """
    features = cpu_features()
    if "avx2" in features and "avx512f" not in features:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def start_quietly() -> None:
    """Start a program of this package: import TensorFlow and Keras, and look for GPUs.

    The dozen lines that TensorFlow writes to the terminal meanwhile, before its own log settings apply, are shown
    only when the environment sets TF_CPP_MIN_LOG_LEVEL, or starting fails. Keras is set up as this package needs it,
    whatever `keras.json` says for the user's own programs; and HDF5 does without locks, which some network file
    systems do not have and files that appear whole do not need. What is there afterwards stays until the process
    ends, so that the garbage collector need not look through it: that takes half a second while TensorFlow is
    imported, and more with each network that is built.

    Raises:
        InputError: the environment asks for another backend of Keras, or `keras.json` for what Keras does not know.
        FileError: there is no folder for temporary files.
    """
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    _require_backend()
    try:
        tempfile.gettempdir()
    except OSError as error:  # Keras and TensorFlow cannot be imported then
        raise FileError(
            "temporary files: expected a folder for them, found none that can be written to; set the environment "
            "variable TMPDIR to one, such as the folder of the results"
        ) from error
    collects = gc.isenabled()
    gc.disable()
    try:
        _start_in_silence()
        import keras
    except (ValueError, AttributeError, AssertionError, OSError) as error:  # of values that they do not know
        raise InputError(
            f"{shown(_keras_file())}: Keras cannot be started with what this file says: {reason(error)}"
        ) from error
    finally:
        if collects:
            gc.enable()
    gc.freeze()
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")


def _start_in_silence() -> None:
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        gpu_names()
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    try:
        terminal = os.dup(2)
    except OSError:  # standard error is closed
        gpu_names()
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            gpu_names()
        except Exception:
            said.seek(0)
            os.write(terminal, said.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def keep_order() -> None:
    """Have TensorFlow read all weights of a training step before it updates them.

    Its graph optimiser drops the order between a reading and the update where another path joins the two, and may
    remove that path afterwards (seen with TensorFlow 2.21): a critic whose last layer is linear then now and then saw
    weights of the next step. This part of the optimiser is turned off, for the whole process.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"dependency_optimization": False})


def require_tensorflow() -> None:
    """Raise InputError unless Keras computes with TensorFlow, or will when it is imported, and channels come last."""
    _require_backend()
    if (layout := _keras_settings()["image_data_format"]) != "channels_last":
        raise InputError(
            f"Keras: expected the image_data_format channels_last, found {layout}; "
            "keras.config.set_image_data_format('channels_last') sets it"
        )


def require_own_process() -> None:
    """Raise InputError in a process forked from one that computed before: TensorFlow would wait there for ever."""
    if _process() != os.getpid():
        raise InputError(
            "process: expected one that was started anew, since TensorFlow cannot go on in a fork of one that has "
            "computed; start it by multiprocessing.get_context('spawn')"
        )


@functools.cache
def _process() -> int:
    """The process in which this was called first."""
    return os.getpid()


def _require_backend() -> None:
    if (backend := _keras_settings()["backend"]) != "tensorflow":
        raise InputError(
            f"Keras: expected the backend tensorflow, which this needs, found {backend}; set the environment "
            "variable KERAS_BACKEND to tensorflow before Keras is imported"
        )


def _keras_settings() -> dict[str, str]:
    """What Keras uses; where it is not imported yet, what its file and the environment tell it."""
    if keras := sys.modules.get("keras"):
        return {"backend": keras.config.backend(), "image_data_format": keras.config.image_data_format()}
    settings = {"backend": "tensorflow", "image_data_format": "channels_last"}
    with contextlib.suppress(OSError, ValueError, TypeError):  # Keras itself will tell
        settings |= json.loads(_keras_file().read_text(encoding="utf-8"))
    return settings | {"backend": os.environ.get("KERAS_BACKEND") or settings["backend"]}


def _keras_file() -> Path:
    return Path(os.environ.get("KERAS_HOME") or "~/.keras", "keras.json").expanduser()


@functools.cache
def gpu_names() -> tuple[str, ...]:
    """Return the GPUs that TensorFlow can use, after telling it to take their memory as it needs it, not at once."""
    import tensorflow as tf

    names = []
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # the caller's program uses the GPU already, in its own way
            tf.config.experimental.set_memory_growth(gpu, True)
        names.append(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    return tuple(names)


def cpu_has_bfloat16() -> bool:
    """Say whether the processor multiplies bfloat16 natively (AVX512_BF16, AMX or ARM's BF16 instructions)."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(cpu_features())


def cpu_features() -> frozenset[str]:
    """Return what the processor says that it can, as `/proc/cpuinfo` calls it; nothing on systems without one.

    What oneDNN is told not to use (by ONEDNN_MAX_CPU_ISA in the environment) counts as missing.
    """
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(name for name in value.split() if not name.startswith(_beyond_limit()))
    return frozenset()


def _beyond_limit() -> tuple[str, ...]:
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if limit.startswith(("SSE", "AVX2")) or limit == "AVX":
        return "avx512", "amx"
    return ("avx512_bf16", "amx") if limit in ("AVX512_CORE", "AVX512_CORE_VNNI") else ()


def resolve_precision(precision: str) -> str:
    """Return "float32", "bfloat16" or "float16" for `precision`, which may be "auto".

    "auto" is bfloat16 on a CPU with native bfloat16, which only oneDNN's operations use, and on GPUs of compute
    capability 8 or more, float16 on GPUs of capability 7, and float32 elsewhere.

    Raises:
        InputError: another name.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, received {precision!r}")
    if precision != "auto":
        return precision
    if gpu_names():
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        major = details.get("compute_capability", (0, 0))[0]
        return "bfloat16" if major >= 8 else "float16" if major == 7 else "float32"
    native = cpu_has_bfloat16() and os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"
    return "bfloat16" if native else "float32"


def policy(precision: str) -> str:
    """Return the Keras dtype policy for `precision`: computing in it, with float32 variables."""
    gpu_names()  # sets up their memory before anything uses them
    resolved = resolve_precision(precision)
    return resolved if resolved == "float32" else f"mixed_{resolved}"


def describe(precision: str) -> str:
    """Return one line for the log: the device and the precision that will be used."""
    return f"{device()}, {resolve_precision(precision)}"


def device() -> str:
    """Return which device computes, in words."""
    return f"GPU {', '.join(gpu_names())}" if gpu_names() else f"CPU ({platform.machine()})"


def training_precision(precision: str, bfloat16_on_cpu: bool) -> str:
    """Return what a recipe trains in, given its `precision`, which may be "auto".

    "auto" is float16 (with scaled losses) on GPUs with tensor cores, and on a CPU with native bfloat16 that, where
    the recipe says that its network gains by it; float32 elsewhere.
    """
    if precision != "auto":
        return resolve_precision(precision)
    if gpu_names():
        return "float32" if resolve_precision("auto") == "float32" else "float16"
    return resolve_precision("auto") if bfloat16_on_cpu else "float32"


def local_devices(devices: str) -> str:
    """Return how many devices of this machine "one" or "all" is, and of which kind, e.g. "2 GPU"."""
    count = len(gpu_names())
    return f"{min(count, 1) if devices == 'one' else count} GPU" if count else "1 CPU"


def strategy(devices: str, hosts: Sequence[str] = (), index: int = 0, patience: float = 60.0) -> Any:
    """Return the `tf.distribute` strategy for "one" device, or for "all" of this machine: its GPUs, else its CPUs.

    TensorFlow sees one CPU unless `tf.config.set_logical_device_configuration` has split it.

    Args:
        devices: "one" or "all".
        hosts: where there are several, their addresses, as "host:port"; the strategy is for as many devices of each
            then, and returned when all have asked for theirs. TensorFlow must not have computed yet.
        index: this one's place among them.
        patience: seconds in which they have to be connected. Python itself, its signals included, waits meanwhile.

    Raises:
        tf.errors.OpError: they are not, or this one's port is taken.
    """
    import tensorflow as tf

    gpu_names()
    if hosts:
        from tensorflow.python.eager.context import context

        context().configure_coordination_service(  # as TensorFlow does, but for the hour that it would wait
            "standalone",
            service_leader="/job:worker/replica:0/task:0",
            cluster_register_timeout_in_ms=int(patience * 1000),
        )
        context().coordination_service.cluster_register_with_barrier = True
        context().coordination_service.coordinated_job_list.add(name="worker", num_tasks=len(hosts))
        count, kind = local_devices(devices).split()
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(hosts)}),
            task_type="worker",
            task_id=index,
            num_accelerators={"GPU": int(count) if kind == "GPU" else 0},
            rpc_layer="grpc",
        )
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if devices == "one" or len(found) == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in found])
