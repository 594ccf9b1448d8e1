"""The hosts of a training run: which they are, and how they meet before it begins."""

import json
import operator
import os
import select
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from deblurgan.errors import InputError, prefixed
from deblurgan.files import reason

WAIT = 300.0  # seconds
LONGEST_WAIT = 1_000_000  # seconds
VARIABLE = "TF_CONFIG"
ROLES = ("chief", "worker")  # of TF_CONFIG that train, in the order of the hosts
_EXAMPLE = '{"cluster": {"worker": ["a:1234", "b:1234"]}, "task": {"type": "worker", "index": 0}}'
_PAUSE = 0.5  # seconds between two attempts
_PATIENCE = 10.0  # seconds for one message
_LONGEST = 2**20  # bytes of a message


@dataclass(frozen=True)
class Hosts:
    """The hosts that train together, as one of them sees it. The first is the one that scores and writes.

    Args:
        addresses: of all, each as "host:port"; none where there is one host alone.
        index: the place of this one among them, from 0.

    Raises:
        InputError: an address is none, or there twice, or there is no such place.
    """

    addresses: tuple[str, ...] = ()
    index: int = 0

    def __post_init__(self) -> None:
        for number, address in enumerate(self.addresses):
            host, _, port = address.rpartition(":")
            if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
                raise InputError(f"expected HOST:PORT for each host, received {address!r}")
            if address in self.addresses[:number]:
                raise InputError(f"expected each host once, received {address} twice")
        if not 0 <= self.index < self.count:
            raise InputError(f"expected an index from 0 to {self.count - 1}, received {self.index}")

    @property
    def count(self) -> int:
        """How many there are."""
        return max(1, len(self.addresses))

    @property
    def is_first(self) -> bool:
        """Whether this is the host that scores and writes."""
        return self.index == 0

    def name(self, index: int) -> str:
        """Return what a host is called in messages."""
        return f"host {index} ({self.addresses[index]})"

    def located(self, index: int) -> tuple[str, int]:
        """Return a host's name in the network, and its port."""
        host, _, port = self.addresses[index].rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)


ALONE = Hosts()


def from_options(addresses: str | None, index: int | None) -> Hosts:
    """Return the hosts that `--hosts` and `--host_index` name, or else TF_CONFIG in the environment.

    Raises:
        InputError: what they say cannot be, or one of the options is without the other, or both ways are taken.
    """
    if addresses is None and index is None:
        return from_environment()
    if addresses is None or index is None:
        given, missing = ("--hosts", "--host_index") if index is None else ("--host_index", "--hosts")
        raise InputError(f"{given}: expected {missing} with it, received none")
    if os.environ.get(VARIABLE):
        raise InputError(f"--hosts: expected this or {VARIABLE} in the environment, received both")
    with prefixed("--hosts, --host_index", InputError):
        return Hosts(tuple(address.strip() for address in addresses.split(",")), index)


def from_environment() -> Hosts:
    """Return the hosts that TF_CONFIG in the environment names, as TensorFlow has it; one alone where it names none.

    Raises:
        InputError: it cannot be read, or has what does not train: parameter servers, evaluators.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return ALONE
    with prefixed(VARIABLE, InputError):
        try:
            config = json.loads(text)
            cluster = config.get("cluster") or {}
            jobs = {role: list(map(str, addresses)) for role, addresses in cluster.items()}
            if not jobs:
                return ALONE
            role, index = config["task"]["type"], operator.index(config["task"]["index"])
            before = len(jobs.get(ROLES[0], [])) if role == ROLES[1] else 0
            is_there = 0 <= index < len(jobs.get(role, []))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"expected JSON such as {_EXAMPLE}, received {text}") from error
        if others := sorted({role, *jobs}.difference(ROLES)):
            raise InputError(f"expected chief and worker in the cluster and the task, found {', '.join(others)}")
        if not is_there:
            raise InputError(f"expected a task of the cluster, received {role} {index}")
        return Hosts(tuple(address for role in ROLES for address in jobs.get(role, [])), before + index)


def meet(hosts: Hosts, own: Mapping[str, Any], told: Any, wait: float = WAIT) -> Any:
    """Wait until all hosts are here, at the address of the first, and return what the first one tells all.

    Args:
        hosts: they, with this one's place.
        own: what is to be the same everywhere, by its name.
        told: what the first host tells: JSON-like; of the others nothing is taken.
        wait: seconds for it.

    Raises:
        InputError: not all have come by then; or something is not the same; or this one's port, at which TensorFlow
            will listen, is taken.
    """
    if hosts.count == 1:
        return told
    if not 0 < wait <= LONGEST_WAIT:
        raise InputError(f"wait_for_hosts: expected more than 0 seconds, at most {LONGEST_WAIT}, received {wait:g}")
    deadline = time.monotonic() + wait
    with _listening(hosts) as server:
        if not hosts.is_first:
            return _ask(hosts, own, wait, deadline)
        _tell(hosts, server, own, told, wait, deadline)
        return told


def _tell(
    hosts: Hosts, server: socket.socket, own: Mapping[str, Any], told: Any, wait: float, deadline: float
) -> None:
    here: dict[int, socket.socket] = {}
    answer = {"error": f"{hosts.name(0)}, the first, was stopped before all had come"}
    try:
        while missing := [index for index in range(1, hosts.count) if index not in here]:
            if time.monotonic() > deadline:
                names = ", ".join(map(hosts.name, missing))
                raise InputError(f"{names} did not come within {wait:g} seconds (--wait_for_hosts)")
            with suppress(OSError):  # nobody came, or went at once
                _let_in(hosts, own, server.accept()[0], here)
            gone, _, _ = select.select(list(here.values()), [], [], 0)  # they say nothing more
            for index in [index for index, connection in here.items() if connection in gone]:
                here.pop(index).close()
        answer = {"told": told}
    except InputError as error:
        answer = {"error": str(error)}
        raise
    finally:
        for connection in here.values():
            _send(connection, answer)
            connection.close()


def _listening(hosts: Hosts) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        server = socket.create_server(("", hosts.located(hosts.index)[1]), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise InputError(f"{hosts.name(hosts.index)}: cannot listen at its port here: {reason(error)}") from error
    server.settimeout(_PAUSE)
    return server


def _let_in(hosts: Hosts, own: Mapping[str, Any], connection: socket.socket, here: dict[int, socket.socket]) -> None:
    """Add a connection to those of the hosts that are here; close it if it is from none of them."""
    connection.settimeout(_PATIENCE)
    said = _receive(connection)
    index = said.get("index") if isinstance(said, dict) else None
    if not isinstance(index, int) or index < 1:
        connection.close()
        return
    if index in here:  # started again meanwhile
        here.pop(index).close()
    here[index] = connection
    for name, value in {"hosts": list(hosts.addresses), **own}.items():
        if said.get(name) != value:
            who = hosts.name(index) if index < hosts.count else f"host {index}"
            raise InputError(f"{who}: expected its {name} to be {value}, as of the first, found {said.get(name)}")


def _ask(hosts: Hosts, own: Mapping[str, Any], wait: float, deadline: float) -> Any:
    while (left := deadline - time.monotonic()) > 0:
        with suppress(OSError), socket.create_connection(hosts.located(0), timeout=min(left, _PATIENCE)) as first:
            _send(first, {"index": hosts.index, "hosts": list(hosts.addresses), **own})
            first.settimeout(wait + _PATIENCE)  # it will say who is late
            answer = _receive(first)
            if isinstance(answer, dict) and "error" in answer:
                raise InputError(answer["error"])
            if isinstance(answer, dict) and "told" in answer:
                return answer["told"]
        time.sleep(_PAUSE)
    raise InputError(
        f"{hosts.name(0)}, the first, did not begin within {wait:g} seconds (--wait_for_hosts); see what it says"
    )


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    with suppress(OSError):  # whoever is gone will be missed
        connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket) -> Any:
    """Return the JSON of one line, or None where none comes."""
    with suppress(OSError, ValueError), connection.makefile("rb") as stream:
        return json.loads(stream.readline(_LONGEST))
    return None
