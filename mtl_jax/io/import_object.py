"""Import the object that a module of a registry defines, such as a backbone or a stage."""

import importlib
from collections.abc import Mapping
from typing import TypeVar

from mtl_jax.types import InputError

T = TypeVar("T")


def import_object(
    modules: Mapping[str, str], name: str, attribute: str, kind: type[T], registry: str
) -> T:
    """Return `attribute` of the module that `modules` has for `name`, an object of type `kind`.

    Raises InputError, with the name of the `registry`, if there is no such module or object.
    """
    if name not in modules:
        raise InputError(f"{registry} has no {name!r}: expected one of {', '.join(modules)}")
    where = f"module {modules[name]} of {name!r} ({registry})"
    try:
        value = getattr(importlib.import_module(modules[name]), attribute, None)
    except (ImportError, SyntaxError) as error:
        raise InputError(f"{where}: cannot be imported ({error})") from error
    if not isinstance(value, kind):
        raise InputError(f"{where}: does not define {attribute}, an object of {kind.__name__}")
    return value
