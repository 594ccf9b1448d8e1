"""Removes motion blur from photographs, in Keras 3; it began as the DeblurGAN tutorial of 2018, working again."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deblurgan.devices import choose_kernels, require_tensorflow

if TYPE_CHECKING:
    import keras

    from deblurgan.deblurrer import Deblurrer
    from deblurgan.training.progress import Progress, Result

__version__ = "0.1.0"

choose_kernels()


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    quality: str | None = None,
    precision: str = "auto",
    memory: int | str | None = None,
    tta: bool = False,
    strength: float = 1.0,
    engine: str | None = None,
    **assumed: Any,
) -> "Deblurrer":
    """Return what restores arrays, Pillow images and image files with the generator that `path` names.

    What is returned can be pickled and copied; the copy loads the same weights anew, with the same options.

    Args:
        path: a weight file of any kind that `weights.any_file.read` knows, or a `.onnx` or `.xml` file that
            `deblurgan export` wrote; the folder of a training run, or the name of one in the folder `weights`, for
            its best weights; or a name that `deblurgan weights` lists, which is downloaded where it is not here yet.
            None: maxim-gopro, which is in the package.
        quality: "preview", "fast", "balanced" or "best", of a network with stages such as maxim-gopro; None for
            "best" on a GPU and "fast" on a CPU.
        precision: "auto", "float32", "bfloat16" or "float16"; see `devices.resolve_precision`.
        memory: how much this process may hold while it restores, bytes or a text like "2GB"; None for a safe amount.
        tta: restore each of the 8 ways in which the image can be turned and mirrored, and average.
        strength: from 0 (the input) to 1 (the restored image).
        engine: "tensorflow", "openvino" or "onnxruntime"; "auto" for the fastest of those that are installed; None
            for TensorFlow, or what an exported file is made for.
        assumed: what the file leaves open, e.g. `residual=False`; `deblurgan inspect` tells.

    Raises:
        FileError, WeightsError, InputError: see `restoring.opening.open_restorer`.

    Examples:
        >>> import deblurgan
        >>> restored = deblurgan.load(quality="preview").restore("photo.jpg")
        >>> restored.save("restored.jpg", quality=95, **restored.info)
    """
    require_tensorflow()
    from deblurgan.deblurrer import opened

    options: dict[str, Any] = {"precision": precision, "memory": memory, "tta": tta, "strength": strength}
    options |= {"engine": engine, "quality": quality}
    return opened(path, {**options, **assumed})


def train(
    recipe: str | os.PathLike[str],
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    run: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: "Progress | None" = None,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    **fields: Any,
) -> "Result":
    """Train as a recipe says, and leave everything in the folder `run`; the result's `weights` are for `load`.

    Args:
        recipe: a name that `deblurgan recipes` lists, or a file such as it prints.
        sources: pictures to train on, [KIND=]FOLDER[,OPTION=VALUE...] as for `deblurgan train --source`; or several.
        run: the run's own folder; see `training.trainer.train` for what it gets, for what else is taken and raised.
        resume: whether to go on from its latest checkpoint.
        progress: is told what happens.
        callbacks: Keras callbacks.
        fields: of the recipe, in place of what it says; see `training.recipe.Recipe`.

    Examples:
        >>> import deblurgan
        >>> tiny = {"width": 2, "encoder_blocks": [1], "decoder_blocks": [1]}
        >>> fields = {"network_options": tiny, "image_size": 32, "batch_size": 1, "steps": 2}
        >>> result = deblurgan.train("nafnet", "images/train", "run", **fields)
        >>> result.weights.name
        'generator_best.weights.h5'
    """
    require_tensorflow()
    from deblurgan.data.opening import parse_source
    from deblurgan.training import trainer
    from deblurgan.training.recipe import make, read_fields

    folders = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    changes = {"sources": [parse_source(os.fspath(folder)) for folder in folders], **fields}
    plan = make(read_fields(os.fspath(recipe)), changes.items())
    return trainer.train(plan, run, resume=resume, progress=progress, callbacks=callbacks)
