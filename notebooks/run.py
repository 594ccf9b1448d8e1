"""Runs notebooks from top to bottom and keeps their outputs: `python notebooks/run.py [FILE.ipynb ...]`, or all."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Return the notebook at `path` with the outputs that it has when it is run in `folder`."""
    notebook = nbformat.read(path, as_version=4)
    options = {"record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources={"metadata": {"path": folder}}, **options).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "image/jpeg" in output.get("data", {}):  # Pillow's images give both
                output.data.pop("image/png", None)
    notebook.metadata.language_info = {"name": "python"}  # not the version that it happened to be
    return notebook


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:] or sorted(HERE.glob("*.ipynb"))):
        nbformat.write(run(file, file.parent), file)
