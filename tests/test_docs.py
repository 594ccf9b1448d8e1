"""The documentation has all commands, options and fields of recipes, and the examples in it run.

A block runs where the line before it is `<!-- run -->`, or `<!-- run: slow -->` for `make test-slow`: in a folder
that has what they name, in this process. So does the example in the docstring of each name on the page of the API.
"""

import doctest
import inspect
import pkgutil
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from PIL import Image

from deblurgan import cli
from deblurgan.model import generator_model
from deblurgan.training.recipe import types
from deblurgan.weights.hdf5 import save_keras2
from tests.cli.program import deblurgan
from tests.photographs import save

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
PAGES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in FILES}
TEXT = "\n".join(PAGES.values())
BLOCK = re.compile(r"^<!-- run(: slow)? -->\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(language, code, id=f"{name}:{i}", marks=[pytest.mark.slow] if slow else [])
    for name, text in sorted(PAGES.items())
    for i, (slow, language, code) in enumerate(BLOCK.findall(text), 1)
]

COSTLY = ("deblurgan.load", "deblurgan.train", "deblurgan.training.trainer.train", "deblurgan.gan.GAN")


def in_the_api():
    """The names that `docs/api.md` shows: of a module those that it says are public, but for its constants."""
    for name in re.findall("^::: (.*)", PAGES["docs/api.md"], re.MULTILINE):
        found = pkgutil.resolve_name(name)
        if not inspect.ismodule(found):
            yield name
            continue
        yield from (f"{name}.{inner}" for inner in found.__all__ if callable(getattr(found, inner)))


@pytest.mark.parametrize("command", cli.main.commands)
def test_each_command_and_option_is_described(command):
    assert re.search(rf"deblurgan {command}\b", TEXT)
    missing = []
    for option in cli.main.commands[command].params:
        if isinstance(option, click.Option):
            spelling = re.escape(option.opts[0]).replace("_", "[-_]")
            if not re.search(rf"(?<![\w-]){spelling}(?![\w-])", TEXT):
                missing.append(option.opts[0])
    assert missing == []


@pytest.mark.parametrize("script", ["organize_gopro_dataset.py", "train.py", "deblur.py"])
def test_each_script_is_described(script):
    assert f"python {script}" in TEXT


def test_each_field_of_a_recipe_is_listed():
    section = PAGES["docs/recipes.md"].split("## Fields\n")[1].split("\n## ")[0]
    assert set(types()) <= set(re.findall(r"`(\w+)`", section))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_to_other_files_of_the_repository_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / name).read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """64x64 of a real pair."""
    scene = ROOT / "tests/data/GOPRO_crops/train/GOPR0372_07_00"
    whole = [Image.open(scene / side / "000059.png").convert("RGB") for side in ("blur", "sharp")]
    return [picture.crop((96, 96, 160, 160)) for picture in whole]


@pytest.fixture
def folder(crops, tmp_path, monkeypatch):
    blurred, sharp = crops
    for name in ("photo.jpg", "blurred.jpg"):
        save(tmp_path / name, blurred, format="JPEG")
    for part in ("train", "test"):
        save(tmp_path / "images" / part / "A/one.png", blurred)
        save(tmp_path / "images" / part / "B/one.png", sharp)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_a_marked_block_runs(language, code):
    if language == "python":
        exec(compile(code, "<documentation>", "exec"), {})
        return
    for line in code.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "deblurgan"
        result = deblurgan(*arguments)
        assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "generator.h5"
    save_keras2(generator_model(ngf=4, n_blocks=1), path)
    return path


@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore::deblurgan.compat.OldKerasWarning")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in COSTLY else []) for name in in_the_api()],
)
def test_a_public_name_has_an_example_that_runs(name, weights):
    found = pkgutil.resolve_name(name)
    shutil.copy(weights, ".")
    example = doctest.DocTestParser().get_doctest(found.__doc__, {}, name, None, None)
    assert example.examples
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    said = []
    runner.run(example, out=said.append)
    assert runner.failures == 0, "".join(said)
