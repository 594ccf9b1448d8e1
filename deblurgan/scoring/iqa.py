"""What the package pyiqa scores, also without a sharp picture: NIQE, MUSIQ, CLIP-IQA, DISTS and many more.

It runs in a process of its own: where TensorFlow is loaded, importing PyTorch's Triton (2.14) ends the process.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import FileError, InputError
from deblurgan.scoring.metrics import Metric, check_pair

_SERVE = """
import json, sys
output, sys.stdout = sys.stdout, sys.stderr

def tell(**content):
    output.write(json.dumps(content) + "\\n")
    output.flush()

def reason(error):
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]

try:
    import numpy, pyiqa, torch
except ImportError as error:
    tell(error=reason(error))
    sys.exit()
metrics = {}
for name in sys.argv[1:]:
    if name not in pyiqa.list_models():
        tell(error="has no metric of that name")
        sys.exit()
    try:
        metrics[name] = pyiqa.create_metric(name)
    except Exception as error:  # of any library that pyiqa takes networks and files from
        tell(error=reason(error))
        sys.exit()
    tell(reference=metrics[name].metric_mode == "FR", lower=bool(metrics[name].lower_better))
while line := sys.stdin.buffer.readline():
    name, *shape = json.loads(line)
    metric = metrics[name]
    pair = numpy.frombuffer(sys.stdin.buffer.read(2 * numpy.prod(shape)), numpy.uint8).reshape(2, *shape)
    sharp, image = (torch.tensor(picture.transpose(2, 0, 1)[None] / 255).float() for picture in pair)
    try:
        with torch.no_grad():
            tell(score=float(metric(image, sharp) if metric.metric_mode == "FR" else metric(image)))
    except Exception as error:
        tell(error=reason(error))
"""


class Server:
    """A process with pyiqa's metrics of these names; it ends with this object.

    Raises:
        InputError: the package has no such metric.
        FileError: what a metric needs cannot be downloaded, or the package is not installed or failed.
    """

    def __init__(self, names: Sequence[str]) -> None:
        command = [sys.executable, "-W", "ignore", "-c", _SERVE, *names]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.metrics = [self._metric(name, self._answer(name)) for name in names]

    def __del__(self) -> None:
        process = getattr(self, "_process", None)
        if process and process.stdin and process.stdout:
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            process.wait()

    def _answer(self, name: str) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise FileError(f"{name}: pyiqa's process ended with exit code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            kind = InputError if answer["error"].startswith("has no") else FileError
            raise kind(f"{name}: pyiqa {answer['error']}")
        return answer

    def _metric(self, name: str, about: dict[str, Any]) -> Metric:
        without = "" if about["reference"] else ", without a sharp picture"
        better = "lower" if about["lower"] else "higher"
        return Metric(
            name,
            name,
            f"{name}: pyiqa's, of 8-bit RGB{without}; {better} is better",
            "comparable with papers that name pyiqa and this metric, on the same pictures",
            lambda sharp, image: self._score(name, sharp, image),
            lower_is_better=about["lower"],
            reference=about["reference"],
        )

    def _score(self, name: str, sharp: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
        check_pair(sharp, image)
        stdin = self._process.stdin
        assert stdin
        try:
            stdin.write(f"{json.dumps([name, *image.shape])}\n".encode())
            stdin.write(sharp.tobytes() + image.tobytes())
            stdin.flush()
        except OSError as error:
            raise FileError(f"{name}: pyiqa's process ended with exit code {self._process.wait()}") from error
        return float(self._answer(name)["score"])
