"""Training runs in processes of their own, which can be killed, and commands whose output is kept.

They are forks of one process that has imported TensorFlow and computed nothing: each starts in no time.
"""

import multiprocessing
import os
import signal
import time
from pathlib import Path

from deblurgan.cli import main
from deblurgan.training.progress import Progress
from deblurgan.training.trainer import train

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


class Telling(Progress):
    def __init__(self, tell):
        self.step_done = lambda losses: tell("step")
        self.epoch_done = lambda row: tell("epoch")
        self.notice = tell


def live(plan, run, told, resume):
    train(plan, run, resume=resume, progress=Telling(told.send))


class Life:
    """A process that trains in the folder `run`.

    Args:
        plan: the recipe.
        run: the folder.
        resume: whether to go on with what is there, if anything is.
    """

    def __init__(self, plan, run, *, resume=True):
        self.told, telling = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=live, args=(plan, run, telling, resume))
        self.process.start()
        telling.close()

    def lines(self):
        """What it tells, to its end: each step and epoch, and notices."""
        try:
            while True:
                yield self.told.recv()
        except EOFError:
            self.process.join()

    def to_its_end(self):
        """What it tells, when it has ended well."""
        told = list(self.lines())
        assert self.process.exitcode == 0, told
        return told

    def until_step(self, number=1):
        """Wait until so many steps are done, and say whether there were so many."""
        for line in self.lines():
            number -= line == "step"
            if not number:
                return True
        return False

    def kill(self, wait=0.0):
        """Kill it after so many seconds, and say whether it lived that long."""
        time.sleep(wait)
        self.process.kill()
        self.process.join()
        return self.process.exitcode == -signal.SIGKILL


def speak(arguments, output):
    file = os.open(output, os.O_CREAT | os.O_APPEND | os.O_WRONLY) if isinstance(output, str) else output.fileno()
    for number in (1, 2):
        os.dup2(file, number)
    if not isinstance(output, str):
        output.close()
    main(arguments, "deblurgan")


def training(recipe, run, output, *more):
    """Start `deblurgan train --resume` with a recipe's file, in the folder `run`.

    What it prints goes to the end of the file `output`, or into a connection of `multiprocessing`.
    """
    arguments = ["train", "--recipe", recipe, "--output_dir", run.parent, "--run", run.name, "--resume", *more]
    output = str(output) if isinstance(output, Path) else output
    process = CONTEXT.Process(target=speak, args=([str(argument) for argument in arguments], output))
    process.start()
    return process
