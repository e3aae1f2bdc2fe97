"""Finding every declared endpoint by importing the modules of routes."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Final

from homeserver.web.endpoint import Endpoint, endpoints_of

# Where endpoints may be declared: `routes` of the four edges, and two modules beside them.
EDGES: Final = ("client_api", "federation", "media_repo", "appservices")
OTHERS: Final = ("homeserver.run.health", "homeserver.web.listing")


def collect_endpoints(
    packages: Iterable[str] = EDGES, modules: Iterable[str] = OTHERS
) -> list[Endpoint]:
    """Return the endpoints of all `routes` modules of the packages and of single modules."""
    names = [name for package in packages for name in _routes_modules(package)]
    imported = [importlib.import_module(name) for name in (*names, *modules)]
    return [
        declared
        for module in imported
        for routes in _own_classes(module)
        for _, declared in endpoints_of(routes)
    ]


def _routes_modules(package: str) -> Iterator[str]:
    found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    for module in found:
        if "routes" in module.name.split("."):
            yield module.name


def _own_classes(module: ModuleType) -> Iterator[type]:
    # A class that was imported from elsewhere is found where it is written.
    for _, member in inspect.getmembers(module, inspect.isclass):
        if member.__module__ == module.__name__:
            yield member
