"""Mutated files of weights, exported networks, detectors and recipes, opened as the commands open them."""

import contextlib
import functools
import os
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np

from deblurgan.errors import DeblurganError
from tests.faults.mutating import mutated
from tests.faults.pictures import assert_line
from tests.photographs import noise, smooth

TORCH = Path(__file__).parents[1] / "data" / "torch"


def prepare(samples):
    """Have all that reads them loaded, and a network built, before anything is measured."""
    for sample in sorted(samples.iterdir()):
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(DeblurganError):
            shutil.copytree(sample, folder, dirs_exist_ok=True)
            use(Path(folder, main_name(sample)))


def write_samples(folder):
    """Write a folder for each kind, named by its number and the file that is opened."""
    from deblurgan.networks.zoo import build_generator
    from deblurgan.runtimes.exporting import export
    from deblurgan.weights import any_file, hdf5, labelled
    from tests import maxim_files
    from tests.runtimes.test_detectors import LAYOUTS, onnx_file, ssd
    from tests.safetensors_files import safetensors

    def place(name):
        made = folder / f"{len(os.listdir(folder)):02} {name}"
        made.mkdir()
        return made / name

    tutorial = build_generator("tutorial", {"ngf": 2, "n_blocks": 1})
    nafnet = {"width": 4, "encoder_blocks": (1,), "middle_blocks": 1, "decoder_blocks": (1,)}
    first = place("g.weights.h5")
    hdf5.save_weights(tutorial, first)
    labelled.save_network(build_generator("nafnet", nafnet), place("n.weights.h5"), "nafnet", nafnet)
    hdf5.save_keras2(tutorial, place("g.h5"))
    tutorial.save(place("g.keras"))
    build_generator("nafnet", nafnet).save(place("n.keras"))
    any_file.convert(first, place("g.ckpt"))
    any_file.convert(first, place("saved").parent / "saved")
    for name in ("zip.pth", "old.pth"):
        shutil.copyfile(TORCH / name, place(name))
    arrays = {"a": np.float32(noise(4, 5)), "b": np.arange(6, dtype=np.float16), "c": np.int64([[3]])}
    place("x.safetensors").write_bytes(safetensors(arrays, metadata={"format": "pt"}))
    maxim = maxim_files.keras_arrays(maxim_files.flax_arrays())
    maxim_files.write_stages(place("stages"), maxim)
    np.savez(place("checkpoint.npz"), **maxim)
    graph = maxim_files.graph_of(maxim, quantized="uint8").files(10**7)
    maxim_files.write_folder(place("tfjs"), graph)
    place("package.tgz").write_bytes(maxim_files.tgz(graph))
    export(first, place("g.onnx"))
    export(first, place("g.xml"))
    onnx_file(place("yolo.onnx"), (1, 3, 64, 64), {"output0": LAYOUTS["v8"]}, names={0: "dog", 1: "cat"})
    onnx_file(place("ssd.onnx"), (1, 64, 64, 3), ssd(True))
    place("yolo.tflite").write_bytes(_tflite())
    for name in ("maxim", "gan"):
        shutil.copyfile(
            Path(maxim_files.__file__).parents[1] / f"deblurgan/recipes/{name}.json", place(f"{name}.json")
        )


def _tflite():
    import tensorflow as tf

    from tests.runtimes.test_detectors import MARK, yolo8

    rows = yolo8().T[None]

    @tf.function(input_signature=[tf.TensorSpec((1, 64, 64, 3))])
    def network(images):
        return rows * (1 - MARK[:, None]) + rows * MARK[:, None] * tf.reduce_mean(images)

    return tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()]).convert()


def main_name(sample):
    return sample.name.split(" ", 1)[1]


def use(path):
    """Open a file as the commands do, by the kind that its name says."""
    from deblurgan.jobs.finding import Input
    from deblurgan.jobs.planning import Where, plan
    from deblurgan.jobs.running import restore_jobs
    from deblurgan.restoring.opening import open_restorer
    from deblurgan.runtimes.detectors import FileDetector
    from deblurgan.training import recipe
    from deblurgan.weights import any_file
    from tests.photographs import save

    if path.suffix == ".json":
        recipe.make(recipe.read_fields(str(path)))
    elif path.name.startswith(("yolo", "ssd")):
        FileDetector(path, 0.3)(smooth())
    elif path.suffix in (".onnx", ".xml"):
        picture = save(path.parent / "in" / "a.png", smooth(16, 16))
        where = Where(path.parent / "out")
        for engine in ("openvino", "onnxruntime") if path.suffix == ".onnx" else ("openvino",):
            restore = open_restorer(path, engine=engine, precision="float32")
            report = restore_jobs(restore, plan([Input(picture, Path("a.png"))], where), where)
            for line in report.failed:
                assert_line(line)
    else:
        found = any_file.read(path)
        if found.is_generator:
            found.build()


@functools.cache
def files_of(sample):
    return [(path.relative_to(sample), path.read_bytes()) for path in sorted(sample.rglob("*")) if path.is_file()]


def attempt(number, samples, folder):
    kinds = sorted(samples.iterdir())
    sample, chance = kinds[number % len(kinds)], random.Random(number)
    files = files_of(sample)
    damaged = chance.choice(files)[0]
    for name, content in files:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(mutated(content, chance) if name == damaged else content)
    return opened(folder / main_name(sample))


def opened(path):
    """Use a file, in whichever way that ends."""
    try:
        use(path)
    except DeblurganError as error:
        assert_line(error)
        return "refused"
    return "used"
