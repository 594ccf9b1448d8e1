import json
import os

import numpy as np

from deblurgan.web import runs
from tests.photographs import noise, save


def write_run(folder, name, epochs, when):
    path = folder / name / "run.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"epochs": epochs}))
    os.utime(path, ns=(when, when))


def test_runs_are_listed_and_looked_at_as_they_grow(tmp_path):
    assert runs.names(tmp_path / "missing") == []
    save(tmp_path / "no run" / "picture.png", noise())
    write_run(tmp_path, "old", [], 10**18)
    write_run(tmp_path, "new", [{"epoch": 0, "step": 0, "loss": None}], 2 * 10**18)
    assert runs.names(tmp_path) == ["new", "old"]
    assert runs.look_at(tmp_path, "old") == runs.Run("", None, [])
    assert runs.look_at(tmp_path, "new").text == "epoch 0, step 0"
    before = runs.changed(tmp_path, "new")
    write_run(tmp_path, "new", [{"epoch": 0}, {"epoch": 1, "loss": 0.123456789}], 3 * 10**18)
    assert runs.changed(tmp_path, "new") != before
    for epoch in range(10):
        sample = save(tmp_path / "new" / "samples" / f"epoch_{epoch:03d}.png", noise(seed=epoch))
        os.utime(sample, ns=(epoch, epoch))
    save(tmp_path / "new" / "curves.png", noise(seed=20))
    run = runs.look_at(tmp_path, "new")
    assert run.text == "epoch 1, loss 0.123457"
    assert np.array_equal(run.curves, noise(seed=20))
    assert [name for _, name in run.samples] == [f"epoch_{epoch:03d}" for epoch in range(9, 1, -1)]
    assert np.array_equal(run.samples[0][0], noise(seed=9))
