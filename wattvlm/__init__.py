"""Joules for any vision-language model call, by phase, domain and token, with intervals that hold.

    with wattvlm.meter() as m:
        model.generate(**inputs)
    print(m.report)

Importing this package does nothing; each name is loaded when it is first used.
"""

__version__ = "0.1.0"

__all__ = ["Recording", "Report", "analyze", "meter", "render", "sensors", "studies", "testing"]

_HOMES = {
    "Recording": "recording",
    "Report": "report",
    "analyze": "attribution",
    "meter": "meter",
    "render": "renderers",
    "sensors": "sampling.discovery",
}


def __getattr__(name: str) -> object:
    import importlib

    if name in _HOMES:
        value: object = getattr(importlib.import_module(f"wattvlm.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in __all__:
        return importlib.import_module(f"wattvlm.{name}")
    raise AttributeError(f"module 'wattvlm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
