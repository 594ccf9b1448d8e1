"""The configurable GAN of "Generative Deep Learning" (2019), and the WGAN and WGAN-GP beside it, on Keras 3.

    gan = GAN(input_dim=(28, 28, 1), discriminator_conv_filters=[64, 64, 128, 128], ..., z_dim=100)
    gan.save(folder)
    gan.train(pictures, batch_size=64, epochs=2000, run_folder=folder)

Arguments, methods and what they return are the book's, so that its programs run with this import in place of their
own class. An "epoch" of theirs is one batch. What differs, and is the same in all three: only the generator moves in
its own step; a list that does not fit is an error that names it; nothing is pickled. The frozen discriminator
normalises with its moving statistics, as in Keras 3, where the book's Keras used the batch's; generated pictures to
judge come from the generator as it is used, without dropout, as in the book.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deblurgan.devices import keep_order, require_tensorflow
from deblurgan.errors import FileError, InputError, nearest
from deblurgan.files import atomic_path, ensure_folder, reason, shown
from deblurgan.untrusted import from_json

if TYPE_CHECKING:
    import keras

Pictures = np.ndarray | Iterator[Any]
"""An array (count, height, width, channels) in [-1, 1]; or an iterator of tuples that begin with one."""

_NAMES = {"image_shape": "input_dim", "z_dim": "z_dim"}  # options of the builders that have another name here
_OPTIMISERS = ("adam", "rmsprop")
_SIDE = 5  # of a picture of samples, in samples


class _Adversaries:
    """What the three classes share: both networks, their optimizers, samples, files."""

    _role = "discriminator"  # what the other network is called
    _real, _fake = 1.0, 0.0  # the labels
    _loss: Any = "binary_crossentropy"
    _metrics: tuple[str, ...] = ("accuracy",)

    generator: "keras.Model"
    model: "keras.Model"  # noise -> the judge's value of what the generator makes of it

    def _set_up(self, arguments: dict[str, Any]) -> None:
        require_tensorflow()
        keep_order()
        import keras
        import tensorflow as tf

        from deblurgan.networks.dcgan import dcgan_discriminator, dcgan_generator

        self._random = np.random.default_rng(arguments.pop("seed"))
        self.arguments = arguments = {name: _plain(value) for name, value in arguments.items()}
        self.z_dim = arguments["z_dim"]
        self.epoch = 0
        self.d_losses: list[list[float]] = []
        self.g_losses: list[Any] = []

        self.generator = _build(dcgan_generator, "generator", arguments, z_dim=self.z_dim)
        judge = _build(
            dcgan_discriminator,
            self._role,
            arguments,
            image_shape=arguments["input_dim"],
            sigmoid=self._loss == "binary_crossentropy",
        )
        self.input_dim = judge.input_shape[1:]
        if self.generator.output_shape[1:] != self.input_dim:
            raise InputError(
                f"input_dim: expected {self.generator.output_shape[1:]}, which generator_initial_dense_layer_size, "
                "generator_upsample, generator_conv_strides and generator_conv_filters make, "
                f"received {self.input_dim}"
            )
        setattr(self, self._role, judge)
        self._judge: Any = judge
        noise = keras.Input((self.z_dim,), name="model_input")
        self.model = keras.Model(noise, judge(self.generator(noise)), name="model")
        self._compile(judge, self._role)
        with _frozen(judge):  # Keras 3 does not look at it here, `compat` does
            self._compile(self.model, "generator")
        self._generate = tf.function(lambda noise: self.generator(noise, training=False), autograph=False)

    def _compile(self, model: Any, moving: str) -> None:
        optimizer = _optimizer(self.arguments, f"{moving}_learning_rate")
        model.compile(optimizer, self._loss_function(), metrics=list(self._metrics), jit_compile=False)
        optimizer.build(model.trainable_variables)

    def _loss_function(self) -> Any:
        return self._loss

    def train_generator(self, batch_size: int) -> Any:
        """Train the generator on one batch of noise towards the label of real pictures; the judge does not move.

        Returns:
            The loss; of a GAN [loss, accuracy], where an accuracy of 1 means that all were taken for real.
        """
        _check_batch_size(batch_size)
        # Keras reads `trainable` when it first traces a step, not in compile(): freeze around every step.
        with _frozen(self._judge):
            values = _on_batch(self.model, self._noise(batch_size), self._labels(batch_size, self._real))
        return values if self._metrics else values[0]

    def _train_judge(self, x_train: Pictures, batch_size: int, using_generator: bool) -> list[list[float]]:
        """Two updates, with real pictures and then with generated ones; return the values of each."""
        real = self._pictures(x_train, batch_size, using_generator)
        fake = self._generate(self._noise(batch_size))
        return [
            _on_batch(self._judge, pictures, self._labels(batch_size, label))
            for pictures, label in ((real, self._real), (fake, self._fake))
        ]

    def _noise(self, count: int) -> np.ndarray:
        return self._random.standard_normal((count, self.z_dim), np.float32)

    def _labels(self, count: int, label: float) -> np.ndarray:
        return np.full((count, 1), label, np.float32)

    def _pictures(self, x_train: Any, batch_size: int, using_generator: bool) -> np.ndarray:
        """Real pictures: drawn with replacement, or the next batch; a short one, as at the end, is passed over."""
        _check_batch_size(batch_size)
        if not using_generator:
            x_train = np.asarray(x_train)
            self._check_pictures(x_train)
            return np.asarray(x_train[self._random.integers(0, len(x_train), batch_size)], np.float32)
        try:
            pictures = next(x_train)[0]
            if len(pictures) != batch_size:
                pictures = next(x_train)[0]
        except StopIteration as error:
            raise InputError("x_train: expected an iterator that goes on for ever, this one has ended") from error
        if len(pictures) != batch_size:
            raise InputError(f"x_train: expected batches of {batch_size}, received {len(pictures)} pictures twice")
        self._check_pictures(pictures)
        return np.asarray(pictures, np.float32)

    def _check_pictures(self, pictures: Any) -> None:
        shape = np.shape(pictures)
        if shape[1:] != self.input_dim or not shape[0]:
            raise InputError(f"x_train: expected pictures of input_dim {self.input_dim}, received an array {shape}")
        if np.issubdtype(dtype := np.asarray(pictures).dtype, np.integer):
            raise InputError(f"x_train: expected values in [-1, 1], received {dtype}; x / 127.5 - 1 makes them")

    def _run(
        self,
        step: Callable[[int], tuple[list[float], Any, str]],
        epochs: int,
        run_folder: str | os.PathLike[str],
        every: int,
        report: Callable[[str], None],
    ) -> None:
        """Take so many steps more, each of which returns both losses and a line."""
        from deblurgan.networks.parts import check_counts

        check_counts(print_every_n_batches=_plain(every))
        check_counts(0, epochs=_plain(epochs))
        for epoch in range(self.epoch, self.epoch + epochs):
            d, g, line = step(epoch)
            report(line)
            self.d_losses.append(d)
            self.g_losses.append(g)
            if epoch % every == 0:
                self.sample_images(run_folder)
                self._save_weights(Path(run_folder) / "weights" / f"weights-{epoch}.h5")
                self.save_model(run_folder)
            self.epoch += 1

    def sample_images(self, run_folder: str | os.PathLike[str]) -> Path:
        """Write `images/sample_EPOCH.png`, 5 x 5 pictures of new noise, and return where it is.

        Pictures of 3 channels are RGB; of others the first channel is shown.
        """
        from deblurgan.pictures.pixels import from_model
        from deblurgan.pictures.writing import write_image
        from deblurgan.scoring.samples import grid

        pictures = from_model(np.asarray(self._generate(self._noise(_SIDE**2))))
        path = ensure_folder(Path(run_folder) / "images") / f"sample_{self.epoch}.png"
        write_image(path, grid(pictures if pictures.shape[-1] == 3 else pictures[..., :1], _SIDE))
        return path

    def save(self, run_folder: str | os.PathLike[str]) -> None:
        """Write what `load` makes this object of again, but for its optimizers.

        `params.json` (arguments, epoch and losses), `weights/weights.h5` (both networks, in the layout of the book's
        Keras) and `generator.weights.h5`, which says itself what network it is.
        """
        from deblurgan.weights.labelled import save_network

        self._save_weights(Path(run_folder) / "weights" / "weights.h5")
        options = {"z_dim": self.z_dim, **_options("generator", self.arguments)}
        save_network(self.generator, Path(run_folder) / "generator.weights.h5", "dcgan", options, role="sampler")
        kept = {"class": type(self).__name__, "arguments": self.arguments, "epoch": self.epoch}
        kept |= {"d_losses": self.d_losses, "g_losses": self.g_losses}
        with atomic_path(Path(run_folder) / "params.json") as temporary:
            temporary.write_text(json.dumps(kept), "utf-8")

    def save_model(self, run_folder: str | os.PathLike[str]) -> None:
        """Do what `save` does, whose name in the book's `train` this is."""
        self.save(run_folder)

    def _save_weights(self, path: Path) -> None:
        from deblurgan.weights.hdf5 import save_keras2

        ensure_folder(path.parent)
        save_keras2(self.model, path)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Take the weights of a file that the book's program wrote, or this one.

        Either both networks' (`weights.h5`, `weights-N.h5`, `model.h5`, a TensorFlow checkpoint `ckpt-N`) or one's
        (`generator.h5`, `discriminator.h5`, `critic.h5`, `generator.weights.h5`).

        Raises:
            FileError, WeightsError: it cannot be read, or does not fit; nothing has been changed then.
        """
        from deblurgan.weights import configurable

        configurable.assign(filepath, generator=self.generator, judge=self._judge)

    def plot_model(self, run_folder: str | os.PathLike[str]) -> None:
        """Draw both networks, layer by layer, as `viz/generator.png` and `viz/discriminator.png` or `critic.png`."""
        from deblurgan.networks.drawing import draw

        folder = ensure_folder(Path(run_folder) / "viz")
        for name, model in (("generator", self.generator), (self._role, self._judge)):
            with atomic_path(folder / f"{name}.png") as temporary:
                draw(model).save(temporary)


class GAN(_Adversaries):
    """A GAN whose layers lists tell: `deblurgan.networks.dcgan` says what each of these arguments does there.

    Both networks learn from binary cross-entropy: real pictures are 1, generated ones 0. Arguments that are not below
    begin with the network whose layers they tell.

    Args:
        input_dim: (height, width, channels) of the pictures.
        discriminator_learning_rate: of the discriminator's optimizer.
        generator_learning_rate: of the generator's.
        optimiser: "adam" (with beta_1 0.5) or "rmsprop", of both.
        z_dim: numbers of noise for each picture.
        seed: for the noise and the choice of pictures, which differ from run to run without; the weights that it
            starts with, and dropout, follow `keras.utils.set_random_seed`.

    Attributes:
        discriminator, generator, model: the networks, and the two in one: noise to the discriminator's value.
        d_losses, g_losses: what each step's `train_discriminator` and `train_generator` returned.
        epoch: the steps taken, from which `train` goes on.

    Raises:
        InputError: an argument that makes no network, or a generator whose pictures are not of `input_dim`.

    Source: D. Foster, Generative Deep Learning (2019), chapter 4.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.gan import GAN
        >>> judge = ([4], [3], [2], None, "relu", 0.4, 0.001)
        >>> layers = ((4, 4, 4), [2], [1], [3], [1], 0.9, "relu", None, 0.001)  # of the generator
        >>> gan = GAN((8, 8, 1), *judge, *layers, optimiser="adam", z_dim=10)
        >>> pictures = np.zeros((16, 8, 8, 1), "float32")
        >>> gan.train(pictures, batch_size=8, epochs=1, run_folder="run", report=lambda line: None)
        >>> gan.epoch
        1
    """

    discriminator: "keras.Model"

    def __init__(
        self,
        input_dim: Sequence[int],
        discriminator_conv_filters: Sequence[int],
        discriminator_conv_kernel_size: Sequence[int],
        discriminator_conv_strides: Sequence[int],
        discriminator_batch_norm_momentum: float | None,
        discriminator_activation: str,
        discriminator_dropout_rate: float | None,
        discriminator_learning_rate: float,
        generator_initial_dense_layer_size: Sequence[int],
        generator_upsample: Sequence[int],
        generator_conv_filters: Sequence[int],
        generator_conv_kernel_size: Sequence[int],
        generator_conv_strides: Sequence[int],
        generator_batch_norm_momentum: float | None,
        generator_activation: str,
        generator_dropout_rate: float | None,
        generator_learning_rate: float,
        optimiser: str,
        z_dim: int,
        *,
        seed: int | None = None,
    ) -> None:
        arguments = dict(locals())
        del arguments["self"]
        self._set_up(arguments)

    def train_discriminator(self, x_train: Pictures, batch_size: int, using_generator: bool = False) -> list[float]:
        """Train the discriminator twice, on a batch of real pictures and on one of generated ones.

        Args:
            x_train: real pictures.
            batch_size: of either batch.
            using_generator: whether `x_train` is an iterator of tuples whose first is a batch.

        Returns:
            [loss, loss of the real, loss of the generated, accuracy, accuracy of either]; first is the mean of two.
        """
        (loss_real, acc_real), (loss_fake, acc_fake) = self._train_judge(x_train, batch_size, using_generator)
        mean_loss, mean_acc = 0.5 * (loss_real + loss_fake), 0.5 * (acc_real + acc_fake)
        return [mean_loss, loss_real, loss_fake, mean_acc, acc_real, acc_fake]

    def train(
        self,
        x_train: Pictures,
        batch_size: int,
        epochs: int,
        run_folder: str | os.PathLike[str],
        print_every_n_batches: int = 50,
        using_generator: bool = False,
        *,
        report: Callable[[str], None] = print,
    ) -> None:
        """Train discriminator and generator in turn, on `epochs` batches: an "epoch" is one batch here.

        Args:
            x_train: as in `train_discriminator`.
            batch_size: likewise.
            epochs: batches, more than there have been.
            run_folder: where each `print_every_n_batches` samples and weights go; see `sample_images` and `save`.
                Weights are also kept as `weights/weights-EPOCH.h5`.
            print_every_n_batches: how often.
            using_generator: as in `train_discriminator`.
            report: what takes the line that tells of each batch.
        """

        def step(epoch: int) -> tuple[list[float], Any, str]:
            d = self.train_discriminator(x_train, batch_size, using_generator)
            g = self.train_generator(batch_size)
            loss, loss_real, loss_fake, acc, acc_real, acc_fake = d
            line = (
                f"{epoch} [D loss: ({loss:.3f})(R {loss_real:.3f}, F {loss_fake:.3f})] "
                f"[D acc: ({acc:.3f})({acc_real:.3f}, {acc_fake:.3f})] [G loss: {g[0]:.3f}] [G acc: {g[1]:.3f}]"
            )
            return d, g, line

        self._run(step, epochs, run_folder, print_every_n_batches, report)


class _Critics(_Adversaries):
    """What the two with a Wasserstein critic share."""

    critic: "keras.Model"
    _role = "critic"
    _real, _fake = -1.0, 1.0  # for mean(label x value), which is minimised
    _loss = "wasserstein"
    _metrics = ()

    def _loss_function(self) -> Any:
        from deblurgan.training.losses import wasserstein_loss

        return wasserstein_loss

    def _set_up(self, arguments: dict[str, Any]) -> None:
        super()._set_up(arguments)
        self._updates(None)

    def _updates(self, n_critic: int | None) -> int:
        from deblurgan.networks.parts import check_counts

        count = self.arguments["n_critic"] if n_critic is None else n_critic
        check_counts(n_critic=count)
        return count


class WGAN(_Critics):
    """The same with a Wasserstein critic, whose weights are clipped.

    The critic's value has no bounds; it learns to give real pictures more than generated ones, the generator to be
    given more. Two updates of the critic, as in `GAN`, where the paper and `deblurgan train --recipe wgan` take one
    on the sum. Arguments are those of `GAN`, `critic_` in place of `discriminator_`, and:

    Args:
        n_critic: critic updates before each of the generator.
        clip_threshold: how far from 0 the critic's trainable weights may be; what a normalisation noted is no weight.

    Source: Arjovsky et al., arXiv 1701.07875; the book, chapter 4.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.gan import WGAN
        >>> judge = ([4], [3], [2], None, "relu", None, 0.001)
        >>> layers = ((4, 4, 4), [2], [1], [3], [1], 0.9, "relu", None, 0.001)  # of the generator
        >>> gan = WGAN((8, 8, 1), *judge, *layers, optimiser="rmsprop", z_dim=10, n_critic=2)
        >>> len(gan.train_critic(np.zeros((16, 8, 8, 1), "float32"), batch_size=8))
        3
    """

    def __init__(
        self,
        input_dim: Sequence[int],
        critic_conv_filters: Sequence[int],
        critic_conv_kernel_size: Sequence[int],
        critic_conv_strides: Sequence[int],
        critic_batch_norm_momentum: float | None,
        critic_activation: str,
        critic_dropout_rate: float | None,
        critic_learning_rate: float,
        generator_initial_dense_layer_size: Sequence[int],
        generator_upsample: Sequence[int],
        generator_conv_filters: Sequence[int],
        generator_conv_kernel_size: Sequence[int],
        generator_conv_strides: Sequence[int],
        generator_batch_norm_momentum: float | None,
        generator_activation: str,
        generator_dropout_rate: float | None,
        generator_learning_rate: float,
        optimiser: str,
        z_dim: int,
        *,
        n_critic: int = 5,
        clip_threshold: float = 0.01,
        seed: int | None = None,
    ) -> None:
        arguments = dict(locals())
        del arguments["self"]
        self._set_up(arguments)
        self._threshold(None)

    def train_critic(
        self,
        x_train: Pictures,
        batch_size: int,
        clip_threshold: float | None = None,
        using_generator: bool = False,
    ) -> list[float]:
        """Train the critic twice, as `GAN.train_discriminator`, then clip its weights.

        Returns:
            [loss, loss of the real, loss of the generated]: minus the mean value of real pictures, the mean value of
            generated ones, and the mean of both. As in the book, no accuracies, which a value without bounds has not.
        """
        threshold = self._threshold(clip_threshold)
        (real,), (fake,) = self._train_judge(x_train, batch_size, using_generator)
        for weight in self.critic.trainable_variables:
            weight.assign(np.clip(weight, -threshold, threshold))
        return [0.5 * (real + fake), real, fake]

    def _threshold(self, clip_threshold: float | None) -> float:
        threshold = self.arguments["clip_threshold"] if clip_threshold is None else clip_threshold
        _check_positive("clip_threshold", threshold)
        return threshold

    def train(
        self,
        x_train: Pictures,
        batch_size: int,
        epochs: int,
        run_folder: str | os.PathLike[str],
        print_every_n_batches: int = 50,
        n_critic: int | None = None,
        clip_threshold: float | None = None,
        using_generator: bool = False,
        *,
        report: Callable[[str], None] = print,
    ) -> None:
        """Train as `GAN.train`, with `n_critic` critic updates before each of the generator.

        `n_critic` and `clip_threshold` are those of the constructor when None.
        """

        def step(epoch: int) -> tuple[list[float], Any, str]:
            for _ in range(self._updates(n_critic)):
                d = self.train_critic(x_train, batch_size, clip_threshold, using_generator)
            g = self.train_generator(batch_size)
            return d, g, f"{epoch} [D loss: ({d[0]:.3f})(R {d[1]:.3f}, F {d[2]:.3f})] [G loss: {g:.3f}]"

        self._run(step, epochs, run_folder, print_every_n_batches, report)


class WGANGP(_Critics):
    """The same with a gradient penalty in place of the clipping: one update of the critic on the sum of all.

    A critic's batch normalisation and a penalty for each picture do not go together. Arguments are those of `WGAN`,
    and:

    Args:
        grad_weight: of the penalty: the mean over the batch of (norm - 1)^2, where the norm is that of the gradient
            of a critic's value in all of a picture, halfway (one random share for each) between a real and a
            generated one.
        n_critic: critic updates before each of the generator.
        batch_size: not used; programs of the book pass it.

    Source: Gulrajani et al., arXiv 1704.00028; the book, chapter 4.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.gan import WGANGP
        >>> judge = ([4], [3], [2], None, "relu", None, 0.001)
        >>> layers = ((4, 4, 4), [2], [1], [3], [1], 0.9, "relu", None, 0.001)  # of the generator
        >>> gan = WGANGP((8, 8, 1), *judge, *layers, optimiser="adam", grad_weight=10, z_dim=10)
        >>> len(gan.train_critic(np.zeros((16, 8, 8, 1), "float32"), batch_size=8))
        4
    """

    def __init__(
        self,
        input_dim: Sequence[int],
        critic_conv_filters: Sequence[int],
        critic_conv_kernel_size: Sequence[int],
        critic_conv_strides: Sequence[int],
        critic_batch_norm_momentum: float | None,
        critic_activation: str,
        critic_dropout_rate: float | None,
        critic_learning_rate: float,
        generator_initial_dense_layer_size: Sequence[int],
        generator_upsample: Sequence[int],
        generator_conv_filters: Sequence[int],
        generator_conv_kernel_size: Sequence[int],
        generator_conv_strides: Sequence[int],
        generator_batch_norm_momentum: float | None,
        generator_activation: str,
        generator_dropout_rate: float | None,
        generator_learning_rate: float,
        optimiser: str,
        grad_weight: float,
        z_dim: int,
        batch_size: int | None = None,
        *,
        n_critic: int = 5,
        seed: int | None = None,
    ) -> None:
        arguments = dict(locals())
        del arguments["self"], arguments["batch_size"]
        self._set_up(arguments)
        _check_positive("grad_weight", self.arguments["grad_weight"])
        import tensorflow as tf

        self._update = tf.function(self._penalised_update, autograph=False)

    def train_critic(self, x_train: Pictures, batch_size: int, using_generator: bool = False) -> list[float]:
        """Train the critic once, on a batch of real pictures and one of generated ones.

        Returns:
            [loss, loss of the real, loss of the generated, penalty], as in the book; the first is the sum, the
            penalty times `grad_weight`.
        """
        real = self._pictures(x_train, batch_size, using_generator)
        fake = self._generate(self._noise(batch_size))
        alpha = self._random.uniform(size=(batch_size, 1, 1, 1)).astype(np.float32)
        return [float(value) for value in self._update(real, fake, alpha)]

    def _penalised_update(self, real: Any, fake: Any, alpha: Any) -> tuple[Any, ...]:
        import tensorflow as tf

        from deblurgan.training.adversarial import gradient_penalty

        weights = self.critic.trainable_variables
        with tf.GradientTape() as tape:
            of_real = -tf.reduce_mean(self.critic(real, training=True))
            of_fake = tf.reduce_mean(self.critic(fake, training=True))
            penalty = gradient_penalty(self.critic, real, fake, alpha)
            loss = of_real + of_fake + self.arguments["grad_weight"] * penalty
        self.critic.optimizer.apply(tape.gradient(loss, weights), weights)
        return loss, of_real, of_fake, penalty

    def train(
        self,
        x_train: Pictures,
        batch_size: int,
        epochs: int,
        run_folder: str | os.PathLike[str],
        print_every_n_batches: int = 50,
        n_critic: int | None = None,
        using_generator: bool = False,
        *,
        report: Callable[[str], None] = print,
    ) -> None:
        """Train as `WGAN.train`, without a threshold."""

        def step(epoch: int) -> tuple[list[float], Any, str]:
            updates = self._updates(n_critic)
            for _ in range(updates):
                d = self.train_critic(x_train, batch_size, using_generator)
            g = self.train_generator(batch_size)
            losses = f"[D loss: ({d[0]:.1f})(R {d[1]:.1f}, F {d[2]:.1f}, G {d[3]:.1f})] [G loss: {g:.1f}]"
            return d, g, f"{epoch} ({updates}, 1) {losses}"

        self._run(step, epochs, run_folder, print_every_n_batches, report)


def load(run_folder: str | os.PathLike[str]) -> GAN | WGAN | WGANGP:
    """Return what `save` wrote there: the same networks, losses and epoch; its optimizers start afresh.

    Raises:
        FileError, InputError, WeightsError: `params.json` or `weights/weights.h5` is missing, or does not fit.

    Examples:
        >>> from deblurgan.gan import GAN, load
        >>> judge = ([4], [3], [2], None, "relu", 0.4, 0.001)
        >>> layers = ((4, 4, 4), [2], [1], [3], [1], 0.9, "relu", None, 0.001)  # of the generator
        >>> GAN((8, 8, 1), *judge, *layers, optimiser="adam", z_dim=10).save("run")
        >>> load("run").z_dim
        10
    """
    path = Path(run_folder) / "params.json"
    try:
        kept = from_json(path.read_text("utf-8"))
        kind = {"GAN": GAN, "WGAN": WGAN, "WGANGP": WGANGP}[kept["class"]]
        made = kind(**kept["arguments"])
        made.epoch, made.d_losses, made.g_losses = kept["epoch"], kept["d_losses"], kept["g_losses"]
    except InputError as error:
        raise InputError(f"{shown(path)}: {error}") from error
    except OSError as error:
        raise FileError(f"{shown(path)}: cannot be read: {reason(error)}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise FileError(f"{shown(path)}: expected what save() of a GAN writes ({reason(error)})") from error
    made.load_weights(Path(run_folder) / "weights" / "weights.h5")
    return made


@contextlib.contextmanager
def _frozen(model: Any) -> Iterator[None]:
    model.trainable = False
    try:
        yield
    finally:
        model.trainable = True


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays, also in lists, as Python's own."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def _options(prefix: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one network as its builder names them."""
    return {
        name.removeprefix(f"{prefix}_"): value
        for name, value in arguments.items()
        if name.startswith(f"{prefix}_") and not name.endswith("_learning_rate")
    }


def _build(builder: Any, prefix: str, arguments: dict[str, Any], **others: Any) -> Any:
    """Build one network; errors name the argument as it is called here."""
    try:
        return builder(**others, **_options(prefix, arguments))
    except InputError as error:
        option, _, rest = str(error).partition(":")
        raise InputError(f"{_NAMES.get(option, f'{prefix}_{option}')}:{rest}") from error


def _check_batch_size(batch_size: Any) -> None:
    from deblurgan.networks.parts import check_counts

    check_counts(batch_size=_plain(batch_size))


def _check_positive(option: str, value: Any) -> None:
    if type(value) not in (int, float) or not 0 < value < float("inf"):
        raise InputError(f"{option}: expected a number above 0, received {value!r}")


def _optimizer(arguments: dict[str, Any], rate_name: str) -> Any:
    import keras

    name, rate = arguments["optimiser"], arguments[rate_name]
    _check_positive(rate_name, rate)
    if name not in _OPTIMISERS:
        known = " or ".join(map(repr, _OPTIMISERS))
        raise InputError(f"optimiser: expected {known}, received {name!r}{nearest(str(name), _OPTIMISERS)}")
    return keras.optimizers.Adam(rate, beta_1=0.5) if name == "adam" else keras.optimizers.RMSprop(rate)


def _on_batch(model: Any, x: Any, y: Any) -> list[float]:
    """Train on one batch and return its loss and accuracy; without the reset Keras 3 may return means of several."""
    model.reset_metrics()
    values = model.train_on_batch(x, y, return_dict=True)
    return [float(values[name]) for name in ("loss", "accuracy") if name in values]
