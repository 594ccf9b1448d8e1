"""A restorer whose tiles are as large as a test says, whatever memory there is."""

from deblurgan.restoring.restorer import Restorer


class Tiled(Restorer):
    """Its largest tile, surroundings included, has so many pixels; None: as memory allows."""

    def __init__(self, model, *, tile_pixels=None, **options):
        super().__init__(model, **options)
        self._tile_pixels = tile_pixels
        self._band = 0 if tile_pixels else self._band

    def _pixels(self, held):
        return self._tile_pixels or super()._pixels(held)
