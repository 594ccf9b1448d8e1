"""From a weight file, or a name of weights, to what restores pictures with them."""

import os
from typing import Any

from deblurgan.devices import policy, require_own_process, require_tensorflow
from deblurgan.errors import InputError
from deblurgan.files import shown
from deblurgan.networks.folding import folded
from deblurgan.restoring.preview import HalfSizeRestorer
from deblurgan.restoring.restorer import Restorer
from deblurgan.runtimes import AUTO, contract, engines
from deblurgan.weights import catalogue
from deblurgan.weights.generators import open_generator
from deblurgan.weights.qualities import quality_in_words


def open_restorer(
    path: str | os.PathLike[str] | None = None,
    *,
    quality: str | None = None,
    precision: str = "auto",
    memory: int | str | None = None,
    tta: bool = False,
    strength: float = 1.0,
    engine: str | None = None,
    **assumed: Any,
) -> Restorer | HalfSizeRestorer:
    """Return what restores pictures with the generator in the weight file `path`, of any kind that is known.

    The arguments are those of `deblurgan.load`; `stages` among the assumptions takes the place of a quality.

    Raises:
        FileError, WeightsError: as `any_file.read` and `engines.open_exported`, or the file holds no generator.
        InputError: an argument that is not as above, an assumption that this network does not know, a package that
            the engine needs and that is not installed, another backend of Keras than TensorFlow, or a fork of a
            process that has computed.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.restoring.opening import open_restorer
        >>> restore = open_restorer("generator.h5", strength=0.5)
        >>> restore(np.zeros((30, 40, 3), np.uint16)).dtype
        dtype('uint16')
    """
    require_tensorflow()
    require_own_process()
    path = catalogue.path(catalogue.DEFAULT) if path is None else catalogue.resolve(path)
    options: dict[str, Any] = {"memory": memory, "tta": tta, "strength": strength}
    if engines.is_exported(path):
        if assumed or quality is not None:
            found = assumed or f"quality {quality!r}"
            raise InputError(f"{shown(path)}: an exported network takes no assumption or quality, received {found}")
        return Restorer(engines.open_exported(path, engine, precision), **options)
    engine = engines.choose(path, engine)
    content, assumed = open_generator(path, quality, assumed)
    if engine == AUTO:
        engine = engines.fastest(convolutional=content.entry.convolutional)
    if engine == "tensorflow":
        model = folded(content.build(dtype=policy(precision), frozen=True, **assumed))
        restorer = Restorer(model, fixed=True, **options)
    else:
        model = folded(content.build(dtype="float32", **assumed))
        about = contract.about(model, content.network)
        restorer = Restorer(engines.from_model(model, about, engine, precision), **options)
    if "stages" in content.assumed:
        restorer.quality = quality_in_words(assumed["stages"])
    return HalfSizeRestorer(restorer) if quality == "preview" else restorer
