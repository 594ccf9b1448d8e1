"""What old programs take to be installed and need not be: TensorBoard, Graphviz."""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import keras

from deblurgan.compat.notices import note
from deblurgan.compat.patches import Patches


def install(patches: Patches) -> None:
    """Let `plot_model` go without Graphviz, and write the scalars of `tf.summary` without TensorBoard."""
    import tensorflow as tf

    for module in {keras.utils, tf.keras.utils}:  # the same module, unless a program imports the latter by its path
        patches.set(module, "plot_model", _drawing_or_not(module.plot_model))
    if importlib.util.find_spec("tensorboard") is None:
        patches.set(tf.summary, "scalar", _scalar)


def _drawing_or_not(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def plot_model(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except ImportError:  # what Keras raises without them
            note("plot_model draws nothing here: it needs pydot and Graphviz")
            return None

    return plot_model


def _scalar(name: str, data: Any, step: Any = None, description: str | None = None) -> Any:
    """Write what TensorBoard's own function of that name does; it is part of that package."""
    import tensorflow as tf

    note("tf.summary.scalar writes its events; to look at them, install tensorboard")
    kind = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    metadata = tf.compat.v1.SummaryMetadata(plugin_data=kind, summary_description=description)
    with tf.summary.experimental.summary_scope(name, "scalar_summary", values=[data, step]) as (tag, _):
        return tf.summary.write(tag, tf.cast(data, tf.float32), step=step, metadata=metadata)
