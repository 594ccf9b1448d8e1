"""What the hosts of a training run tell each other while it works; nothing where there is one host alone."""

import json
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deblurgan import devices
from deblurgan.data.shares import HostShare
from deblurgan.errors import DeblurganError
from deblurgan.training.hosts import Hosts

JOINING = 60.0  # seconds in which TensorFlow connects hosts that have met
_TASK = re.compile(r"/job:worker/replica:0/task:(\d+)")
_BYSTANDER = re.compile(r"(remote target|first task at the barrier:) \S+")  # named only as a messenger, or as in time
GONE = (  # what TensorFlow raises when another host is
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)


class Team:
    """The hosts of a run, connected. What one does with the others, all have to do, in the same order.

    Args:
        hosts: they, with this one's place. They have met.
        kind: "one" device of each host, or "all".

    Attributes:
        hosts: as above.
        strategy: the `tf.distribute` strategy that trains on them.
        share: what this host gets of each batch.

    Raises:
        DeblurganError: they cannot be connected.
    """

    def __init__(self, hosts: Hosts, kind: str) -> None:
        self.hosts = hosts
        self.strategy = devices.strategy(kind) if hosts.count == 1 else self._joined(kind)
        replicas = self.strategy.num_replicas_in_sync
        self.share = HostShare(hosts.index, hosts.count, replicas // hosts.count)

    def _joined(self, kind: str) -> Any:
        """Return the strategy."""
        handler = signal.getsignal(signal.SIGTERM)
        try:
            return devices.strategy(kind, self.hosts.addresses, self.hosts.index, JOINING)
        except tf.errors.UnknownError as error:
            name = self.hosts.name(self.hosts.index)
            raise DeblurganError(f"{name}: TensorFlow cannot begin here: {error.message}") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # TensorFlow takes it for itself

    def batches(self, stream: Any, first: int, count: int) -> Iterator[Any]:
        """Return this host's share of the batches of `count` steps from step `first` on, a value for each device.

        `tf.distribute`'s own iterators do the same, but have threads to tune them that may take a minute to end.
        """
        options = tf.data.Options()
        options.autotune.enabled = False
        batches = iter(stream.batches(first, count, self.share).with_options(options))
        if self.strategy.num_replicas_in_sync == 1:
            return batches

        def of_device(context: Any) -> Any:
            return tf.nest.map_structure(tf.identity, next(batches))

        return (self.strategy.experimental_distribute_values_from_function(of_device) for _ in range(count))

    def of_first(self, find: Callable[[], Any]) -> Any:
        """Return what `find` returns on the first host, the only one that calls it: JSON-like."""
        if self.hosts.count == 1:
            return find()
        text = json.dumps(find()).encode() if self.hosts.is_first else b""
        length = int(self._sum(np.array([len(text)]))[0])
        content = np.zeros(length, np.int32)
        if self.hosts.is_first:
            content[:] = np.frombuffer(text, np.uint8)
        return json.loads(self._sum(content).astype(np.uint8).tobytes())

    def any(self, flag: bool) -> bool:
        """Whether the flag is true on one of the hosts, or on several."""
        return flag if self.hosts.count == 1 else bool(self._sum(np.array([flag]))[0])

    def take_of_first(self, variables: Iterable[keras.Variable]) -> None:
        """Give variables the values that they have on the first host, bit for bit."""
        if self.hosts.count == 1:
            return
        for variable in variables:
            value = np.asarray(variable.numpy())
            content = np.zeros(-(-value.nbytes // 4), np.int32)
            if self.hosts.is_first:
                content.view(np.uint8)[: value.nbytes] = np.frombuffer(value.tobytes(), np.uint8)
            content = self._sum(content)
            variable.assign(content.view(np.uint8)[: value.nbytes].view(value.dtype).reshape(value.shape))

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over all hosts of whole numbers below 2**31."""

        def of_replica(context: Any) -> Any:
            is_own = context.replica_id_in_sync_group == self.hosts.index * self.share.devices
            return tf.constant(values if is_own else np.zeros_like(values), tf.int32)

        of_all = self.strategy.experimental_distribute_values_from_function(of_replica)
        return np.asarray(self.strategy.reduce(tf.distribute.ReduceOp.SUM, of_all, axis=None))


@contextmanager
def naming_lost(hosts: Hosts) -> Iterator[None]:
    """Turn what TensorFlow raises when another host is gone into an error of one line that names it."""
    try:
        yield
    except GONE as error:
        if hosts.count == 1:
            raise
        traceback.clear_frames(error.__traceback__)  # whose iterator would keep the process from ending
        raise lost(hosts, str(error)) from error


def lost(hosts: Hosts, message: str) -> DeblurganError:
    """Return the error that another host is gone: the one that TensorFlow's message names, if it does."""
    named = [{int(task) for task in _TASK.findall(text)} for text in (_BYSTANDER.sub("", message), message)]
    tasks = (named[0] - {hosts.index}) or (named[1] - {hosts.index})
    names = ", ".join(hosts.name(task) for task in sorted(tasks) if task < hosts.count)
    return DeblurganError(
        f"{names or 'another host'}: does not answer any more; see what it said last. "
        "Then start all hosts again with --resume"
    )
