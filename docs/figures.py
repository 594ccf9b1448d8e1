"""The figures of "How it works": each drawn from the package's own networks, losses, tiles and arithmetic.

Needs matplotlib, and takes a minute or two:

    python docs/figures.py                    # all of them, into docs/figures/
    python docs/figures.py winograd losses    # some
"""

import argparse
import itertools
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import deblurgan  # noqa: F401 (it chooses TensorFlow's operations, before that is imported)

# isort: split

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib import pyplot
from matplotlib.patches import Rectangle
from PIL import Image, ImageFilter

from deblurgan.networks import zoo
from deblurgan.networks.footprint import footprint
from deblurgan.networks.nafnet_layers import NAFBlock
from deblurgan.restoring import tiles, winograd
from deblurgan.restoring.opening import open_restorer
from deblurgan.restoring.restorer import ALIKE_OVERLAP
from deblurgan.training.losses import PerceptualLoss, frequency_loss, l1_loss
from deblurgan.training.recipe import read_fields

matplotlib.use("Agg")
CROPS = Path(__file__).parents[1] / "tests" / "data" / "GOPRO_crops"
COLOURS = {"same": "#9ec5e8", "down": "#f2b48c", "up": "#a8d5a2", "block": "#fff2b3", "dense": "#cdb4e0"}
DRAWN = (keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.Dense, NAFBlock)


def crop(kind: str) -> Image.Image:
    return Image.open(CROPS / "test" / "GOPR0384_11_00" / kind / "000203.png").convert("RGB")


def networks() -> pyplot.Figure:
    """Each convolution as a box: its height is that of its result, its width grows with its channels."""
    shape = (256, 256, 3)
    drawn = []
    for name in ("tutorial", "pix2pix", "nafnet-small"):
        fields = read_fields(name)
        options = {"image_shape": shape, **fields.get("network_options", {})}
        drawn.append((f"recipe {name}, generator", zoo.build_generator(fields["network"], options)))
        if fields.get("critic"):
            options = {"image_shape": (*shape[:2], 6 if fields.get("conditional") else 3)}
            options.update(fields["critic_options"])
            drawn.append((f"recipe {name}, critic", zoo.build_critic(fields["critic"], options)))
    figure, axes = pyplot.subplots(len(drawn), 1, figsize=(10, 12), layout="constrained")
    for axis, (title, model) in zip(axes, drawn, strict=True):
        left, side = 4.0, shape[0]
        axis.add_patch(Rectangle((0, -side / 2), 3, side, facecolor="#dddddd", edgecolor="black", linewidth=0.5))
        for layer in model.operations:
            if not isinstance(layer, DRAWN):
                continue
            _, *sides, channels = layer.output.shape
            height = sides[0] if sides else 4
            strides = getattr(layer, "strides", (1,))
            kind = "block" if isinstance(layer, NAFBlock) else "same" if strides[0] == 1 else "down"
            kind = "up" if isinstance(layer, keras.layers.Conv2DTranspose) else kind
            kind = "dense" if not sides else kind
            width = 1.2 + np.log2(channels)
            box = Rectangle((left, -height / 2), width, height, facecolor=COLOURS[kind], edgecolor="black")
            box.set_linewidth(0.5)
            axis.add_patch(box)
            axis.text(left + width / 2, height / 2 + 6, channels, ha="center", fontsize=6, rotation=90)
            left, side = left + width + 1, height
        axis.set(xlim=(-2, left), ylim=(-135, 200), xticks=[], yticks=[-128, 128], yticklabels=["", "256"])
        axis.set_title(f"{title}: {model.count_params():,} parameters", loc="left", fontsize=10)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    handles = [Rectangle((0, 0), 1, 1, facecolor=colour, edgecolor="black") for colour in COLOURS.values()]
    names = ["convolution", "halves the sides", "doubles them", "NAFNet block", "dense"]
    figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def losses() -> pyplot.Figure:
    """One picture damaged in five ways to the same mean squared error, and what the losses say."""
    sharp = np.asarray(crop("sharp"), np.float32) / 255
    target = float(np.mean((np.asarray(crop("blur"), np.float32) / 255 - sharp) ** 2))
    noise = np.random.default_rng(0).standard_normal(sharp.shape).astype(np.float32)
    away = np.sign(0.5 - sharp.mean((0, 1)))

    def blurred(amount: float) -> np.ndarray:
        return np.asarray(crop("sharp").filter(ImageFilter.GaussianBlur(amount)), np.float32) / 255

    damages = {
        "motion blur (the photograph)": None,
        "Gaussian blur": lambda amount: blurred(20 * amount),
        "noise": lambda amount: np.clip(sharp + amount * noise, 0, 1),
        "brighter": lambda amount: np.clip(sharp + amount * away, 0, 1),
        "less contrast": lambda amount: sharp.mean((0, 1)) + (1 - amount) * (sharp - sharp.mean((0, 1))),
    }
    figures = {"L1": l1_loss, "VGG16 features": PerceptualLoss(), "frequency": frequency_loss}
    pictures = {name: np.asarray(crop("blur"), np.float32) / 255 for name in damages}
    for name, damage in damages.items():
        if damage is not None:
            least, most = 0.0, 1.0
            for _ in range(30):
                middle = (least + most) / 2
                too_much = np.mean((damage(middle) - sharp) ** 2) > target
                least, most = (least, middle) if too_much else (middle, most)
            pictures[name] = damage(least).astype(np.float32)
    values = {
        name: {loss: float(f(2 * sharp[None] - 1, 2 * picture[None] - 1)) for loss, f in figures.items()}
        for name, picture in pictures.items()
    }
    first = values["motion blur (the photograph)"]
    figure, axes = pyplot.subplots(1, len(pictures), figsize=(12, 2.9), layout="constrained")
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture)
        axis.axis("off")
        psnr = -10 * np.log10(np.mean((picture - sharp) ** 2))
        lines = [f"{loss}: {value / first[loss]:.2f}" for loss, value in values[name].items()]
        axis.set_title("\n".join([name, f"{psnr:.1f} dB", *lines]), fontsize=8.5)
    return figure


def tiling() -> pyplot.Figure:
    """How far a pixel sees, how a photograph is cut, and how tiles that do not agree are blended."""
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    generator = zoo.build_generator("tutorial", {"dropout": 0})
    keras.utils.set_random_seed(0)
    side = 256
    image = tf.Variable(np.random.default_rng(0).uniform(-1, 1, (1, side, side, 3)).astype(np.float32))
    with tf.GradientTape() as tape:
        seen = tf.reduce_sum(generator(image, training=False)[0, side // 2, side // 2])
    influence = np.abs(tape.gradient(seen, image)[0]).max(-1)
    axes[0, 0].imshow(np.log10(influence / influence.max() + 1e-12), cmap="magma")
    reach = footprint(generator).reach
    box = (side // 2 - reach, side // 2 - reach)
    axes[0, 0].add_patch(Rectangle(box, 2 * reach, 2 * reach, fill=False, edgecolor="cyan"))
    axes[0, 0].set_title(f"tutorial: which pixels move the middle one (log); box: {reach} pixels away", fontsize=9)

    restorer = open_restorer("maxim-gopro", quality="fast")
    rows, columns = restorer.tile_plan(3000, 4000)
    for row, column in itertools.product(rows, columns):
        size = (column.see_to - column.see_from, row.see_to - row.see_from)
        sees = Rectangle((column.see_from, row.see_from), *size, facecolor="#1f77b4", alpha=0.4)
        size = (column.stop - column.start, row.stop - row.start)
        interior = Rectangle((column.start, row.start), *size, fill=False, edgecolor="white", linewidth=0.7)
        for patch in (sees, interior):
            axes[0, 1].add_patch(patch)
    axes[0, 1].set(xlim=(0, columns[-1].see_to), ylim=(rows[-1].see_to, 0), aspect="equal")
    tile = f"{rows[0].see_to} x {columns[0].see_to}"
    title = f"MAXIM, 12 megapixels: {len(rows)} x {len(columns)} tiles of {tile}; dark: shared"
    axes[0, 1].set_title(title, fontsize=9)

    for column, colour in zip(columns[:3], ("#1f77b4", "#d62728", "#2ca02c"), strict=True):
        place, weights = tiles.ramp(column, ALIKE_OVERLAP // 2)
        axes[1, 0].plot(np.arange(place.start, place.stop), weights, color=colour)
    axes[1, 0].set(xlabel="column of the picture", ylabel="weight")
    axes[1, 0].set_title("how three neighbours are blended along a row: weights sum to 1", fontsize=9)

    picture = np.asarray(crop("blur"), np.float32) / 255
    left, right = (restorer(np.ascontiguousarray(picture[:, start : start + 256])) for start in (0, 128))
    apart = 255 * np.sqrt(np.mean((left[:, 128:] - right[:, :128]) ** 2, (0, 2)))
    axes[1, 1].plot(np.arange(128, 256), apart)
    axes[1, 1].axvspan(192 - ALIKE_OVERLAP // 2, 192 + ALIKE_OVERLAP // 2, color="#dddddd")
    axes[1, 1].set(xlabel="column of the picture", ylabel="RMS difference, of 255", ylim=(0, None))
    axes[1, 1].set_title("MAXIM: two tiles of 256 disagree on what both see; grey: blended", fontsize=9)
    return figure


def winograd_errors() -> pyplot.Figure:
    """Multiplications of Winograd's convolution beside the usual one, and what both lose in float32."""
    random = np.random.default_rng(0)
    errors: dict[str, list[float]] = {"direct": [], "F(2, 3)": []}
    channels = (16, 32, 64, 128, 256, 512)
    for count in channels:
        images = random.standard_normal((1, 34, 34, count)).astype(np.float32)
        kernel = (random.standard_normal((3, 3, count, 16)) / np.sqrt(9 * count)).astype(np.float32)
        exact = tf.nn.conv2d(images.astype(np.float64), kernel.astype(np.float64), 1, "VALID").numpy()
        direct = tf.nn.conv2d(images, kernel, 1, "VALID").numpy()
        four = winograd.kernels(tf.constant(kernel))
        halves = winograd.split(tf.constant(images))
        fast = winograd.joined(winograd.convolved(halves, four, tf.zeros(16))).numpy()
        for name, result in (("direct", direct), ("F(2, 3)", fast)):
            errors[name].append(float(np.sqrt(np.mean((result - exact) ** 2) / np.mean(exact**2))))
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained", width_ratios=(2, 3))
    axes[0].bar(["direct", "F(2, 3)"], [6, 4], color=["#9ec5e8", "#f2b48c"])
    axes[0].set_ylabel("products of rows for two rows of a result")
    for name, values in errors.items():
        axes[1].loglog(channels, values, "o-", label=name)
    axes[1].axhline(2**-9, color="grey", linestyle="--", label="half a level of 8 bits")
    axes[1].set_xticks(channels, channels)
    axes[1].minorticks_off()
    axes[1].set(xlabel="channels of the input", ylabel="RMS error over RMS of the result (float32)")
    axes[1].legend(fontsize=8)
    return figure


FIGURES = {"networks": networks, "losses": losses, "tiles": tiling, "winograd": winograd_errors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*FIGURES, []], help="which; all when none is named")
    target = Path(__file__).parent / "figures"
    target.mkdir(exist_ok=True)
    for name in parser.parse_args().names or FIGURES:
        figure = FIGURES[name]()
        path = target / f"{name}.{'jpg' if name == 'losses' else 'png'}"
        figure.savefig(path, dpi=110)
        print(f"Wrote {path}")


if __name__ == "__main__":
    main()
