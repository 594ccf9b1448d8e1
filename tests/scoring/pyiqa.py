"""A stand-in for the packages pyiqa and torch, which the process that scores with them imports."""

PYIQA = """
from urllib.error import URLError

class Metric:
    def __init__(self, mode, lower, score):
        self.metric_mode, self.lower_better, self.score = mode, lower, score

    def __call__(self, *pictures):
        return self.score(*(picture.values for picture in pictures))

METRICS = {
    "psnr": Metric("FR", False, lambda image, sharp: -1),
    "apart": Metric("FR", True, lambda image, sharp: abs(image - sharp).mean()),
    "darkness": Metric("NR", True, lambda image: 1 - image.mean()),
    "small": Metric("NR", False, lambda image: 1 / (image.shape != (1, 3, 8, 8))),
    "downloaded": None,
}

def list_models():
    return list(METRICS)

def create_metric(name):
    print("what a package prints")
    if METRICS[name] is None:
        raise URLError("no route\\nto host")
    return METRICS[name]
"""
TORCH = """
import contextlib

class tensor:
    def __init__(self, values):
        self.values = values

    def float(self):
        return self

no_grad = contextlib.nullcontext
"""


def stand_in(folder, monkeypatch):
    """Let processes that are started import the stand-ins from a new folder, and this one find them."""
    folder.mkdir()
    (folder / "pyiqa.py").write_text(PYIQA, encoding="utf-8")
    (folder / "torch.py").write_text(TORCH, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
