"""What the tests of jobs share: planning and restoring with all options by name, and a stand-in for a network."""

from pathlib import Path

import numpy as np

from deblurgan.cli.common import gathered
from deblurgan.jobs.finding import find_inputs
from deblurgan.jobs.planning import Where, plan
from deblurgan.jobs.running import PictureOptions, restore_jobs


def inverted(image):
    """A stand-in for a network: the negative."""
    return np.iinfo(image.dtype).max - image


def planned(sources, output, **named):
    return plan(sources, Where(None if output is None else Path(output), **named))


def restored(inputs, output, restore=inverted, *, recursive=False, **options):
    """The report on restoring all that `inputs` name; `options` of where, of pictures, and others."""
    sources, problems = find_inputs([str(path) for path in inputs], recursive=recursive)
    assert problems == []
    options["output_dir"] = None if output is None else Path(output)
    where, pictures = gathered(Where, options), gathered(PictureOptions, options)
    return restore_jobs(restore, plan(sources, where), where, pictures, **options)
