"""The command line: each command parses, makes one library call, and reports.

`main` is the `deblurgan` program; `organize`, `train` and `deblur` are also the top-level scripts of the tutorial.
TensorFlow is imported only when a command starts its work.
"""

from deblurgan.cli.batch import batch
from deblurgan.cli.common import main
from deblurgan.cli.data import combine, organize, split, synthesize
from deblurgan.cli.deblurring import deblur
from deblurgan.cli.doctor import doctor
from deblurgan.cli.evaluating import evaluate, test
from deblurgan.cli.gan import gan
from deblurgan.cli.training import recipes, train
from deblurgan.cli.web import web
from deblurgan.cli.weights import convert, export, inspect, named_weights

_COMMANDS = (
    organize,
    synthesize,
    combine,
    split,
    train,
    recipes,
    gan,
    deblur,
    batch,
    web,
    test,
    evaluate,
    named_weights,
    inspect,
    convert,
    export,
    doctor,
)

for _command in _COMMANDS:
    main.add_command(_command)  # listed in the order of their use
