"""What a training run is made from, and the file in the run's folder that records it."""

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from deblurgan.devices import PRECISIONS
from deblurgan.errors import FileError, InputError
from deblurgan.files import atomic_path

SETTINGS_NAME = "settings.json"


@dataclass(frozen=True)
class Settings:
    """What a run is made from. All but `epoch_num` and the folders of logs and validation stay fixed when it resumes.

    Attributes:
        input_dir: folder with A (blurred) and B (sharp).
        n_images: pairs to use, drawn with `seed`; negative for all.
        batch_size: pairs in a batch.
        epoch_num: epochs in all.
        critic_updates: critic steps per generator step.
        image_size: side of the training images in pixels, a multiple of 4.
        preprocess: "crop" or "resize"; see `pairs.PairStream`.
        learning_rate: of both Adam optimizers.
        upsampling: "transpose" or "resize"; see `networks.tutorial.generator_model`.
        legacy_batchnorm: whether the frozen critic normalises with the batch's statistics, as in Keras 2.1.
        precision: "auto", "float32", "bfloat16" or "float16"; see `devices.resolve_precision`.
        seed: of the initial weights, dropout, choice of pairs, order and crops.
        val_dir: folder with A and B to validate on after each epoch; none when None.
        n_val: pairs of it to use, drawn with `seed`; negative for all.
        save_every: epochs between two weight files with an epoch in their name; the best and last are always kept.
        log_dir: where TensorBoard's events go; the run's own `logs` folder when None.
    """

    input_dir: str = "images/train"
    n_images: int = -1
    batch_size: int = 16
    epoch_num: int = 4
    critic_updates: int = 5
    image_size: int = 256
    preprocess: str = "crop"
    learning_rate: float = 1e-4
    upsampling: str = "transpose"
    legacy_batchnorm: bool = False
    precision: str = "auto"
    seed: int = 0
    val_dir: str | None = None
    n_val: int = 8
    save_every: int = 1
    log_dir: str | None = None

    def __post_init__(self) -> None:
        """Check what neither the networks nor the data check themselves.

        Raises:
            InputError: naming the setting, what was expected and what came.
        """
        for name in ("batch_size", "epoch_num", "critic_updates", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, received {getattr(self, name)}")
        if self.image_size < 8 or self.image_size % 4:
            raise InputError(f"image_size: expected a multiple of 4, at least 8, received {self.image_size}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate: expected a positive number, received {self.learning_rate}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed: expected 0 to {2**32 - 1}, received {self.seed}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, received {self.precision!r}")

    FREE = frozenset({"epoch_num", "val_dir", "n_val", "save_every", "log_dir"})
    """The settings that may change when a run resumes."""


def write_settings(settings: Settings, run: Path) -> None:
    """Write the settings into the folder `run`, where `read_settings` finds them."""
    with atomic_path(run / SETTINGS_NAME) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(settings), indent=1), encoding="utf-8")


def read_settings(run: str | os.PathLike[str]) -> Settings:
    """Return the settings that the run in folder `run` was started with.

    Raises:
        FileError: there is no run, or its settings are damaged or invalid.
    """
    path = Path(run) / SETTINGS_NAME
    try:
        settings = Settings(**json.loads(path.read_text(encoding="utf-8")))
        for field in dataclasses.fields(Settings):
            value, default = getattr(settings, field.name), field.default
            expected = str if default is None else type(default)
            if type(value) is not expected and value != default:
                raise ValueError(f"{field.name}: expected {expected.__name__}, received {value!r}")
        return settings
    except FileNotFoundError as error:
        raise FileError(f"{path.parent}: expected the folder of a training run, found no {SETTINGS_NAME}") from error
    except (OSError, TypeError, ValueError) as error:  # no JSON, or a setting that is unknown or has a wrong value
        raise FileError(f"{path}: expected the settings of a training run: {error}") from error


def check_resumable(settings: Settings, run: str | os.PathLike[str]) -> None:
    """Check that the run in folder `run` can go on with `settings`.

    Raises:
        InputError: one differs from those that it was started with and is not in `FREE`.
        FileError: as `read_settings`.
    """
    started = read_settings(run)
    for name in sorted({field.name for field in dataclasses.fields(Settings)} - Settings.FREE):
        before, now = getattr(started, name), getattr(settings, name)
        if now != before:
            raise InputError(f"{name}: expected {before!r}, which the run {run} was started with, received {now!r}")
