"""Groups of arguments: a function takes a few dataclasses, and what calls it gives their fields one by one."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def flattened(function: Callable) -> Callable:
    """A function with the fields of its dataclass arguments in their place, in order.

    typer makes an option and Gradio an input of each, because both read the signature.

    Args:
        function: Each argument whose annotation is a dataclass is a group; no two fields have the same name.
    """
    grouped = inspect.signature(function)
    annotations = {name: p.annotation for name, p in grouped.parameters.items()}
    groups: dict[str, Any] = {name: kind for name, kind in annotations.items() if is_dataclass(kind)}
    flat = grouped.replace(
        parameters=[
            parameter
            for name, p in grouped.parameters.items()
            for parameter in (_parameters(groups[name], p.kind) if name in groups else [p])
        ]
    )

    @functools.wraps(function)
    def call(*arguments, **options) -> object:
        bound = flat.bind(*arguments, **options)
        bound.apply_defaults()
        values = dict(bound.arguments)
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return function(**values)

    call.__signature__ = flat  # pyright: ignore[reportAttributeAccessIssue]
    call.__annotations__ = {name: p.annotation for name, p in flat.parameters.items()}
    return call


def _parameters(group: Any, kind: inspect._ParameterKind) -> list[inspect.Parameter]:
    return [inspect.Parameter(x.name, kind, default=_default(x), annotation=x.type) for x in fields(group)]


def _default(field: Field) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is MISSING else field.default
