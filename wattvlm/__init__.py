"""Joules for any vision-language model call, by phase, domain and token, with intervals that hold.

    with wattvlm.meter() as m:
        model.generate(**inputs)
    print(m.report)

Importing this package does nothing; each name is loaded when it is first used.
"""

__version__ = "0.1.0"

__all__ = ["Recording", "Report", "analyze", "meter", "render", "sensors", "studies", "testing"]

TYPE_CHECKING = False  # what type checkers take for typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from wattvlm import studies as studies
    from wattvlm import testing as testing
    from wattvlm.attribution import analyze as analyze
    from wattvlm.metering import meter as meter
    from wattvlm.recording import Recording as Recording
    from wattvlm.renderers import render as render
    from wattvlm.report import Report as Report
    from wattvlm.sampling.discovery import sensors as sensors

_HOMES = {
    "Recording": "recording",
    "Report": "report",
    "analyze": "attribution",
    "meter": "metering",
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
    return sorted({*(name for name in globals() if name.startswith("_")), *__all__})
