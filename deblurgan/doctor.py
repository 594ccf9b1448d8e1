"""Whether this package is whole here and works: what `deblurgan doctor` tells."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from deblurgan.devices import cpu_features, device, gpu_names, resolve_precision, start_quietly
from deblurgan.errors import DeblurganError, FileError, InputError
from deblurgan.files import reason, shown
from deblurgan.restoring import memory
from deblurgan.runtimes.engines import threads
from deblurgan.weights import catalogue

GIVES = {
    "cuda": "TensorFlow's CUDA libraries, for an NVIDIA GPU",
    "gan": "digits to train gan on, and its curves",
    "heic": "HEIC pictures",
    "jxl": "JPEG XL pictures",
    "raw": "raw camera data",
    "tiff": "TIFF pictures with floats, 32 bits, planes or Lab",
    "avif": "all bits of AVIF pictures with 10 and 12",
    "plots": "the learning curves of a training as a picture",
    "iqa": "other metrics in evaluate --metrics, such as niqe",
    "lpips": "evaluate --metrics lpips",
    "video": "videos",
    "web": "the page that `deblurgan web` serves",
    "ray": "`deblurgan batch`, many machines",
    "export": "export, and --engine openvino and onnxruntime",
    "litert": "export of .tflite files",
}
"""What each extra of the package brings."""

STAND_INS = {"tensorflow": ("tensorflow-cpu", "tf-nightly"), "onnxruntime": ("onnxruntime-gpu",)}
PICTURES = Path(__file__).parent / "assets" / "self-test"
MOST = 1.0  # levels of 255 that the self-test's result may be off in the mean; bfloat16 and other devices round
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16")  # which choose how is computed
DRIVER = Path("/proc/driver/nvidia/version")
VARIABLES = (  # of the environment, which change what is done here
    "CUDA_VISIBLE_DEVICES",
    "DEBLURGAN_CACHE",
    "KERAS_BACKEND",
    "KERAS_HOME",
    "ONEDNN_MAX_CPU_ISA",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_XLA_FLAGS",
    "TMPDIR",
    "XLA_FLAGS",
)


@dataclass
class Section:
    """What was found of one thing.

    Attributes:
        name: what it is about.
        found: names and values as JSON has them; a value may be a dictionary of such.
        wrong: a line for each thing that is not as it should be.
    """

    name: str
    found: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def examine() -> Iterator[Section]:
    """Yield what is found, as soon as it is; the last two sections take TensorFlow, and some seconds.

    Nothing that is written remains.
    """
    for name, look in (
        ("versions", _versions),
        ("extras", _extras),
        ("folders", _folders),
        ("weights", _weights),
        ("machine", _machine),
        ("self-test", _self_test),
    ):
        section = Section(name)
        try:
            look(section)
        except (DeblurganError, ImportError) as error:
            section.wrong.append(f"{name}: {reason(error)}")
        yield section
        if look is _machine and section.wrong:  # there is nothing to test with
            return


def _versions(section: Section) -> None:
    from deblurgan import __version__

    section.found |= {"deblurgan": __version__, "Python": platform.python_version(), "system": platform.platform()}
    for requirement in required("deblurgan"):
        section.found[requirement.name] = version(requirement.name) or "missing"
    section.wrong += unmet("deblurgan")


def _extras(section: Section) -> None:
    for extra, gives in GIVES.items():
        is_here = not unmet("deblurgan", extra)
        section.found[extra] = {"state": "installed" if is_here else "missing", "gives": gives}
        if not is_here:
            section.found[extra]["install"] = f"pip install 'deblurgan[{extra}]'"


def required(package: str, extra: str = "") -> list[Requirement]:
    """Return what an installed package requires here; with an extra, what that adds."""
    requirements = [Requirement(text) for text in importlib.metadata.requires(_installed(package)) or ()]
    always = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    if not extra:
        return always
    return [r for r in requirements if r not in always and r.marker and r.marker.evaluate({"extra": extra})]


def unmet(package: str, extra: str = "") -> list[str]:
    """Return a line for each requirement of an installed package, or of an extra of it, that is not met."""
    lines = []
    for requirement in required(package, extra):
        found = version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            plain = f"{requirement.name}{requirement.specifier}"
            lines.append(f"{package}: expected {plain}, found {found or 'none'}; pip install '{plain}'")
        else:
            lines += [line for more in requirement.extras for line in unmet(requirement.name, more)]
    return lines


def version(package: str) -> str | None:
    """Return the version of a package, or of another that stands for it, as tensorflow-cpu does; None for neither."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(_installed(package))
    return None


def _installed(package: str) -> str:
    """Return the name under which a package is installed; its own where it is not."""
    for name in STAND_INS.get(package, ()):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(name)
            return name
    return package


def _folders(section: Section) -> None:
    places = {"weights": (catalogue.cache_folder, catalogue.VARIABLE), "temporary files": (_temporary, "TMPDIR")}
    for name, (place, variable) in places.items():
        folder = place()
        section.found[name] = found = {"path": str(folder)}
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=existing) as file:
                file.write(b"written")
        except OSError as error:
            found["state"] = "cannot be written"
            section.wrong.append(
                f"{shown(folder)}: the folder for {name} cannot be written: {reason(error)}; the environment "
                f"variable {variable} names another"
            )
        else:
            found |= {"state": "can be written", "space": f"{shutil.disk_usage(existing).free / 1e9:.1f} GB free"}


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise FileError("no folder for temporary files can be written; set TMPDIR to one that can") from error


def _weights(section: Section) -> None:
    section.found |= {name: catalogue.state(name) for name in catalogue.KNOWN}


def _machine(section: Section) -> None:
    free = memory.available()
    features = cpu_features()
    variables = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    section.found |= {
        "cores": threads(),
        "free memory": "unknown" if free is None else f"{free / 1e9:.1f} GB",
        "processor": ", ".join(name for name in CPU_FEATURES if name in features) or "none of the fast features",
        "environment": " ".join(variables) or "as usual",
    }
    start_quietly()
    section.found |= {"device": device(), "precision": resolve_precision("auto")}
    if DRIVER.exists() and not gpu_names():
        section.found["GPU"] = "not used, though NVIDIA's driver is here; pip install 'deblurgan[cuda]' brings CUDA"


def _self_test(section: Section) -> None:
    """Restore a picture with the weights in the package, and compare with what is known of it."""
    start_quietly()
    import numpy as np
    import tensorflow as tf

    from deblurgan.pictures.reading import read_picture
    from deblurgan.restoring.opening import open_restorer

    start = time.monotonic()
    restore = open_restorer(catalogue.path(catalogue.DEFAULT), quality="fast")
    try:
        restored = restore(read_picture(PICTURES / "blurred.png").rgb)
    except tf.errors.OpError as error:  # of a device
        raise InputError(f"cannot compute: {reason(error)}") from error
    known = read_picture(PICTURES / "restored.png").rgb
    off = float(np.abs(restored.astype(np.float32) - known).mean())
    section.found |= {
        "restored with": catalogue.DEFAULT,
        "seconds": round(time.monotonic() - start, 1),
        "levels off": round(off, 3),
        "result": "passed" if off <= MOST else "failed",
    }
    if off > MOST:
        section.wrong.append(
            f"self-test: expected a picture that is at most {MOST} of 255 levels off in the mean, received {off:.1f}"
        )
