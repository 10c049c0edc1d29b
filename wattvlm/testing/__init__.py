"""The virtual machine: hardware with known joules, for wattvlm's tests and for those of its users.

A virtual `libnvidia-ml.so.1` that the real pynvml loads, powercap trees, and power curves whose integral is known.
Importing this package does nothing; each name is loaded when it is first used.
"""

_HOMES = {
    "PowercapPackage": "sysfs",
    "PowercapTree": "sysfs",
    "VirtualGpu": "nvml_library",
    "VirtualNvml": "nvml_library",
    "append_load": "nvml_library",
    "powercap_tree": "sysfs",
}


def __getattr__(name: str) -> object:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'wattvlm.testing' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"wattvlm.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
