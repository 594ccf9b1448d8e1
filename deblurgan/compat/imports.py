"""Old modules that can be imported, and old names in modules that are still there."""

import functools
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from deblurgan.compat.names import MODULES, NAMES, REMOVED
from deblurgan.compat.notices import note, removed
from deblurgan.compat.patches import Patches


class OldModule(ModuleType):
    """A module of `names.MODULES`: its names are those of the modern one."""

    def __getattr__(self, name: str) -> Any:
        return look_up(self.__name__, name)

    @property
    def __all__(self) -> list[str]:
        """What `from ... import *` takes."""
        return [name for name in dir(importlib.import_module(MODULES[self.__name__])) if not name.startswith("_")]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Act as the function of the same name: Keras 1 had `keras.layers.merge`, Keras 2 a module called so."""
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


class OldModules(MetaPathFinder, Loader):
    """Finds the modules of `names.MODULES` when nothing else does."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to make the module `fullname`; None when it is not an old one."""
        if fullname not in MODULES:
            return None
        is_package = any(name.startswith(f"{fullname}.") for name in MODULES)
        return ModuleSpec(fullname, self, origin=f"deblurgan.compat, for {MODULES[fullname]}", is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make the module and say what it is called now."""
        note(f"{spec.name} is now {MODULES[spec.name]}")
        return OldModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: names are looked up when they are asked for."""


def look_up(module: str, name: str) -> Any:
    """Return what the old `name` in `module` stands for now, and note it.

    Raises:
        AttributeError: it is not an old name.
    """
    full = f"{module}.{name}"
    if full in REMOVED:
        return removed(full)
    if full in NAMES:
        note(f"{full} is now {NAMES[full]}")
        return modern(full)
    if full in MODULES:
        return importlib.import_module(full)
    if module in MODULES and not name.startswith("__"):
        return getattr(importlib.import_module(MODULES[module]), name)
    raise AttributeError(f"module {module!r} has no attribute {name!r}, neither in Keras 3 nor in deblurgan.compat")


def modern(full: str) -> Any:
    """Return the object that stands for an old name of `names.NAMES`, written with its module."""
    module, _, name = full.rpartition(".")
    if module == "keras.backend":
        from deblurgan.compat.backend import STAND_INS

        if name in STAND_INS:
            return STAND_INS[name]
    return resolve(NAMES[full])


def resolve(path: str) -> Any:
    """Return the object with this dotted path, whose first part is a package."""
    root, *names = path.split(".")
    return functools.reduce(getattr, names, importlib.import_module(root))


def install(patches: Patches) -> OldModules:
    """Make the old modules and names available; return the finder to be removed with `uninstall`."""
    for owner in sorted({full.rpartition(".")[0] for full in (*MODULES, *NAMES)} - {"", *MODULES}):
        patches.set(importlib.import_module(owner), "__getattr__", functools.partial(look_up, owner))
    for full in REMOVED:
        owner, _, name = full.rpartition(".")
        if owner not in MODULES:
            patches.set(resolve(owner), name, removed(full))
    finder = OldModules()
    sys.meta_path.append(finder)
    return finder


def uninstall(finder: OldModules) -> None:
    """Remove the finder and the modules that it made."""
    sys.meta_path.remove(finder)
    for name, module in list(sys.modules.items()):
        if isinstance(module, OldModule):
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(child, None)
