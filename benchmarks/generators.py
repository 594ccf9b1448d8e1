"""The tutorial's generator with the weights of a file, or random ones."""

from deblurgan.networks.tutorial import generator_model
from deblurgan.weights import hdf5
from deblurgan.weights.tutorial import GeneratorWeights


def tutorial_weights(path: str | None) -> GeneratorWeights:
    if path:
        return GeneratorWeights(path, hdf5.read(path).layers)
    layers = [layer for layer in generator_model().layers if layer.weights]
    return GeneratorWeights("", [hdf5.LayerWeights(layer.name, tuple(layer.get_weights())) for layer in layers])
