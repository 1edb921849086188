"""slicer.packaging: real checks, recorded requests, no installation."""

import sys
import types
from importlib import metadata

import slicer
from packaging.requirements import Requirement

requested = []  # every requirement that module code asked Slicer to install


def _as_list(requirements):
    if isinstance(requirements, str):
        requirements = requirements.split()
    items = requirements if isinstance(requirements, list | tuple) else [requirements]
    return [r if isinstance(r, Requirement) else Requirement(r) for r in items]


def load_requirements(path):
    """The requirements of a text file, without its comments."""
    with open(path) as file:
        lines = (line.split("#")[0].strip() for line in file)
        return [Requirement(line) for line in lines if line]


def pip_check(req):
    """Whether all requirements are met by what is installed."""
    needed = (r for r in _as_list(req) if not r.marker or r.marker.evaluate())
    return all(_is_met(requirement) for requirement in needed)


def _is_met(requirement):
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def pip_install(requirements, **kwargs):
    """Only notes what was asked for; slicer.util.pip_install comes here too."""
    requested.append(requirements)


def pip_uninstall(requirements, **kwargs):
    """Removes nothing."""


def pip_ensure(requirements, requester=None, **kwargs):
    """Asks for the requirements that are not met."""
    missing = [str(r) for r in _as_list(requirements) if not pip_check(r)]
    if missing:
        pip_install(missing)


def register():
    """Makes slicer.packaging importable."""
    module = types.ModuleType("slicer.packaging")
    for function in (load_requirements, pip_check, pip_install, pip_uninstall, pip_ensure):
        setattr(module, function.__name__, function)
    slicer.packaging = sys.modules[module.__name__] = module
