"""TensorFlow checkpoints, `NAME.index` and `NAME.data-...`: the variables by their names; no graph is loaded."""

import os
from pathlib import Path

import numpy as np

from deblurgan.errors import FileError
from deblurgan.files import reason, shown, without_wildcards

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # how the names of variables end


def read(
    prefix: str | os.PathLike[str], kind: str = "TensorFlow checkpoint", path: str | os.PathLike[str] | None = None
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the names of all that a checkpoint, named without `.index`, holds; and its variables, less optimizers'.

    Messages call it `kind` and, where given, `path`.

    Raises:
        FileError: it is missing, unreadable or damaged.
    """
    import tensorflow as tf

    try:
        with without_wildcards(Path(prefix)) as plain:
            reader = tf.train.load_checkpoint(str(plain))
            names = list(reader.get_variable_to_shape_map())
            wanted = [name for name in names if name.endswith(VALUE) and "optimizer" not in name.lower()]
            return names, {name: np.asarray(reader.get_tensor(name)) for name in wanted}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise FileError(f"{shown(path or prefix)}: not a readable {kind}: {reason(error)}") from error
