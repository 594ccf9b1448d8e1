"""Methods of models that work as they did in Keras 2: what `compile` fixes, what a batch returns, weight files."""

import contextlib
import functools
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras

from deblurgan.compat.notices import OldKerasError, note
from deblurgan.compat.patches import Patches, defining
from deblurgan.devices import keep_order
from deblurgan.errors import FileError
from deblurgan.files import shown
from deblurgan.weights.hdf5 import write_keras2

Method = Callable[..., Any]


def install(patches: Patches) -> None:
    """Let models compile, train, predict, save and load as in Keras 2."""
    compiled: Any = weakref.WeakKeyDictionary()  # model -> its flags, see `_flags`, at its last compile()
    wrappers: dict[str, Callable[[Method], Method]] = {
        "compile": functools.partial(_compile, compiled),
        "fit": lambda method: _fit(_as_compiled(compiled, method)),
        "evaluate": functools.partial(_as_compiled, compiled),
        "train_on_batch": lambda method: _of_this_batch(_as_compiled(compiled, method)),
        "test_on_batch": lambda method: _of_this_batch(_as_compiled(compiled, method)),
        "predict": _predict,
        "save_weights": _save_weights,
        "load_weights": _load_weights,
    }
    for name, wrapper in wrappers.items():
        cls = defining(keras.Model, name)
        patches.set(cls, name, wrapper(vars(cls)[name]))
    for method in (fit_generator, evaluate_generator, predict_generator):
        patches.set(keras.Model, method.__name__, method)


def _flags(model: Any) -> Any:
    """The flag `trainable` of the model and of every layer in it, containers before what they contain."""
    return weakref.WeakKeyDictionary({layer: layer.trainable for layer in model._flatten_layers()})


@contextlib.contextmanager
def _with_flags(model: Any, flags: Any) -> Iterator[None]:
    """Set `trainable` of the layers in `flags`, and set it back at the end."""
    now = _flags(model)
    try:
        _set_flags(flags)
        yield
    finally:
        _set_flags(now)


def _set_flags(flags: Any) -> None:
    for layer, trainable in flags.items():
        if layer.trainable != trainable:
            layer.trainable = trainable  # in what it contains as well


def _compile(compiled: Any, method: Method) -> Method:
    """Remember which layers are trainable: Keras 2 trains those, whatever becomes of the flags afterwards."""

    @functools.wraps(method)
    def compile(self: Any, *args: Any, **kwargs: Any) -> None:
        keep_order()  # old critics are linear, with the mean of the scores as their loss
        method(self, *args, **kwargs)
        compiled[self] = _flags(self)

    return compile


def _as_compiled(compiled: Any, method: Method) -> Method:
    """Run `method` with the layers trainable that were so at `compile()`."""

    @functools.wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _with_flags(self, compiled.get(self, {})):
            return method(self, *args, **kwargs)

    return run


def _of_this_batch(method: Method) -> Method:
    """Return the values of this batch, as floats; Keras 3 has versions that return means since the last reset."""

    @functools.wraps(method)
    def on_batch(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.reset_metrics()
        return keras.tree.map_structure(float, method(self, *args, **kwargs))

    return on_batch


def _fit(method: Method) -> Method:
    @functools.wraps(method)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "nb_epoch" in kwargs:
            note("fit(nb_epoch=...) is now epochs=...")
            kwargs["epochs"] = kwargs.pop("nb_epoch")
        return method(self, *args, **kwargs)

    return fit


def _predict(method: Method) -> Method:
    """Show no progress bar unless asked to."""

    @functools.wraps(method)
    def predict(
        self: Any, x: Any, batch_size: int | None = None, verbose: Any = 0, steps: int | None = None, **kwargs: Any
    ) -> Any:
        return method(self, x, batch_size=batch_size, verbose=verbose, steps=steps, **kwargs)

    return predict


def fit_generator(
    self: Any,
    generator: Any,
    steps_per_epoch: int | None = None,
    epochs: int = 1,
    verbose: Any = 1,
    callbacks: Any = None,
    validation_data: Any = None,
    validation_steps: int | None = None,
    class_weight: Any = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    shuffle: bool = True,
    initial_epoch: int = 0,
    **keras1: Any,
) -> Any:
    """Do what `fit` does with a generator; the arguments about queues and workers have no effect.

    Raises:
        OldKerasError: an epoch is given in samples, as in Keras 1.
    """
    note("fit_generator(...) is now fit(...)")
    if keras1.keys() - {"nb_epoch"}:
        raise OldKerasError(
            f"fit_generator({', '.join(sorted(keras1))}) is not in Keras 3; write instead: fit(generator, "
            "steps_per_epoch=..., epochs=..., validation_steps=...), which count batches, not samples"
        )
    return self.fit(
        generator,
        steps_per_epoch=steps_per_epoch,
        epochs=keras1.get("nb_epoch", epochs),
        verbose=verbose,
        callbacks=callbacks,
        validation_data=validation_data,
        validation_steps=validation_steps,
        class_weight=class_weight,
        shuffle=shuffle and isinstance(generator, keras.utils.PyDataset),  # the only kind that can be shuffled
        initial_epoch=initial_epoch,
    )


def evaluate_generator(self: Any, generator: Any, steps: int | None = None, **queue: Any) -> Any:
    """Do what `evaluate` does with a generator; the arguments about queues and workers have no effect."""
    note("evaluate_generator(...) is now evaluate(...)")
    return self.evaluate(generator, steps=steps, verbose=0)


def predict_generator(self: Any, generator: Any, steps: int | None = None, **queue: Any) -> Any:
    """Do what `predict` does with a generator; the arguments about queues and workers have no effect."""
    note("predict_generator(...) is now predict(...)")
    return self.predict(generator, steps=steps)


def _save_weights(method: Method) -> Method:
    """Write `.h5` and `.hdf5` in the layout of Keras 2, `.weights.h5` in that of Keras 3."""

    @functools.wraps(method)
    def save_weights(self: Any, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        if not _is_old_file(filepath):
            method(self, filepath, overwrite, **kwargs)
            return
        note("save_weights(*.h5) writes Keras 2's layout; Keras 3's own is save_weights(*.weights.h5)")
        if not overwrite and os.path.exists(filepath):
            raise FileError(f"{shown(filepath)}: exists already, and save_weights was called with overwrite=False")
        with _all_trainable(self):
            write_keras2(filepath, self.layers)

    return save_weights


def _load_weights(method: Method) -> Method:
    """Read both layouts, whatever is frozen."""

    @functools.wraps(method)
    def load_weights(self: Any, filepath: Any, by_name: bool = False, **kwargs: Any) -> None:
        if by_name:
            kwargs["by_name"] = True
        with _all_trainable(self) if _is_old_file(filepath) else contextlib.nullcontext():
            method(self, filepath, **kwargs)

    return load_weights


def _is_old_file(path: Any) -> bool:
    name = os.fspath(path)
    return name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5")


def _all_trainable(model: Any) -> Any:
    """The order of the weights in Keras 2's files depends on the flags; do without them."""
    return _with_flags(model, dict.fromkeys(model._flatten_layers(), True))
