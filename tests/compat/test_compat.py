import importlib
import inspect
import json
import math
import os
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from deblurgan import compat
from deblurgan.compat import OldKerasError, OldKerasWarning, names
from deblurgan.compat.backend import STAND_INS
from deblurgan.compat.imports import resolve
from deblurgan.errors import FileError, InputError
from deblurgan.networks.tutorial import generator_model
from deblurgan.networks.vgg import vgg16_block3_conv3
from deblurgan.weights.any_file import load
from tests.compat.conftest import WITHOUT_IPYTHON
from tests.ordering import unordered

REPOSITORY = Path(__file__).parents[2]
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2, 3, 4)).astype("float32")
Y = RANDOM.normal(size=(2, 3, 4)).astype("float32")
IMAGES = RANDOM.uniform(-1, 1, (2, 4, 6, 3)).astype("float32")
MATRIX = RANDOM.normal(size=(4, 5)).astype("float32")
PROBABILITIES = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], "float32")
TARGETS = np.array([[0, 1, 0], [0, 0, 1]], "float32")


@pytest.fixture
def backend(old_keras):
    """`keras.backend` with the old names."""
    return importlib.import_module("keras.backend")


@pytest.fixture
def noted():
    """Keras with the old names; a function that returns the warnings given by another one."""
    compat.install()

    def messages(function):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            function()
        return [str(warning.message) for warning in caught if issubclass(warning.category, OldKerasWarning)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldKerasWarning)
        yield messages
    compat.uninstall()


def everything_that_is_patched():
    """The attributes of all modules and classes that `install` may touch, by owner."""
    classes = {resolve(path) for path in names.ARGUMENTS} | set(keras.Model.__mro__) | {keras.optimizers.Optimizer}
    modules = {tf, keras, *(module for name, module in sys.modules.items() if re.match(r"keras(\.\w+)*$", name))}
    return {owner: dict(vars(owner)) for owner in classes | modules}


# Installing


def test_importing_the_package_does_not_even_import_keras():
    code = "import sys, deblurgan.compat, deblurgan.utils; assert not {'keras', 'tensorflow'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


def test_uninstalling_leaves_keras_as_it_was():
    for path in (*names.NAMES, *names.MODULES, *names.ARGUMENTS, "keras.applications.vgg16.VGG16"):
        owner = path.rpartition(".")[0]  # Keras 3.8 makes some of its modules anew when they are first imported so
        if owner and owner not in names.MODULES:
            importlib.import_module(owner)
    importlib.import_module("tensorflow").keras.layers  # noqa: B018 (until then `keras` is a stand-in of TensorFlow's)
    before = everything_that_is_patched()
    finders = list(sys.meta_path)
    compat.install()
    compat.install()
    during = everything_that_is_patched()
    with pytest.warns(OldKerasWarning, match=r"keras\.engine"):
        importlib.import_module("keras.engine.topology")
    compat.uninstall()
    after = everything_that_is_patched()
    assert sys.meta_path == finders
    assert not [name for name in names.MODULES if name in sys.modules]
    for owner, attributes in before.items():
        changed = [name for name in attributes.keys() | after[owner].keys() if not name.startswith("__abc")]
        for name in changed:
            assert after[owner].get(name) is attributes.get(name), (owner, name)
    assert sum(during[owner] != attributes for owner, attributes in before.items()) > 30


def test_without_installing_old_code_does_not_run():
    with pytest.raises(ImportError):
        importlib.import_module("keras.layers.merge")
    with pytest.raises(ValueError, match="lr"):
        keras.optimizers.Adam(lr=0.1)


# Modules and names


@pytest.mark.parametrize("old", names.MODULES)
def test_an_old_module_has_the_names_of_the_modern_one(old_keras, old):
    module, new = importlib.import_module(old), importlib.import_module(names.MODULES[old])
    public = [name for name in dir(new) if not name.startswith("_")]
    assert sorted(module.__all__) == sorted(public)
    for name in public:
        if f"{old}.{name}" not in names.NAMES | names.REMOVED:
            assert getattr(module, name) is getattr(new, name)


@pytest.mark.parametrize("old", names.MODULES)
def test_importing_an_old_module_names_the_modern_one_once(noted, old):
    assert f"{old} is now {names.MODULES[old]}" in noted(lambda: importlib.import_module(old))
    assert noted(lambda: importlib.import_module(old)) == []


@pytest.mark.parametrize("old", names.NAMES)
def test_an_old_name_stands_for_something_and_names_its_modern_spelling_once(noted, old):
    module, _, name = old.rpartition(".")
    noted(lambda: importlib.import_module(module))
    found = []
    said = noted(lambda: found.append(getattr(importlib.import_module(module), name)))
    assert said == [f"{old} is now {names.NAMES[old]}"]
    assert noted(lambda: getattr(importlib.import_module(module), name)) == []
    modern = names.NAMES[old]
    if module == "keras.backend" and name in STAND_INS:
        assert found == [STAND_INS[name]]
    else:
        assert found == [resolve(modern)]


def test_stand_ins_are_all_reachable():
    assert {f"keras.backend.{name}" for name in STAND_INS} <= names.NAMES.keys()


@pytest.mark.parametrize("old", names.REMOVED)
def test_what_is_gone_says_what_to_write_instead(old_keras, old):
    owner, _, name = old.rpartition(".")
    gone = getattr(importlib.import_module(owner) if owner in names.MODULES else resolve(owner), name)
    with pytest.raises(OldKerasError, match=re.escape(names.REMOVED[old])):
        gone("an argument")


def test_the_function_merge_of_keras_1_says_what_to_write_instead(old_keras):
    from keras.layers import merge

    with pytest.raises(OldKerasError, match=r"keras\.layers\.add"):
        merge([X, Y], mode="sum")


def test_a_name_that_never_was_is_missing_as_usual(old_keras):
    with pytest.raises(ImportError, match="NoSuchLayer"):
        exec("from keras.layers.core import NoSuchLayer")
    with pytest.raises(AttributeError, match="no_such_function"):
        importlib.import_module("keras.backend").no_such_function  # noqa: B018
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("keras.no_such_module")


def test_a_star_import_takes_what_the_modern_module_has(old_keras):
    space = {}
    exec("from keras.layers.convolutional import *", space)
    assert space["Conv2D"] is keras.layers.Conv2D


def test_old_modules_are_attributes_of_their_packages_and_go_with_them():
    compat.install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldKerasWarning)
        assert keras.layers.core.Dense is keras.layers.Dense
        assert keras.engine.topology.Layer is keras.layers.Layer
    compat.uninstall()
    assert not hasattr(keras.layers, "core")
    assert not hasattr(keras, "engine")


def test_warnings_are_given_where_the_old_name_is_used(noted):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from keras.utils import conv_utils

        conv_utils.normalize_tuple(1, 2, "strides")
        keras.layers.Dense(output_dim=2)
    mine = [warning for warning in caught if issubclass(warning.category, OldKerasWarning)]
    assert len(mine) == 2
    assert {warning.filename for warning in mine} == {__file__}


def test_python_shows_the_warnings_unless_told_otherwise():
    assert issubclass(OldKerasWarning, FutureWarning)


# keras.backend


def crossentropy(target, output):
    return -np.sum(target * np.log(output), axis=-1)


def pooled(pool):
    """The windows of 2x2 pixels of IMAGES, one step apart."""
    windows = np.lib.stride_tricks.sliding_window_view(IMAGES, (2, 2), axis=(1, 2))
    return pool(windows, axis=(-2, -1))


def convolved():
    """A 2x2 kernel of ones over IMAGES, two filters, strides 2."""
    return np.repeat(pooled(np.sum)[:, ::2, ::2].sum(-1, keepdims=True), 2, axis=-1)


BACKEND = {
    "abs": [((X,), np.abs(X))],
    "all": [((X > -1, 1), (X > -1).all(1)), ((X > -9,), True)],
    "any": [((X > 1, [0, 1]), (X > 1).any((0, 1)))],
    "arange": [((2, 8, 3), [2, 5]), ((3,), [0, 1, 2])],
    "argmax": [((X,), X.argmax(-1)), ((X, 0), X.argmax(0))],
    "argmin": [((X,), X.argmin(-1))],
    "batch_flatten": [((X,), X.reshape(2, 12))],
    "binary_crossentropy": [
        (
            (TARGETS, PROBABILITIES),
            -TARGETS * np.log(PROBABILITIES) - (1 - TARGETS) * np.log(1 - PROBABILITIES),
        )
    ],
    "cast": [((X, "int32"), X.astype("int32"))],
    "cast_to_floatx": [((X.astype("float64"),), X)],
    "categorical_crossentropy": [((TARGETS, PROBABILITIES), crossentropy(TARGETS, PROBABILITIES))],
    "clip": [((X, -0.5, 0.25), X.clip(-0.5, 0.25)), (({"x": X, "min_value": 0, "max_value": 1}), X.clip(0, 1))],
    "concatenate": [(([X, Y],), np.concatenate([X, Y], -1)), (([X, Y], 0), np.concatenate([X, Y], 0))],
    "constant": [((1.5, "float32", (2, 2)), np.full((2, 2), 1.5)), ((X,), X)],
    "conv2d": [((IMAGES, np.ones((2, 2, 3, 2), "float32"), (2, 2)), convolved())],
    "cos": [((X,), np.cos(X))],
    "count_params": [((X,), 24)],
    "cumprod": [((X,), X.cumprod(0))],
    "cumsum": [((X,), X.cumsum(0)), ((X, 1), X.cumsum(1))],
    "dot": [((X, MATRIX), X @ MATRIX)],
    "elu": [((X, 0.5), np.where(X > 0, X, 0.5 * np.expm1(X)))],
    "equal": [((X, X), np.full(X.shape, True))],
    "eval": [((X,), X)],
    "exp": [((X,), np.exp(X))],
    "expand_dims": [((X,), X[..., None]), ((X, 1), X[:, None])],
    "flatten": [((X,), X.ravel())],
    "gather": [((X, [1, 1]), X[[1, 1]])],
    "get_value": [((X,), X)],
    "greater": [((X, Y), X > Y)],
    "greater_equal": [((X, Y), X >= Y)],
    "hard_sigmoid": [((X,), (0.2 * X + 0.5).clip(0, 1))],
    "identity": [((X,), X)],
    "int_shape": [((X,), (2, 3, 4))],
    "l2_normalize": [
        ((X, -1), X / np.linalg.norm(X, axis=-1, keepdims=True)),
        ((X,), X / np.linalg.norm(X)),
    ],
    "less": [((X, Y), X < Y)],
    "less_equal": [((X, Y), X <= Y)],
    "log": [((np.abs(X),), np.log(np.abs(X)))],
    "logsumexp": [((X, 1), np.log(np.exp(X).sum(1)))],
    "max": [((X, [0, 2]), X.max((0, 2)))],
    "maximum": [((X, Y), np.maximum(X, Y))],
    "mean": [((X,), X.mean()), ((X, [1, 2]), X.mean((1, 2))), ((X, np.arange(1, 3)), X.mean((1, 2)))],
    "min": [((X, -1, True), X.min(-1, keepdims=True))],
    "minimum": [((X, Y), np.minimum(X, Y))],
    "ndim": [((X,), 3)],
    "not_equal": [((X, Y), X != Y)],
    "one_hot": [((np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])],
    "ones": [(((2, 3),), np.ones((2, 3))), (((2,), "int32", "name"), [1, 1])],
    "ones_like": [((X,), np.ones_like(X))],
    "permute_dimensions": [((X, (2, 0, 1)), X.transpose(2, 0, 1))],
    "pool2d": [
        ((IMAGES, (2, 2)), pooled(np.max)),
        ((IMAGES, (2, 2), (2, 2), "valid", None, "avg"), pooled(np.mean)[:, ::2, ::2]),
    ],
    "pow": [((X, 2), X**2)],
    "prod": [((X, 1), X.prod(1))],
    "relu": [((X,), X.clip(0)), ((X, 0.1, 0.5), np.where(X > 0, X.clip(max=0.5), 0.1 * X))],
    "repeat_elements": [((X, 2, 1), X.repeat(2, 1))],
    "reshape": [((X, (6, 4)), X.reshape(6, 4)), ({"x": X, "shape": [-1]}, X.ravel())],
    "resize_images": [
        ((IMAGES, 2, 3, "channels_last"), IMAGES.repeat(2, 1).repeat(3, 2)),
        ((IMAGES, 2, 3, "channels_first"), IMAGES.repeat(2, 2).repeat(3, 3)),
    ],
    "reverse": [((X, 1), X[:, ::-1]), ((X, [0, 1]), X[::-1, ::-1])],
    "round": [((X,), np.round(X))],
    "shape": [((X,), (2, 3, 4))],
    "sigmoid": [((X,), 1 / (1 + np.exp(-X)))],
    "sign": [((X,), np.sign(X))],
    "sin": [((X,), np.sin(X))],
    "softmax": [((X,), np.exp(X) / np.exp(X).sum(-1, keepdims=True))],
    "softplus": [((X,), np.log1p(np.exp(X)))],
    "softsign": [((X,), X / (1 + np.abs(X)))],
    "sparse_categorical_crossentropy": [((np.array([1, 2]), PROBABILITIES), crossentropy(TARGETS, PROBABILITIES))],
    "spatial_2d_padding": [
        ((IMAGES,), np.pad(IMAGES, [(0, 0), (1, 1), (1, 1), (0, 0)])),
        ((IMAGES, ((1, 2), (3, 0)), "channels_first"), np.pad(IMAGES, [(0, 0), (0, 0), (1, 2), (3, 0)])),
    ],
    "sqrt": [((X,), np.sqrt(X.clip(0)))],
    "square": [((X,), X**2)],
    "squeeze": [((X[:, :1], 1), X[:, 0])],
    "stack": [(([X, Y],), np.stack([X, Y])), (([X, Y], -1), np.stack([X, Y], -1))],
    "std": [((X, 1), X.std(1))],
    "stop_gradient": [((X,), X), (([X, Y],), np.stack([X, Y]))],
    "sum": [((X,), X.sum()), ((X, (0, 1), True), X.sum((0, 1), keepdims=True))],
    "switch": [((X > 0, X, Y), np.where(X > 0, X, Y)), ((np.array(True), lambda: X, lambda: Y), X)],
    "tanh": [((X,), np.tanh(X))],
    "tile": [((X, (1, 2, 1)), np.tile(X, (1, 2, 1))), ((X[0, 0], 2), np.tile(X[0, 0], 2))],
    "transpose": [((X,), X.T)],
    "var": [((X, 0), X.var(0))],
    "variable": [((X,), X), ((1, "int32", "name"), 1)],
    "zeros": [(((2, 3),), np.zeros((2, 3)))],
    "zeros_like": [((X,), np.zeros_like(X))],
}
OTHERWISE_TESTED = {
    "batch_get_value",
    "batch_set_value",
    "dropout",
    "dtype",
    "image_dim_ordering",
    "random_normal",
    "random_uniform",
    "set_image_dim_ordering",
    "set_value",
    "truncated_normal",
    "update",
    "update_add",
    "update_sub",
}


def test_every_function_of_the_old_backend_is_tested():
    listed = {name.removeprefix("keras.backend.") for name in names.NAMES if name.startswith("keras.backend.")}
    assert listed == BACKEND.keys() | OTHERWISE_TESTED
    assert not BACKEND.keys() & OTHERWISE_TESTED


@pytest.mark.parametrize("convert", [np.asarray, tf.convert_to_tensor], ids=["numpy", "tensorflow"])
@pytest.mark.parametrize("name", BACKEND)
def test_a_function_of_the_old_backend_computes_what_numpy_does(backend, name, convert):
    for arguments, expected in BACKEND[name]:
        tensors = keras.tree.map_structure(lambda a: convert(a) if getattr(a, "ndim", 0) > 1 else a, arguments)
        result = getattr(backend, name)(**tensors) if isinstance(tensors, dict) else getattr(backend, name)(*tensors)
        result = np.asarray(keras.tree.map_structure(np.asarray, result))
        assert result.shape == np.shape(expected)
        np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)


NEED_VALUES = {"constant", "eval", "get_value", "variable"}


@pytest.mark.parametrize("name", sorted(BACKEND.keys() - NEED_VALUES))
def test_a_function_of_the_old_backend_takes_symbolic_tensors(backend, name):
    def symbolic(a):
        return keras.KerasTensor(a.shape, str(a.dtype)) if getattr(a, "ndim", 0) > 1 else a

    for arguments, expected in BACKEND[name]:
        tensors = keras.tree.map_structure(symbolic, arguments)
        result = getattr(backend, name)(**tensors) if isinstance(tensors, dict) else getattr(backend, name)(*tensors)
        if isinstance(result, keras.KerasTensor):
            assert result.shape == np.shape(expected)
        elif isinstance(result, list):
            assert [tensor.shape for tensor in result] == [tensor.shape for tensor in expected]
        else:
            np.testing.assert_array_equal(result, expected)


def test_variables_of_the_old_backend_are_read_and_changed(backend):
    a, b = backend.variable([1.0, 2.0]), backend.variable(3)
    backend.set_value(a, [4.0, 5.0])
    backend.batch_set_value([(b, 6)])
    assert [list(a.numpy()), float(b)] == [[4, 5], 6]
    backend.update(b, 2.0)
    backend.update_add(a, b)
    backend.update_sub(b, 0.5)
    values = backend.batch_get_value([a, b])
    assert [values[0].tolist(), values[1].tolist()] == [[6, 7], 1.5]
    assert backend.dtype(a) == "float32"


def test_random_functions_of_the_old_backend(backend):
    normal = backend.eval(backend.random_normal((2000,), 3.0, 0.5))
    assert abs(normal.mean() - 3) < 0.1
    assert abs(normal.std() - 0.5) < 0.1
    uniform = backend.eval(backend.random_uniform((2000,), 2.0, 4.0))
    assert 2 <= uniform.min() < 2.1 < 3.9 < uniform.max() <= 4
    assert np.abs(backend.eval(backend.truncated_normal((2000,), 0.0, 1.0))).max() <= 2
    dropped = backend.eval(backend.dropout(np.ones(2000, "float32"), 0.25))
    assert set(dropped.round(4)) == {0, np.float32(4 / 3).round(4)}
    assert abs((dropped == 0).mean() - 0.25) < 0.05


def test_the_dim_ordering_of_keras_1(backend):
    assert backend.image_dim_ordering() == "tf"
    try:
        backend.set_image_dim_ordering("th")
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")


def test_names_that_keras_backend_still_has_are_its_own(backend):
    assert backend.epsilon() == keras.config.epsilon()
    assert backend.image_data_format() == "channels_last"


# keras.utils.conv_utils


def test_conv_utils_normalise_as_they_did(old_keras):
    from keras.utils import conv_utils

    assert conv_utils.normalize_tuple(2, 3, "strides") == (2, 2, 2)
    assert conv_utils.normalize_tuple([1, 2], 2, "strides") == (1, 2)
    assert conv_utils.normalize_data_format(None) == "channels_last"
    assert conv_utils.normalize_data_format("Channels_First") == "channels_first"


@pytest.mark.parametrize("value", [(1, 2, 3), (1, "a"), "12", 1.5, None])
def test_conv_utils_refuse_what_is_no_tuple_of_ints(value):
    from deblurgan.compat.conv_utils import normalize_tuple

    with pytest.raises(InputError, match="strides: expected an int or 2 of them"):
        normalize_tuple(value, 2, "strides")


@pytest.mark.parametrize("value", ["last", 3])
def test_conv_utils_refuse_an_unknown_data_format(value):
    from deblurgan.compat.conv_utils import normalize_data_format

    with pytest.raises(InputError, match="data_format"):
        normalize_data_format(value)


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (3, 1), (1, 2)])
def test_conv_output_length_is_that_of_keras(padding, stride, dilation):
    from deblurgan.compat.conv_utils import conv_output_length

    layer = keras.layers.Conv1D(1, 3, strides=stride, padding=padding, dilation_rate=dilation)
    assert conv_output_length(11, 3, padding, stride, dilation) == layer.compute_output_shape((1, 11, 1))[1]
    assert conv_output_length(None, 3, padding, stride, dilation) is None
    assert conv_output_length(4, 3, "full", 1) == 6
    with pytest.raises(InputError, match="padding"):
        conv_output_length(4, 3, "round", 1)


# Arguments

REQUIRED = {
    "keras.layers.AveragePooling2D": {"pool_size": 2},
    "keras.layers.Conv1D": {"filters": 2, "kernel_size": 3},
    "keras.layers.Conv2D": {"filters": 2, "kernel_size": 3},
    "keras.layers.Conv2DTranspose": {"filters": 2, "kernel_size": 3},
    "keras.layers.SeparableConv2D": {"filters": 2, "kernel_size": 3},
    "keras.layers.Dense": {"units": 4},
    "keras.layers.Dropout": {"rate": 0.5},
    "keras.layers.GaussianDropout": {"rate": 0.5},
    "keras.layers.GaussianNoise": {"stddev": 1},
    "keras.layers.SpatialDropout2D": {"rate": 0.5},
}
VALUES = {  # by modern name: an old value, and the modern one where that is another
    "activation": ["relu"],
    "alpha_initializer": ["ones"],
    "beta_initializer": ["ones"],
    "bias_constraint": ["non_neg"],
    "bias_regularizer": ["l2"],
    "data_format": ["th", "channels_first"],
    "depthwise_initializer": ["he_normal"],
    "filters": [7],
    "gamma_initializer": ["zero", "zeros"],
    "kernel_constraint": ["non_neg"],
    "kernel_initializer": ["he_normal"],
    "kernel_regularizer": ["l2"],
    "kernel_size": [5],
    "learning_rate": [0.125],
    "negative_slope": [0.75],
    "padding": ["same"],
    "pointwise_initializer": ["he_normal"],
    "rate": [0.375],
    "stddev": [0.625],
    "strides": [2],
    "units": [9],
    "use_bias": [False],
}
RENAMED = [(path, old, new) for path, table in names.ARGUMENTS.items() for old, new in table.items() if new]
DROPPED = [(path, old) for path, table in names.ARGUMENTS.items() for old, new in table.items() if not new]


def configured(path, **arguments):
    """The configuration of an object of the class, without its name."""
    return {
        key: value
        for key, value in resolve(path)(**{**REQUIRED.get(path, {}), **arguments}).get_config().items()
        if key != "name"
    }


@pytest.mark.parametrize(("path", "old", "new"), [row for row in RENAMED if row[0] != "keras.Model"])
def test_an_old_argument_does_what_the_modern_one_does(noted, path, old, new):
    value, modern = (VALUES[new] * 2)[:2]
    required = {key: REQUIRED[path][key] for key in REQUIRED.get(path, {}) if key != new}
    made = []
    said = noted(lambda: made.append(resolve(path)(**required, **{old: value})))
    assert f"{path}({old}=...) is now {new}=..." in said
    assert {key: value for key, value in made[0].get_config().items() if key != "name"} == configured(
        path, **{new: modern}
    )
    assert configured(path, **{new: modern}) != configured(path)


@pytest.mark.parametrize(("path", "old"), DROPPED)
def test_an_argument_without_a_use_is_dropped_with_a_word(noted, path, old):
    def make():
        resolve(path)(**REQUIRED.get(path, {}), **{old: (None, 4, 4, 1)})

    assert f"{path}({old}=...) is no longer needed" in noted(make)


def test_an_argument_given_in_both_spellings_is_an_error(old_keras):
    with pytest.raises(InputError, match=r"Dense.*output_dim.*units"):
        keras.layers.Dense(output_dim=2, units=3)


@pytest.mark.parametrize("name", ["Convolution2D", "Conv2D", "Deconvolution2D", "SeparableConv2D"])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((8, 3, 5), {}), ((8, 3), {"nb_col": 5}), ((8,), {"nb_row": 3, "nb_col": 5}), ((), {"nb_filter": 8})],
)
def test_the_kernel_of_keras_1_as_two_arguments(old_keras, name, args, kwargs):
    if not args:
        kwargs = {**kwargs, "nb_row": 3, "nb_col": 5}
    layer = getattr(keras.layers, name)(*args, **kwargs, border_mode="same", subsample=(2, 2), activation="relu")
    config = layer.get_config()
    assert [config[key] for key in ("filters", "kernel_size", "strides", "padding")] == [8, (3, 5), (2, 2), "same"]


def test_a_third_number_is_the_strides_where_the_call_is_a_modern_one(old_keras):
    layer = keras.layers.Conv2D(8, 3, 2, padding="same")
    assert (layer.kernel_size, layer.strides) == ((3, 3), (2, 2))
    layer = keras.layers.Conv2D(8, (3, 5), 2)
    assert (layer.kernel_size, layer.strides) == ((3, 5), (2, 2))


def test_half_a_kernel_is_an_error(old_keras):
    with pytest.raises(ValueError, match="kernel_size"):
        keras.layers.Conv2D(8, nb_row=3)


def test_batch_normalization_modes_of_keras_1(old_keras):
    keras.layers.BatchNormalization(mode=0, axis=1)
    with pytest.raises(OldKerasError, match="mode=0"):
        keras.layers.BatchNormalization(mode=2)


def test_a_layer_that_is_first_in_a_sequence_gives_its_shape(old_keras):
    with pytest.warns(UserWarning, match="input_shape"):
        model = keras.Sequential([keras.layers.Dense(2, batch_input_shape=(8, 3))])
    assert model.input_shape == (None, 3)


def test_weights_given_to_a_layer_are_an_error_that_tells_the_method(old_keras):
    with pytest.raises(OldKerasError, match="set_weights"):
        keras.layers.Dense(2, weights=[np.ones((3, 2)), np.zeros(2)])


def test_weights_of_own_layers_are_added_by_name_first(old_keras):
    from keras.engine.topology import Layer

    class Scale(Layer):
        def __init__(self, output_dim, **kwargs):
            self.output_dim = output_dim
            super().__init__(**kwargs)

        def build(self, input_shape):
            self.kernel = self.add_weight("kernel", (input_shape[1], self.output_dim), initializer="ones")
            super().build(input_shape)

        def call(self, x):
            return keras.backend.dot(x, self.kernel)

        def compute_output_shape(self, input_shape):
            return input_shape[0], self.output_dim

    layer = Scale(2)
    assert np.allclose(layer(np.full((1, 3), 2.0)), 6)
    assert layer.kernel.name == "kernel"


@pytest.mark.parametrize(("inputs", "outputs"), [("input", "output"), ("inputs", "outputs"), ("input", "outputs")])
def test_a_model_of_named_ends(old_keras, inputs, outputs):
    x = keras.Input((3,))
    y = keras.layers.Dense(2)(x)
    model = keras.Model(**{inputs: x, outputs: y})
    assert isinstance(model, keras.Model)
    assert (model.input_shape, model.output_shape) == ((None, 3), (None, 2))


def test_models_by_subclassing_get_their_own_arguments(old_keras):
    class Own(keras.Model):
        def __init__(self, input, output):
            super().__init__()
            self.ends = (input, output)

    assert Own(input=1, output=2).ends == (1, 2)


@pytest.mark.parametrize("path", names.LEARNING_RATES)
def test_an_optimizer_without_learning_rate_has_that_of_keras_2(noted, path):
    made = []
    said = noted(lambda: made.append(resolve(path)()))
    assert float(made[0].learning_rate) == pytest.approx(names.LEARNING_RATES[path])
    assert len(said) == 1
    assert f"learning_rate={names.LEARNING_RATES[path]}" in said[0]
    assert noted(lambda: resolve(path)(learning_rate=0.5)) == []


def test_learning_rates_are_listed_where_they_differ_from_keras_3():
    defaults = {
        path: inspect.signature(resolve(path)).parameters["learning_rate"].default for path in RATES_OF_KERAS_2
    }
    assert {path: rate for path, rate in RATES_OF_KERAS_2.items() if rate != defaults[path]} == names.LEARNING_RATES


RATES_OF_KERAS_2 = {
    "keras.optimizers.SGD": 0.01,
    "keras.optimizers.RMSprop": 0.001,
    "keras.optimizers.Adagrad": 0.01,
    "keras.optimizers.Adadelta": 1.0,
    "keras.optimizers.Adam": 0.001,
    "keras.optimizers.Adamax": 0.002,
    "keras.optimizers.Nadam": 0.002,
}


@pytest.mark.parametrize("path", RATES_OF_KERAS_2)
def test_an_optimizer_takes_the_positional_arguments_and_the_epsilon_of_keras_2(old_keras, path):
    assert float(resolve(path)(0.25).learning_rate) == 0.25
    if path != "keras.optimizers.SGD":
        resolve(path)(lr=0.1, epsilon=None)
    optimizer = resolve(path)(lr=0.5)
    assert resolve(path).from_config(optimizer.get_config()).get_config() == optimizer.get_config()


def test_decay_divides_the_learning_rate_as_in_keras_2(old_keras):
    variable = keras.Variable(0.0)
    optimizer = keras.optimizers.SGD(lr=0.5, decay=0.25)
    expected = 0.0
    for iteration in range(4):
        optimizer.apply([keras.ops.ones(())], [variable])
        expected -= 0.5 / (1 + 0.25 * iteration)
        assert float(variable) == pytest.approx(expected)


def test_the_attribute_lr_of_an_optimizer(backend):
    optimizer = keras.optimizers.Adam(lr=0.5, decay=0.0)
    backend.set_value(optimizer.lr, 0.25)
    assert backend.get_value(optimizer.lr) == 0.25
    optimizer.lr = 0.125
    assert float(optimizer.learning_rate) == 0.125


def test_the_callback_tensorboard_takes_the_folder_first(old_keras, tmp_path):
    callback = keras.callbacks.TensorBoard(str(tmp_path), batch_size=4, write_grads=True)
    assert callback.log_dir == str(tmp_path)


# Training


def line(n=8):
    """Points of a line: (n, 1) and (n, 1)."""
    x = np.linspace(-1, 1, n, dtype="float32")[:, None]
    return x, 2 * x + 1


def dense_model():
    x = keras.Input((1,))
    return keras.Model(x, keras.layers.Dense(1)(x))


def test_fit_counts_epochs_as_keras_1_did(old_keras):
    model = dense_model()
    model.compile(keras.optimizers.SGD(lr=0.1), "mse")
    assert len(model.fit(*line(), nb_epoch=3, verbose=0).history["loss"]) == 3


def test_generators_are_fitted_evaluated_and_predicted(old_keras):
    x, y = line()

    def batches():
        while True:
            yield x, y

    model = dense_model()
    model.compile(keras.optimizers.SGD(lr=0.1), "mse")
    history = model.fit_generator(batches(), 2, 3, verbose=0, workers=2, max_queue_size=3)
    assert len(history.history["loss"]) == 3
    assert float(model.optimizer.iterations) == 6
    assert model.evaluate_generator(batches(), 1) == pytest.approx(np.mean((model.predict(x) - y) ** 2), rel=1e-4)
    np.testing.assert_allclose(model.predict_generator(batches(), steps=1, workers=1), model.predict(x), rtol=1e-5)
    with pytest.raises(OldKerasError, match="steps_per_epoch"):
        model.fit_generator(batches(), samples_per_epoch=8, nb_epoch=1)


def test_predict_is_silent_unless_asked(old_keras, capsys):
    model = dense_model()
    result = model.predict(x=line()[0], batch_size=4)
    assert result.shape == (8, 1)
    assert capsys.readouterr().out == ""
    model.predict(line()[0], 4, 1)
    assert capsys.readouterr().out != ""


def test_on_batch_methods_return_the_losses_of_that_batch(backend):
    model = dense_model()
    model.compile(keras.optimizers.SGD(lr=0.1), lambda true, pred: backend.mean(backend.square(true - pred)))
    x, y = line()
    for part in (slice(0, 2), slice(2, 8), slice(0, 8)):
        expected = np.mean((model.predict(x[part]) - y[part]) ** 2)
        assert model.test_on_batch(x[part], y[part]) == pytest.approx(expected, rel=1e-4)
        loss = model.train_on_batch(x[part], y[part])
        assert isinstance(loss, float)
        assert loss == pytest.approx(expected, rel=1e-4)


def test_the_losses_of_two_outputs_come_as_total_then_each_in_the_outputs_order(old_keras):
    x = keras.Input((1,))
    outputs = [keras.layers.Dense(1, name=name)(x) for name in ("zebra", "ape")]
    model = keras.Model(input=x, output=outputs)
    model.compile(keras.optimizers.SGD(lr=0.1), ["mse", "mae"], loss_weights=[100, 1])
    data, target = line()
    for _ in range(2):
        zebra, ape = model.predict(data)
        expected = [np.mean((zebra - target) ** 2), np.mean(np.abs(ape - target))]
        losses = model.train_on_batch(data, [target, target])
        assert isinstance(losses, list)
        np.testing.assert_allclose(losses, [100 * expected[0] + expected[1], *expected], rtol=1e-4)


def gan():
    """A generator, a critic and the two combined, each of a few weights, compiled as the tutorial does."""
    x = keras.Input((3,))
    g = keras.Model(x, keras.layers.BatchNormalization()(keras.layers.Dense(3)(x)), name="g")
    x = keras.Input((3,))
    y = keras.layers.BatchNormalization()(keras.layers.Dense(4, activation="tanh")(x))
    d = keras.Model(x, keras.layers.Dense(1)(y), name="d")
    x = keras.Input((3,))
    d_on_g = keras.Model(inputs=x, outputs=[g(x), d(g(x))])
    d.trainable = True
    d.compile(optimizer=keras.optimizers.Adam(lr=0.1), loss="mse", jit_compile=False)
    d.trainable = False
    d_on_g.compile(
        optimizer=keras.optimizers.Adam(lr=0.1), loss=["mse", "mse"], loss_weights=[100, 1], jit_compile=False
    )
    d.trainable = True
    return g, d, d_on_g


def moved(model, action):
    """Which weights of the model `action` changes."""
    before = model.get_weights()
    action()
    return [bool(np.any(a != b)) for a, b in zip(before, model.get_weights(), strict=True)]


POINTS, ONES = RANDOM.normal(size=(8, 3)).astype("float32"), np.ones((8, 1), "float32")


@pytest.mark.parametrize("flag", [True, False])
def test_compile_fixes_what_is_trained(old_keras, flag):
    g, d, d_on_g = gan()
    for _ in range(2):
        d.trainable = flag
        assert all(moved(d, lambda: d.train_on_batch(POINTS, ONES)))
        assert not any(moved(g, lambda: d.train_on_batch(POINTS, ONES)))
        assert not any(moved(d, lambda: d_on_g.train_on_batch(POINTS, [POINTS, ONES])))
        assert all(moved(g, lambda: d_on_g.train_on_batch(POINTS, [POINTS, ONES])))
        assert not any(moved(d, lambda: d_on_g.fit(POINTS, [POINTS, ONES], verbose=0)))
        assert all(moved(d, lambda: d.fit(POINTS, ONES, verbose=0)))
        assert d.trainable == flag
        assert {layer.trainable for layer in d.layers} == {flag}


def test_a_layer_frozen_inside_a_trained_model_stays_so(old_keras):
    _, d, _ = gan()
    d.layers[1].trainable = False
    d.compile(optimizer=keras.optimizers.Adam(lr=0.1), loss="mse")
    d.layers[1].trainable = True
    frozen, rest = np.split(np.array(moved(d, lambda: d.train_on_batch(POINTS, ONES))), [2])
    assert not frozen.any()
    assert rest.all()
    assert d.layers[1].trainable


def test_flags_come_back_after_an_error(old_keras):
    _, d, d_on_g = gan()
    with pytest.raises(ValueError, match="shape"):
        d_on_g.train_on_batch(POINTS[:, :2], [POINTS, ONES])
    assert d.trainable


def test_compiling_again_fixes_anew(old_keras):
    _, d, d_on_g = gan()
    d_on_g.compile(optimizer=keras.optimizers.Adam(lr=0.1), loss=["mse", "mse"], jit_compile=False)
    assert all(moved(d, lambda: d_on_g.train_on_batch(POINTS, [POINTS, ONES])))


# Weight files


def test_h5_files_have_the_layout_of_keras_2(old_keras, tmp_path):
    model = generator_model((8, 8, 3), ngf=2, n_blocks=1)
    model.save_weights(tmp_path / "g.h5", True)
    with h5py.File(tmp_path / "g.h5") as file:
        layers = [name.decode() for name in file.attrs["layer_names"]]
        assert layers == [layer.name for layer in model.layers]
        stored = [file[layer][name][()] for layer in layers for name in file[layer].attrs["weight_names"]]
    for array, weight in zip(stored, model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, weight)


def test_h5_files_are_read_by_keras_3_and_by_this_package(tmp_path, randomised):
    model = randomised(generator_model((8, 8, 3), ngf=2, n_blocks=1))
    compat.install()
    with pytest.warns(OldKerasWarning, match="layout"):
        model.save_weights(tmp_path / "g.h5")
    compat.uninstall()
    other = generator_model((8, 8, 3), ngf=2, n_blocks=1)
    other.load_weights(tmp_path / "g.h5")
    for loaded in (other, load(tmp_path / "g.h5")):
        for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["w.h5", "w.hdf5", "w.weights.h5"])
@pytest.mark.parametrize("frozen", [False, True])
def test_weights_come_back_whatever_was_frozen_in_between(old_keras, tmp_path, randomised, name, frozen):
    first, second = gan(), gan()
    randomised(first[2])
    first[1].trainable = frozen
    first[2].save_weights(str(tmp_path / name), True)
    second[1].trainable = not frozen
    second[2].load_weights(str(tmp_path / name))
    for a, b in zip(first[2].get_weights(), second[2].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[1].trainable == frozen
    assert second[1].trainable != frozen


def test_weights_are_loaded_by_name(old_keras, tmp_path):
    def model(*layer_names):
        x = y = keras.Input((2,))
        for name in layer_names:
            y = keras.layers.Dense(2, name=name)(y)
        return keras.Model(x, y)

    first, second = model("a", "b"), model("b", "c")
    first.save_weights(str(tmp_path / "w.h5"))
    kept = second.get_layer("c").get_weights()
    second.load_weights(str(tmp_path / "w.h5"), True)
    np.testing.assert_array_equal(second.get_layer("b").get_weights()[0], first.get_layer("b").get_weights()[0])
    np.testing.assert_array_equal(second.get_layer("c").get_weights()[0], kept[0])


def test_an_existing_file_is_kept_when_told_so(old_keras, tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(b"mine")
    with pytest.raises(FileError, match=r"w\.h5.*overwrite"):
        dense_model().save_weights(str(path), False)
    assert path.read_bytes() == b"mine"


def test_a_file_that_cannot_be_written_leaves_nothing_behind(old_keras, tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        dense_model().save_weights(str(tmp_path / "none" / "w.h5"))
    assert list(tmp_path.iterdir()) == []


# VGG16


def test_vgg16_has_the_weights_of_imagenet_without_a_download(old_keras):
    from keras.applications.vgg16 import VGG16

    vgg = VGG16(include_top=False, weights="imagenet", input_shape=(16, 16, 3))
    images = RANDOM.uniform(-1, 1, (2, 16, 16, 3)).astype("float32")
    features = keras.Model(inputs=vgg.input, outputs=vgg.get_layer("block3_conv3").output)
    np.testing.assert_allclose(features.predict(images), vgg16_block3_conv3(images), rtol=1e-4, atol=1e-4)
    assert vgg.input_shape == (None, 16, 16, 3)
    assert vgg.output_shape == (None, 2, 2, 256)
    assert keras.applications.VGG16 is VGG16
    assert VGG16(include_top=False, input_shape=(16, 16, 3)) is not vgg
    assert VGG16(include_top=False, input_tensor=keras.Input((8, 8, 3))).input_shape == (None, 8, 8, 3)
    assert VGG16(include_top=False).input_shape == (None, None, None, 3)


def test_vgg16_says_that_its_later_layers_are_absent(noted):
    said = noted(lambda: keras.applications.VGG16(include_top=False, input_shape=(8, 8, 3)))
    assert any("block3_pool" in message for message in said)
    with pytest.raises(ValueError, match="block4_conv1"):
        keras.applications.VGG16(include_top=False, input_shape=(8, 8, 3)).get_layer("block4_conv1")


def test_vgg16_is_the_real_one_without_imagenet(old_keras):
    vgg = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    assert vgg.get_layer("block5_conv3").filters == 512


def test_a_loss_that_builds_vgg16_every_time_builds_it_once(backend, monkeypatch):
    from keras.applications.vgg16 import VGG16

    built = []
    set_weights = keras.layers.Layer.set_weights
    monkeypatch.setattr(
        keras.layers.Layer, "set_weights", lambda self, w: built.append(self.name) or set_weights(self, w)
    )

    def content_loss(true, pred):
        vgg = VGG16(weights="imagenet", include_top=False, input_shape=(8, 8, 3))
        part = keras.Model(input=vgg.input, output=vgg.get_layer("block3_conv3").output)
        part.trainable = False
        return backend.mean(backend.square(part(true) - part(pred)))

    x = keras.Input((8, 8, 3))
    model = keras.Model(x, [keras.layers.Conv2D(3, 3, padding="same")(x), keras.layers.Conv2D(3, 1)(x)])
    model.compile(keras.optimizers.Adam(lr=0.01), loss=[content_loss, content_loss], jit_compile=False)
    images = RANDOM.uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    for batch in (images, images[:1]):
        first = model.predict(batch)[0]
        expected = np.mean((vgg16_block3_conv3(batch) - vgg16_block3_conv3(first)) ** 2)
        assert model.train_on_batch(batch, [batch, batch])[1] == pytest.approx(expected, rel=1e-3)
    assert built.count("block1_conv1") == 1
    assert all(moved(model, lambda: model.train_on_batch(images, [images, images])))


# The command line

OLD_SCRIPT = '''
"""An image-to-image GAN of a few pixels, written the way one did in 2018."""
import json
import sys

import numpy as np
import keras.backend as K
from keras.applications.vgg16 import VGG16
from keras.callbacks import TensorBoard
from keras.engine import InputSpec
from keras.engine.topology import Layer
from keras.layers import BatchNormalization, Convolution2D, Input
from keras.layers.advanced_activations import LeakyReLU
from keras.layers.convolutional import Conv2D, UpSampling2D
from keras.layers.core import Activation, Dense, Dropout, Flatten, Lambda
from keras.layers.merge import Add
from keras.layers.normalization import BatchNormalization as Norm
from keras.models import Model
from keras.optimizers import Adam
from keras.utils import conv_utils
from layer_utils import ReflectionPadding2D, res_block

SIDE = int(sys.argv[1])
SHAPE = (SIDE, SIDE, 3)


class Halve(Layer):
    def __init__(self, size=2, data_format=None, **kwargs):
        super(Halve, self).__init__(**kwargs)
        self.size = conv_utils.normalize_tuple(size, 2, 'size')
        self.data_format = conv_utils.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=4)

    def compute_output_shape(self, s):
        return (s[0], s[1] // 2, s[2] // 2, s[3])

    def call(self, x):
        return K.pool2d(x, self.size, strides=self.size, pool_mode='avg')


def make_generator():
    start = Input(shape=SHAPE)
    h = ReflectionPadding2D((1, 1))(start)
    h = Conv2D(filters=4, kernel_size=(3, 3), padding='valid')(h)
    h = Norm()(h)
    h = Activation('relu')(h)
    h = Halve()(h)
    h = res_block(h, 4, use_dropout=True)
    h = UpSampling2D()(h)
    h = Convolution2D(3, 3, 3, border_mode='same', init='he_normal')(h)
    h = Activation('tanh')(h)
    h = Add()([h, start])
    return Model(input=start, output=Lambda(lambda t: t / 2)(h), name='Painter')


def make_critic():
    start = Input(shape=SHAPE)
    h = Conv2D(filters=4, kernel_size=(4, 4), strides=2, padding='same')(start)
    h = LeakyReLU(0.2)(h)
    h = BatchNormalization()(h)
    h = Dropout(p=0.1)(Flatten()(h))
    return Model(inputs=start, outputs=Dense(output_dim=1, activation='sigmoid')(h), name='Critic')


def content(y_true, y_pred):
    vgg = VGG16(include_top=False, weights='imagenet', input_shape=SHAPE)
    part = Model(inputs=vgg.input, outputs=vgg.get_layer('block3_conv3').output)
    part.trainable = False
    return K.mean(K.square(part(y_true) - part(y_pred)))


def distance(y_true, y_pred):
    return K.mean(y_true * y_pred)


painter, critic = make_generator(), make_critic()
start = Input(shape=SHAPE)
painted = painter(start)
both = Model(inputs=start, outputs=[painted, critic(painted)])

critic.trainable = True
critic.compile(optimizer=Adam(lr=1E-3, beta_1=0.9, beta_2=0.999, epsilon=1e-08), loss=distance)
critic.trainable = False
both.compile(optimizer=Adam(lr=1E-3, decay=1e-3), loss=[content, distance], loss_weights=[100, 1])
critic.trainable = True

board = TensorBoard('logs')
random = np.random.RandomState(0)
blurred, sharp = random.uniform(-1, 1, (4,) + SHAPE), random.uniform(-1, 1, (4,) + SHAPE)
right, wrong = np.ones((2, 1)), -np.ones((2, 1))


def moves(model, step):
    before = model.get_weights()
    step()
    return [bool((a != b).any()) for a, b in zip(before, model.get_weights())]


report = {'own': [], 'other': [], 'combined': [], 'painter': [], 'losses': []}
for epoch in range(2):
    for index in range(2):
        x, y = blurred[index * 2:index * 2 + 2], sharp[index * 2:index * 2 + 2]
        fake = painter.predict(x=x, batch_size=2)
        for _ in range(2):
            report['own'] += moves(critic, lambda: critic.train_on_batch(y, right))
            report['other'] += moves(painter, lambda: critic.train_on_batch(fake, wrong))
        critic.trainable = False
        report['combined'] += moves(critic, lambda: report['losses'].append(both.train_on_batch(x, [y, right])))
        report['painter'] += moves(painter, lambda: both.train_on_batch(x, [y, right]))
        critic.trainable = True

painter.save_weights('painter_{}.h5'.format(epoch), True)
again = make_generator()
again.load_weights('painter_1.h5')
report['difference'] = float(np.abs(again.predict(x) - painter.predict(x)).max())
report['name'], report['argv'], report['path'] = __name__, sys.argv, sys.path[0]
with open('report.json', 'w') as f:
    json.dump(report, f)
sys.exit(3)
'''


def run_old(*arguments, cwd):
    """Run `python -m deblurgan.compat` in the folder `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", "deblurgan.compat", *map(str, arguments)],
        cwd=cwd,
        env={
            **{name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
            "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, WITHOUT_IPYTHON))),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )


def write(folder, name, content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(textwrap.dedent(content).lstrip())
    return folder / name


def test_a_script_in_the_old_style_trains_what_it_should_and_saves_it(tmp_path):
    script = write(tmp_path / "project", "paint.py", OLD_SCRIPT)
    done = run_old("project/paint.py", 8, "--more", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert all(report["own"])
    assert not any(report["other"])
    assert not any(report["combined"])
    assert all(report["painter"])
    for total, content, distance in report["losses"]:
        assert total == pytest.approx(100 * content + distance, rel=1e-5)
    assert all(math.isfinite(loss) for losses in report["losses"] for loss in losses)
    assert report["difference"] == 0
    assert report["name"] == "__main__"
    assert report["argv"] == ["project/paint.py", "8", "--more"]
    assert report["path"] == str(tmp_path / "project")
    lines = [line for line in done.stderr.splitlines() if not re.match(r"[EIW]\d{4} ", line)]  # TensorFlow's log
    assert len(lines) == len(set(lines)) > 15
    assert all(re.match(re.escape(str(script)) + r":\d+: \S", line) for line in lines), done.stderr
    assert any("keras.layers.merge is now keras.layers" in line for line in lines)
    assert done.stdout == ""


def test_a_script_that_fails_shows_its_own_traceback_and_finds_its_own_modules(tmp_path):
    write(tmp_path / "project", "layer_utils.py", "mine = 41\n")
    script = write(
        tmp_path / "project",
        "fail.py",
        """
        from layer_utils import mine
        from keras.layers.core import Dense


        def fail():
            raise KeyError(mine + 1)


        fail()
        """,
    )
    done = run_old(script, cwd=tmp_path)
    assert done.returncode == 1
    warning, *trace = done.stderr.splitlines()
    assert warning == f"{script}:2: keras.layers.core is now keras.layers"
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[1] == f'  File "{script}", line 9, in <module>'
    assert trace[-1] == "KeyError: 42"
    assert "runpy" not in done.stderr


def test_a_script_with_a_syntax_error_is_told_as_python_does(tmp_path):
    script = write(tmp_path / "project", "broken.py", "print('old'\n")
    done = run_old(script, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f'  File "{script}", line 1'
    assert "SyntaxError" in done.stderr


def test_the_command_line_says_what_it_wants(tmp_path):
    done = run_old(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m deblurgan.compat SCRIPT")
    done = run_old("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m deblurgan.compat SCRIPT")
    done = run_old("none.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"python -m deblurgan.compat: cannot open {tmp_path}/none.py: No such file or directory\n"


def test_another_backend_of_keras_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    (tmp_path / "old.py").touch()
    done = run_old("old.py", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("python -m deblurgan.compat: Keras: expected the backend tensorflow")


def test_a_linear_critic_reads_its_weights_before_they_are_updated(old_keras):
    tf.config.optimizer.set_experimental_options({"dependency_optimization": True})  # as TensorFlow starts
    critic = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    critic.compile(keras.optimizers.RMSprop(1e-3), loss=lambda wanted, score: keras.ops.mean(wanted * score))
    assert unordered(lambda: critic.train_on_batch(np.ones((2, 4)), np.ones((2, 1)))) == []
