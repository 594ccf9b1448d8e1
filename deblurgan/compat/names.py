"""The old names: what each module, name and argument of Keras 1 and 2 is called in Keras 3.

Data alone; `imports`, `arguments` and `training` act on it.
"""

_LAYERS = """
engine engine.base_layer engine.input_layer engine.topology layers.advanced_activations layers.convolutional
layers.convolutional_recurrent layers.core layers.embeddings layers.local layers.merge layers.noise
layers.normalization layers.pooling layers.recurrent layers.wrappers
"""
_UTILS = ("data_utils", "generic_utils", "np_utils", "training_utils", "vis_utils")

# A module that is gone -> the module that has its names now.
MODULES: dict[str, str] = {
    "IPython": "deblurgan.compat.ipython",  # where it is not installed
    "IPython.display": "deblurgan.compat.display",
    "keras.backend.common": "keras.backend",
    "keras.backend.tensorflow_backend": "keras.backend",
    **{f"keras.{old}": "keras.layers" for old in _LAYERS.split()},
    **{f"keras.engine.{old}": "keras.models" for old in ("network", "sequential", "training")},
    "keras.initializations": "keras.initializers",
    "keras.objectives": "keras.losses",
    "keras.utils.conv_utils": "deblurgan.compat.conv_utils",
    **{f"keras.utils.{old}": "keras.utils" for old in _UTILS},
    # The tutorial's own files; a script's folder that has them comes first.
    **{old: f"deblurgan.{old}" for old in ("layer_utils", "losses", "model", "utils")},
}

# The functions of `keras.backend` that `keras.ops` has under the same name.
_OPS = """
abs all any arange binary_crossentropy cast categorical_crossentropy clip cos dot elu equal exp greater greater_equal
less less_equal log logsumexp max maximum mean min minimum not_equal one_hot ones ones_like prod reshape round shape
sigmoid sign sin softmax softplus softsign sparse_categorical_crossentropy square squeeze stack std stop_gradient sum
tanh tile transpose var zeros zeros_like
"""
# A function of `keras.backend` -> how it is written now. Where arguments or results differ, `backend` has a stand-in.
_BACKEND: dict[str, str] = {
    **{name: f"keras.ops.{name}" for name in _OPS.split()},
    "argmax": "keras.ops.argmax(x, axis=-1)",
    "argmin": "keras.ops.argmin(x, axis=-1)",
    "batch_flatten": "keras.ops.reshape(x, (x.shape[0], -1))",
    "batch_get_value": "[keras.ops.convert_to_numpy(x) for x in tensors]",
    "batch_set_value": "variable.assign(value), one by one",
    "cast_to_floatx": "keras.ops.cast(x, keras.config.floatx())",
    "concatenate": "keras.ops.concatenate(tensors, axis=-1)",
    "constant": "keras.ops.convert_to_tensor",
    "conv2d": "keras.ops.conv",
    "count_params": "math.prod(x.shape)",
    "cumprod": "keras.ops.cumprod(x, axis=0)",
    "cumsum": "keras.ops.cumsum(x, axis=0)",
    "dropout": "keras.random.dropout",
    "dtype": "keras.backend.standardize_dtype(x.dtype)",
    "eval": "keras.ops.convert_to_numpy",
    "expand_dims": "keras.ops.expand_dims(x, axis=-1)",
    "flatten": "keras.ops.reshape(x, (-1,))",
    "gather": "keras.ops.take(reference, indices, axis=0)",
    "get_value": "keras.ops.convert_to_numpy",
    "hard_sigmoid": "keras.ops.clip(0.2 * x + 0.5, 0, 1); keras.ops.hard_sigmoid has another slope",
    "identity": "keras.ops.copy",
    "image_dim_ordering": "keras.config.image_data_format",
    "int_shape": "tuple(x.shape)",
    "l2_normalize": "keras.ops.normalize",
    "ndim": "len(x.shape)",
    "permute_dimensions": "keras.ops.transpose",
    "pool2d": "keras.ops.max_pool or keras.ops.average_pool",
    "pow": "keras.ops.power",
    "random_normal": "keras.random.normal",
    "random_uniform": "keras.random.uniform",
    "relu": "keras.activations.relu",
    "repeat_elements": "keras.ops.repeat",
    "resize_images": "keras.layers.UpSampling2D",
    "reverse": "keras.ops.flip",
    "set_image_dim_ordering": "keras.config.set_image_data_format",
    "set_value": "variable.assign(value)",
    "spatial_2d_padding": "keras.ops.pad",
    "sqrt": "keras.ops.sqrt(keras.ops.maximum(x, 0))",
    "switch": "keras.ops.where or keras.ops.cond",
    "truncated_normal": "keras.random.truncated_normal",
    "update": "variable.assign(value)",
    "update_add": "variable.assign_add(value)",
    "update_sub": "variable.assign_sub(value)",
    "variable": "keras.Variable",
}

_OPTIMIZERS = ("Adadelta", "Adagrad", "Adam", "Adamax", "Nadam", "RMSprop", "SGD")

# A name in a module, old or present -> its modern spelling.
NAMES: dict[str, str] = {
    **{f"keras.backend.{old}": new for old, new in _BACKEND.items()},
    "keras.engine.Input": "keras.Input",
    "keras.engine.Model": "keras.Model",
    "keras.engine.get_source_inputs": "keras.utils.get_source_inputs",
    "keras.engine.topology.Container": "keras.Model",
    "keras.engine.topology.Input": "keras.Input",
    "keras.engine.topology.get_source_inputs": "keras.utils.get_source_inputs",
    "keras.engine.network.Network": "keras.Model",
    "keras.layers.CuDNNGRU": "keras.layers.GRU",
    "keras.layers.CuDNNLSTM": "keras.layers.LSTM",
    "keras.layers.Deconvolution2D": "keras.layers.Conv2DTranspose",
    "keras.layers.merge._Merge": "keras.src.layers.merging.base_merge.Merge",
    **{f"keras.optimizers.{name.lower()}": f"keras.optimizers.{name}" for name in _OPTIMIZERS},
    "keras.preprocessing.image.ImageDataGenerator": "tensorflow.keras.preprocessing.image.ImageDataGenerator",
}

_MERGE = "a layer for each mode: keras.layers.add([a, b]), multiply, concatenate, average, maximum, dot"
_LOCAL = "keras.layers.Conv2D, or a layer of your own: Keras has no unshared convolution any more"
_PHASE = "the argument `training` of model(x, training=...) and of a layer's call"

# A name or method that has no equivalent of the same form -> what to write instead.
REMOVED: dict[str, str] = {
    "keras.Model.predict_classes": "np.argmax(model.predict(x), axis=-1)",
    "keras.Model.predict_proba": "model.predict(x)",
    "keras.backend.batch_dot": "keras.ops.einsum or keras.layers.Dot",
    "keras.backend.function": "keras.Model(inputs, outputs), or tf.function",
    "keras.backend.get_session": "nothing: TensorFlow 2 has no sessions and runs at once",
    "keras.backend.gradients": "tf.GradientTape, or the layer deblurgan.layer_utils.InputGradient for a penalty",
    "keras.backend.in_test_phase": _PHASE,
    "keras.backend.in_train_phase": _PHASE,
    "keras.backend.learning_phase": _PHASE,
    "keras.backend.placeholder": "keras.Input(shape=...)",
    "keras.backend.rnn": "keras.layers.RNN",
    "keras.backend.set_learning_phase": _PHASE,
    "keras.backend.set_session": "tf.config, as in tf.config.experimental.set_memory_growth(gpu, True)",
    "keras.layers.AtrousConvolution2D": "keras.layers.Conv2D(dilation_rate=...)",
    "keras.layers.Highway": "layers of your own",
    "keras.layers.LocallyConnected1D": _LOCAL,
    "keras.layers.LocallyConnected2D": _LOCAL,
    "keras.layers.MaxoutDense": "layers of your own",
    "keras.layers.Merge": _MERGE,
    "keras.layers.merge.Merge": _MERGE,
    "keras.layers.merge.merge": _MERGE,
    "keras.utils.multi_gpu_model": "tf.distribute.MirroredStrategy",
    "tensorflow.ConfigProto": "tf.config, as in tf.config.experimental.set_memory_growth(gpu, True)",
    "tensorflow.Session": "nothing: TensorFlow 2 has no sessions and runs at once",
    "tensorflow.Summary": "tf.summary.scalar, or deblurgan.utils.write_log",
    "tensorflow.placeholder": "keras.Input(shape=...)",
}

_WEIGHTS = {
    "init": "kernel_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "bias": "use_bias",
}
_SHAPES = {"border_mode": "padding", "dim_ordering": "data_format"}
_CONVOLUTION = {**_WEIGHTS, **_SHAPES, "nb_filter": "filters", "subsample": "strides"}
_WITH_CHANNELS = ("Cropping2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "UpSampling2D", "ZeroPadding2D")

# An argument of a class -> its name now, or None where it is no longer needed.
ARGUMENTS: dict[str, dict[str, str | None]] = {
    "keras.Model": {"input": "inputs", "output": "outputs"},
    "keras.callbacks.TensorBoard": {"batch_size": None, "write_grads": None},
    "keras.layers.AveragePooling2D": {**_SHAPES},
    "keras.layers.BatchNormalization": {"beta_init": "beta_initializer", "gamma_init": "gamma_initializer"},
    "keras.layers.Conv1D": {**_CONVOLUTION, "filter_length": "kernel_size", "subsample_length": "strides"},
    "keras.layers.Conv2D": {**_CONVOLUTION},
    "keras.layers.Conv2DTranspose": {**_CONVOLUTION, "output_shape": None},
    "keras.layers.Dense": {**_WEIGHTS, "output_dim": "units"},
    "keras.layers.Dropout": {"p": "rate"},
    "keras.layers.GaussianDropout": {"p": "rate"},
    "keras.layers.GaussianNoise": {"sigma": "stddev"},
    "keras.layers.LeakyReLU": {"alpha": "negative_slope"},
    "keras.layers.MaxPooling2D": {**_SHAPES},
    "keras.layers.PReLU": {"init": "alpha_initializer"},
    "keras.layers.Reshape": {},
    "keras.layers.SeparableConv2D": {
        **_SHAPES,
        "nb_filter": "filters",
        "subsample": "strides",
        "bias": "use_bias",
        "depthwise_init": "depthwise_initializer",
        "pointwise_init": "pointwise_initializer",
    },
    "keras.layers.SpatialDropout2D": {"p": "rate", "dim_ordering": "data_format"},
    **{f"keras.layers.{name}": {"dim_ordering": "data_format"} for name in _WITH_CHANNELS},
    **{f"keras.optimizers.{name}": {"lr": "learning_rate"} for name in _OPTIMIZERS},
    "keras.optimizers.Nadam": {"lr": "learning_rate", "schedule_decay": None},
}

# The values of `dim_ordering`.
DIM_ORDERINGS: dict[str, str | None] = {"tf": "channels_last", "th": "channels_first", "default": None}

# Keras 2's learning rate where Keras 3 has another default.
LEARNING_RATES: dict[str, float] = {
    "keras.optimizers.Adadelta": 1.0,
    "keras.optimizers.Adagrad": 0.01,
    "keras.optimizers.Adamax": 0.002,
    "keras.optimizers.Nadam": 0.002,
}
