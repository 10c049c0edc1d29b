"""The virtual machine: hardware with known joules, for wattvlm's tests and for those of its users.

A virtual `libnvidia-ml.so.1` that the real pynvml loads, powercap trees, and power curves whose integral is known.
Importing this package does nothing; each name is loaded when it is first used.
"""

_HOMES = {
    "FakeClock": "machine",
    "LoadFile": "power",
    "PowerCurve": "power",
    "PowercapPackage": "sysfs",
    "PowercapTree": "sysfs",
    "Script": "sessions",
    "ScriptedPhase": "sessions",
    "Simulation": "sessions",
    "VirtualGpu": "nvml_library",
    "VirtualMachine": "machine",
    "VirtualNvml": "nvml_library",
    "VirtualSensor": "machine",
    "append_load": "nvml_library",
    "data_centre_session": "scenarios",
    "powercap_tree": "sysfs",
    "simulate": "sessions",
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
