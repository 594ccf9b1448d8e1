import dataclasses
import json
import math

import pytest

from deblurgan.errors import FileError, InputError
from deblurgan.training.settings import SETTINGS_NAME, Settings, check_resumable, read_settings, write_settings

CHANGED = Settings(
    input_dir="größe/train",
    n_images=7,
    batch_size=2,
    epoch_num=9,
    critic_updates=3,
    image_size=128,
    preprocess="resize",
    learning_rate=3e-5,
    upsampling="resize",
    legacy_batchnorm=True,
    precision="bfloat16",
    seed=2**32 - 1,
    val_dir="größe/test",
    n_val=-1,
    save_every=4,
    log_dir="events",
)
NAMES = [field.name for field in dataclasses.fields(Settings)]


def test_the_example_below_changes_every_setting():
    """So that a setting added later is not forgotten in these tests."""
    assert [name for name in NAMES if getattr(CHANGED, name) == getattr(Settings(), name)] == []


@pytest.mark.parametrize("settings", [Settings(), CHANGED], ids=["defaults", "changed"])
def test_settings_come_back_from_the_runs_folder(settings, tmp_path):
    write_settings(settings, tmp_path)
    assert read_settings(tmp_path) == settings
    assert read_settings(str(tmp_path)) == settings
    assert [path.name for path in tmp_path.iterdir()] == [SETTINGS_NAME]


def test_defaults_are_the_tutorials():
    settings = Settings()
    assert (settings.batch_size, settings.epoch_num, settings.critic_updates) == (16, 4, 5)
    assert (settings.image_size, settings.learning_rate, settings.n_images) == (256, 1e-4, -1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, 0, "expected at least 1, received 0") for name in ("batch_size", "epoch_num", "critic_updates")),
        ("save_every", -3, "expected at least 1, received -3"),
        ("learning_rate", 0.0, "expected a positive number, received 0.0"),
        ("learning_rate", -1e-4, "expected a positive number, received -0.0001"),
        ("learning_rate", math.nan, "expected a positive number, received nan"),
        ("learning_rate", math.inf, "expected a positive number, received inf"),
        ("seed", -1, "expected 0 to 4294967295, received -1"),
        ("seed", 2**32, "expected 0 to 4294967295, received 4294967296"),
        ("precision", "half", "expected one of auto, float32, bfloat16, float16, received 'half'"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name, value, message):
    with pytest.raises(InputError) as caught:
        Settings(**{name: value})
    assert str(caught.value) == f"{name}: {message}"


def test_a_folder_without_settings_is_no_run(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileError) as caught:
            read_settings(folder)
        assert str(caught.value) == f"{folder}: expected the folder of a training run, found no settings.json"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b'{"batch_size": 4', "Expecting"),
        (b"\x89HDF\xff\xfe", "utf-8"),
        (b"[1, 2]", "must be a mapping"),
        (b'{"batchsize": 4}', "batchsize"),
        (b'{"batch_size": "4"}', "not supported between"),
        (b'{"batch_size": 0}', "batch_size: expected at least 1, received 0"),
    ],
)
def test_damaged_settings_are_one_line_that_names_the_file(content, why, tmp_path):
    path = tmp_path / SETTINGS_NAME
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        read_settings(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected the settings of a training run: ")
    assert why in message
    assert "\n" not in message


def test_settings_of_another_version_that_lack_one_take_its_default(tmp_path):
    (tmp_path / SETTINGS_NAME).write_text(json.dumps({"batch_size": 3}), encoding="utf-8")
    assert read_settings(tmp_path) == Settings(batch_size=3)


def test_free_settings_are_settings():
    assert set(NAMES) >= Settings.FREE
    assert {"epoch_num", "val_dir", "n_val", "save_every", "log_dir"} == Settings.FREE


@pytest.mark.parametrize("name", NAMES)
def test_a_run_resumes_with_other_settings_only_where_they_are_free(name, tmp_path):
    write_settings(Settings(), tmp_path)
    settings = dataclasses.replace(Settings(), **{name: getattr(CHANGED, name)})
    if name in Settings.FREE:
        check_resumable(settings, tmp_path)
        return
    with pytest.raises(InputError) as caught:
        check_resumable(settings, tmp_path)
    before, now = getattr(Settings(), name), getattr(CHANGED, name)
    assert str(caught.value) == (
        f"{name}: expected {before!r}, which the run {tmp_path} was started with, received {now!r}"
    )


def test_a_folder_without_a_run_does_not_resume(tmp_path):
    with pytest.raises(FileError, match="expected the folder of a training run"):
        check_resumable(Settings(), tmp_path)
