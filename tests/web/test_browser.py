"""The page in a real browser, with the weights of the package: `make test-browser`."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.photographs import save

pytestmark = pytest.mark.browser
EXAMPLE = Path(__file__).parents[2] / "deblurgan" / "assets" / "examples" / "lorry.jpg"
SOON = 120_000  # milliseconds, on a slow machine
DEBLURGAN = [sys.executable, "-m", "deblurgan"]


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """The folder for temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(temporary):
    """Of a page that is served until SIGTERM, and then leaves nothing behind."""
    command = ["env", f"TMPDIR={temporary}", *DEBLURGAN, "web", "--port", "0", "--runs", str(temporary)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("Page: "):
                break
        yield line.split()[1]
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert (process.returncode, said.splitlines()[-1:]) == (0, ["The page has ended."])
    assert list(temporary.glob("deblurgan-web-*")) == []


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """The page, which asks no server but its own for anything."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked = set()
    page.on("request", lambda request: asked.add(request.url))
    page.set_default_timeout(SOON)
    page.goto(address)
    yield page
    page.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def restore(page, *files, quality="preview"):
    page.get_by_label(quality, exact=True).check()
    page.locator("input[type=file]").first.set_input_files([str(file) for file in files])
    for file in files:
        page.get_by_text(re.compile(re.escape(file.suffix))).first.wait_for()
    page.get_by_role("button", name="Restore", exact=True).first.click()


def messages(page):
    return page.get_by_label("Messages").first


def test_downloads_are_the_command_line_s_and_errors_its_words(page, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    photograph = save(tmp_path / "lorry.jpg", Image.open(EXAMPLE), quality=90, exif=exif)
    deep = save(tmp_path / "deep.png", np.asarray(Image.open(EXAMPLE).convert("L")).astype(np.uint16) * 257)
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    restore(page, photograph, text, deep)
    page.get_by_role("button", name="Download all (zip)").wait_for()
    run = [*DEBLURGAN, "deblur", "--quality", "preview", photograph, text, deep]
    said = subprocess.run(run, stderr=subprocess.PIPE, text=True, cwd=tmp_path).stderr
    assert f"failed: {text.parent}/{messages(page).input_value()}" in said.splitlines()
    links = page.locator("#results a")
    assert links.count() == 2
    assert page.locator("#results button:visible").count() == 0  # nothing to take away there
    assert page.get_by_text("deep.png: before and after").count() == 1
    for number, name in enumerate(["lorry_deblurred.jpg", "deep_deblurred.png"]):
        with page.expect_download() as download:
            links.nth(number).click()
        assert download.value.suggested_filename == name
        assert Path(download.value.path()).read_bytes() == (tmp_path / name).read_bytes()


def test_the_slider_moves_between_before_and_after(page):
    restore(page, EXAMPLE)
    slider = page.locator("#slider")
    slider.locator("img").nth(1).wait_for()
    page.wait_for_function("[...document.querySelectorAll('#slider img')].every(image => image.naturalWidth == 381)")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before = slider.screenshot()
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, middle[1], steps=5)
    page.mouse.up()
    assert slider.screenshot() != before


def test_what_is_taken_away_is_removed_with_its_result(page, temporary, tmp_path):
    restore(page, save(tmp_path / "mine.jpg", Image.open(EXAMPLE)))
    page.locator("#results a").wait_for()
    assert {path.name for path in temporary.rglob("mine*")} == {"mine.jpg", "mine_deblurred.jpg"}
    page.get_by_label("Clear").first.click()
    page.locator("#results a").wait_for(state="hidden")
    assert [*temporary.rglob("mine*")] == []


def test_cancel_ends_at_the_next_tile(page, tmp_path):
    large = save(tmp_path / "large.jpg", Image.open(EXAMPLE).resize((1500, 1000)))
    page.get_by_label("Average over 8 flips and turns").check()
    restore(page, large, quality="fast")
    page.get_by_text(re.compile(r"left")).first.wait_for()
    page.get_by_role("button", name="Cancel").first.click()
    page.wait_for_function("document.querySelector('textarea').value == 'cancelled'")
    assert page.locator("#results a").count() == 0


def test_it_fits_a_telephone(browser, address):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(address)
    page.get_by_role("button", name="Restore", exact=True).first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
