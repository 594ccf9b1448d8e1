"""Ray, started on this machine or found elsewhere: a group of workers, and the shares that Ray Data hands to them."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from deblurgan.batch.worker import Task, Worker, packed
from deblurgan.errors import InputError
from deblurgan.files import reason
from deblurgan.runtimes.engines import threads

OBJECT_STORE = 500_000_000  # bytes; nothing but paths and rows goes through it
LONGEST_TEMPORARY = 25  # characters of a folder in which Ray's sockets have short enough paths
PATIENCE = 20  # seconds for a cluster to answer
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"  # of HTTP/2, which gRPC, and so Ray, speaks
START_DEATHS = 10  # of actors in a row while they start, before the batch ends
_SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class LostError(InputError):
    """Ray has ended, or could not go on."""


@dataclass(frozen=True)
class Cluster:
    """Where to compute.

    Attributes:
        address: of a Ray cluster, as `ray.init` takes it; None: Ray is started on this machine, and ended.
        actors: how many workers; None: one for each GPU (or share of one), or one for each machine without.
        gpus_per_actor: GPUs of each, which may be a part of one; None: 1 where there are any.
    """

    address: str | None = None
    actors: int | None = None
    gpus_per_actor: float | None = None


@dataclass(frozen=True)
class Group:
    """Workers: how many, what each may use, and in how many threads it computes."""

    actors: int
    cpus: float
    gpus: float
    threads: int

    def restored(self, task: Task, shares: Sequence[pa.Table]) -> Generator[pa.Table, None, None]:
        """Yield what `worker.Worker` makes of each share, as soon as one is done.

        Ray Data spreads the workers over the machines, starts those that end anew, and repeats what they were at.

        Raises:
            LostError: Ray has ended.
        """
        import ray
        import ray.data

        _quiet(ray.data.DataContext.get_current())
        with _as_lost():
            results = ray.data.from_arrow([packed(share) for share in shares]).map_batches(
                Worker,
                fn_constructor_args=(task,),
                batch_size=1,  # a share; Ray has to be told where there are GPUs
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    size=min(self.actors, len(shares)), max_tasks_in_flight_per_actor=2
                ),
                num_cpus=self.cpus,
                num_gpus=self.gpus,
            )
            yield from results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)

    def stop(self) -> None:
        """End the workers."""
        _stop()


@contextlib.contextmanager
def started(cluster: Cluster, tell: Callable[[str], object]) -> Iterator[Group]:
    """Start Ray, or go to where it is, and yield the workers that are asked for; Ray ends with the block.

    What is started here takes orders from this process alone, whose token Ray would else keep in the home folder. Of
    a cluster that is busy `tell` is told.

    Raises:
        InputError: there is no such cluster, or it has less than is asked for.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # what has ended does not start again
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ray_muted())
        where = _where(cluster, stack)
        import ray

        stack.callback(_stop)
        with _signals_kept(), _as_lost(cluster.address):
            ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
        found = group(cluster, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        if cluster.address is not None:  # what was just started has no other work
            _tell_of_work(found, ray.available_resources(), tell)
        yield found


def _tell_of_work(found: Group, free: dict[str, float], tell: Callable[[str], object]) -> None:
    """Tell where a cluster has not even for one worker what is free."""
    for kind, needed in (("CPU", found.cpus), ("GPU", found.gpus)):
        if free.get(kind, 0) < needed:
            tell(f"Ray has work: a worker waits for {needed:g} {kind} of one machine, {free.get(kind, 0):g} free")


def _where(cluster: Cluster, stack: contextlib.ExitStack) -> dict[str, Any]:
    if cluster.address is not None:
        _check_reached(cluster.address)
        return {"address": cluster.address}
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_worker_niceness", "0")  # as `deblur` has it; at Ray's own 15 a picture takes longer
    options: dict[str, Any] = {
        "address": "local",
        "num_cpus": max(threads(), cluster.actors or 1),
        "object_store_memory": OBJECT_STORE,
        "include_dashboard": False,
    }
    if "RAY_TMPDIR" not in os.environ:
        folder = tempfile.gettempdir() if len(tempfile.gettempdir()) <= LONGEST_TEMPORARY else "/tmp"
        made = tempfile.TemporaryDirectory(prefix="ray-", dir=folder, ignore_cleanup_errors=True)
        options["_temp_dir"] = stack.enter_context(made)
    return options


def _check_reached(address: str) -> None:
    """Raise `InputError` where nothing answers at HOST:PORT as Ray does, for which Ray would wait for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:
        return
    try:
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                connection.sendall(_GREETING)
                if connection.recv(9)[3:4] != b"\x04":  # a frame of settings
                    raise OSError("what answers there is something else")
    except (OSError, ValueError) as error:
        raise InputError(f"--ray_address {address}: expected a Ray cluster, found none: {reason(error)}") from error


def group(cluster: Cluster, nodes: Sequence[dict[str, float]]) -> Group:
    """Return workers that are spread evenly over those machines, by their resources, that have what they need.

    Raises:
        InputError: there are not so many, or no machine with so many GPUs.
    """
    gpus = cluster.gpus_per_actor
    if gpus is None:
        gpus = 1 if any(node.get("GPU", 0) for node in nodes) else 0
    usable = [node for node in nodes if node.get("CPU", 0) > 0 and node.get("GPU", 0) >= gpus]
    if not usable:
        have = max((node.get("GPU", 0) for node in nodes), default=0)
        raise InputError(f"--gpus_per_actor {gpus:g}: expected a machine with so many GPUs, found at most {have:g}")
    most = sum(int(node["GPU"] / gpus) for node in usable) if gpus else None
    actors = cluster.actors or most or len(usable)
    if most is not None and actors > most:
        raise InputError(
            f"--actors {actors}: expected at most {most}, of {gpus:g} GPUs each, which the machines have"
        )
    cpus = min(node["CPU"] for node in usable) / -(-actors // len(usable))
    cpus = float(int(cpus)) if cpus >= 1 else cpus
    return Group(actors, cpus, gpus, max(1, int(cpus)))


def _quiet(context: Any) -> None:
    """Set Ray Data so that it says nothing, and that workers are started and shares repeated whatever happens."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a picture may take long
    context.actor_task_retry_on_errors = True  # such as a lack of memory that Python tells of
    context.max_consecutive_actor_init_deaths = START_DEATHS
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _ray_muted() -> Iterator[None]:
    """Let nothing of Ray reach the terminal: it tells of each worker that ends there, and its part in C++ of more.

    What Python writes to standard error still comes there.
    """
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            own = sys.stderr.fileno() == 2
        except OSError:  # it is no file, as in tests
            own = False
        if own:
            sys.stderr.flush()
            terminal = stack.enter_context(open(os.dup(2), "w", buffering=1))
            stack.callback(os.dup2, terminal.fileno(), 2)
            os.dup2(nowhere.fileno(), 2)
            stack.enter_context(contextlib.redirect_stderr(terminal))
        yield


def _stop() -> None:
    """End Ray, within seconds, however often Ctrl-C is pressed: processes would be left, and Ray would say so."""
    import ray

    with _signals_kept():
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)
        ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Let signals do after the block what they did before: at SIGTERM Ray would end the process without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _as_lost(address: str | None = None) -> Iterator[None]:
    """Raise a LostError where Ray raises an error, as when it cannot be reached at an address."""
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        message = f"Ray: {lines[-1] if lines else type(error).__name__}"
        if address is not None:
            token = "; does it ask for a token (RAY_AUTH_MODE=token)?" if isinstance(error, ConnectionError) else ""
            message = f"--ray_address {address}: {message}{token}"
        raise LostError(message) from error
