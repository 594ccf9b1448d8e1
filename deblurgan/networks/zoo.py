"""The networks by name: how each is built from options as a settings or weight file holds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from deblurgan.errors import InputError, WeightsError, nearest
from deblurgan.networks import dcgan, maxim, nafnet, paper, patchgan, torch_weights, tutorial, unet
from deblurgan.networks.network import Found, Network, Tensors, dimensions

ANY_SIZE = (None, None, 3)


@dataclass(frozen=True)
class Identity:
    """Which network weights belong to: its role, one of `ROLES`, its name, and its options."""

    role: str
    name: str
    options: dict[str, Any]


NETWORKS = (
    tutorial.GENERATOR,
    paper.GENERATOR,
    unet.GENERATOR,
    nafnet.GENERATOR,
    maxim.GENERATOR,
    tutorial.CRITIC,
    patchgan.CRITIC,
    dcgan.SAMPLER,
    dcgan.CRITIC,
)
GENERATORS, CRITICS, SAMPLERS = (
    {network.name: network for network in NETWORKS if network.role == role}
    for role in ("generator", "critic", "sampler")
)
ROLES = {"generator": GENERATORS, "critic": CRITICS, "sampler": SAMPLERS}


def build_generator(name: str, options: Mapping[str, Any] | None = None, *, dtype: Any = None) -> keras.Model:
    """Build the generator `name`, for images of any size unless `options` has an `image_shape`.

    Args:
        name: "tutorial", "paper", "unet", "nafnet" or "maxim".
        options: keywords of the builder; lists, as JSON has them, stand for tuples.
        dtype: dtype policy of the layers; Keras' global one when None.

    Raises:
        InputError: a name or option that does not exist (the message suggests the nearest), or a value that makes
            no network.
    """
    return build("generator", name, options, dtype=dtype)


def build_critic(name: str, options: Mapping[str, Any] | None = None, *, dtype: Any = None) -> keras.Model:
    """Build the critic `name`, "tutorial", "patchgan" or "dcgan"; otherwise as `build_generator`.

    The builder's `image_shape` is the default. With 6 channels a critic is conditional.
    """
    return build("critic", name, options, dtype=dtype)


def build(role: str, name: str, options: Mapping[str, Any] | None = None, *, dtype: Any = None) -> keras.Model:
    """Build a network by its role, one of `ROLES`, and name; see `build_generator` and `build_critic`."""
    keywords = checked_options(role, name, options or {})
    if role == "generator":
        keywords = {"image_shape": ANY_SIZE, **keywords}
    return find(role, name).builder(**keywords, dtype=dtype)


def find(role: str, name: str) -> Network:
    """Return the network `name` of a role, one of `ROLES`, or raise InputError with the nearest name."""
    if role not in ROLES:
        raise InputError(f"role: expected one of {', '.join(ROLES)}, received {role!r}")
    if name not in ROLES[role]:
        known = ", ".join(ROLES[role])
        hint = nearest(str(name), ROLES[role])
        raise InputError(f"network: expected a {role}, one of {known}, received {name!r}{hint}")
    return ROLES[role][name]


def in_archive(model_name: str) -> Network | None:
    """Return the network whose models are called so, where a `.keras` archive says that; None for no such name.

    And for the tutorial's, whose archives came from many programs: these are known by the order of their tensors.
    """
    return next((network for network in NETWORKS if network.model_name == model_name and not network.in_order), None)


def recognise(tensors: Tensors) -> tuple[Network, Found]:
    """Return the network that tensors with names of others' make: PyTorch's, or those of the network's authors.

    Raises:
        WeightsError: they are of no network, or do not fit the one that they are of; the message names the first.
    """
    tensors = torch_weights.cleaned(tensors)
    for network in NETWORKS:
        if network.recognise and (found := network.recognise(tensors)) is not None:
            return network, found
    kinds = ", a ".join(network.family or network.kind for network in NETWORKS if network.recognise)
    shapes = [f"{name} {dimensions(tensor.shape)}" for name, tensor in tensors.items()]
    more = f" and {len(shapes) - 5} more" if len(shapes) > 5 else ""
    raise WeightsError(f"expected the tensors of a {kinds}, found {', '.join(shapes[:5]) or 'none'}{more}")


def checked_options(role: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` with tuples for lists; raise InputError for one that is unknown or of another type."""
    network = find(role, name)
    for option, value in options.items():
        if option not in network.defaults:
            known = ", ".join(network.defaults)
            hint = nearest(option, network.defaults)
            raise InputError(f"{option}: expected an option of {name}, one of {known}{hint}")
        network.check(option, value)
    return {option: tuple(value) if isinstance(value, list) else value for option, value in options.items()}


def size_multiple(name: str, options: Mapping[str, Any] | None = None) -> int:
    """Return what the sides of images for a generator must be multiples of; raise InputError as `build_generator`."""
    return find("generator", name).multiple(_all_options(name, options))


def reductions(name: str, options: Mapping[str, Any] | None = None) -> tuple[int, ...]:
    """Return the `Network.reductions` of a generator; raise InputError as `build_generator`."""
    return find("generator", name).reductions(_all_options(name, options))


def without_training(role: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's options without those that only training has a use for."""
    in_training = find(role, name).in_training
    return {option: value for option, value in options.items() if option not in in_training}


def _all_options(name: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**find("generator", name).defaults, **checked_options("generator", name, options or {})}
