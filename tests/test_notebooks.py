"""The notebooks run, and are kept with outputs that say nothing of the machine they ran on."""

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path):
    return [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def outputs(path):
    return [output for cell in cells(path) for output in cell["outputs"]]


def test_there_are_five():
    assert [path.stem[0] for path in NOTEBOOKS] == list("12345")


@by_name
def test_outputs_are_kept_and_small(path):
    assert [cell["execution_count"] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
    assert all("execution" not in cell["metadata"] for cell in cells(path))  # when it ran
    assert any("image/jpeg" in output.get("data", {}) for output in outputs(path))
    assert path.stat().st_size < 400_000


@by_name
def test_outputs_have_no_warnings_and_no_paths(path):
    texts = [output["text"] if "text" in output else output["data"]["text/plain"] for output in outputs(path)]
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs(path))
    assert not re.search(r"[Ww]arning|(^|[\s'\"(])/\w", "\n".join("".join(text) for text in texts))


@by_name
def test_the_first_cell_installs_what_is_missing(path):
    first = "".join(cells(path)[0]["source"])
    guard, installs = first.split('if importlib.util.find_spec("deblurgan") is None:\n')
    assert "git" not in guard.split("REPOSITORY = ")[0]
    assert all(line.startswith("    ") for line in installs.splitlines())
    assert "{REPOSITORY}" in installs
    assert "%pip install" in installs
    assert first == "".join(cells(NOTEBOOKS[0])[0]["source"])


@pytest.mark.notebooks
@by_name
def test_it_runs(path, tmp_path):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "notebooks").mkdir()
    run = runpy.run_path(str(ROOT / "notebooks/run.py"))["run"]
    notebook = run(path, tmp_path / "notebooks")
    given = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output.text for output in given if output.get("name") == "stderr"] == []
