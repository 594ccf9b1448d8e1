"""Which pictures of each training batch a host gets, where several hosts train together."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HostShare:
    """One host's share of each batch: as many pictures as every other host gets, in a row unless the stream says.

    Attributes:
        host: its number, from 0.
        hosts: how many there are.
        devices: of this host, among which it shares its pictures out, likewise.
    """

    host: int = 0
    hosts: int = 1
    devices: int = 1

    def place(self, number: Any, batch: int) -> Any:
        """Return where in the stream of all pictures this host's picture `number`, from 0, stands."""
        own = batch // self.hosts
        return number // own * batch + self.host * own + number % own

    def of_device(self, batch: int) -> int:
        """Return how many pictures of a batch each device gets."""
        return batch // (self.hosts * self.devices)


WHOLE = HostShare()
