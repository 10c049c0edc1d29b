"""The virtual machine: hardware with known joules, for wattvlm's tests and for those of its users.

A virtual `libnvidia-ml.so.1` that the real pynvml loads, powercap trees, power curves whose integral is known, and
scripted sessions of model calls seen through stated sensors:

    script = Script(phases=(ScriptedPhase("prefill", 120_000_000, {"gpu": 640.0}),), calls=20)
    session = simulate(script, [VirtualSensor("gpu-0/board", max_power_w=700.0)], seed=1)
    wattvlm.analyze(session.recording).joules("prefill"), session.truth_j["gpu"]

Importing this package does nothing; each name is loaded when it is first used.
"""

TYPE_CHECKING = False  # what type checkers take for typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from wattvlm.probes.virtual import VirtualSensor as VirtualSensor
    from wattvlm.testing.capped import CappedChip as CappedChip
    from wattvlm.testing.capped import Work as Work
    from wattvlm.testing.costs import CostModel as CostModel
    from wattvlm.testing.costs import Request as Request
    from wattvlm.testing.machine import FakeClock as FakeClock
    from wattvlm.testing.machine import VirtualMachine as VirtualMachine
    from wattvlm.testing.nvml_library import VirtualGpu as VirtualGpu
    from wattvlm.testing.nvml_library import VirtualNvml as VirtualNvml
    from wattvlm.testing.nvml_library import append_load as append_load
    from wattvlm.testing.power import LoadFile as LoadFile
    from wattvlm.testing.power import PowerCurve as PowerCurve
    from wattvlm.testing.scenarios import data_centre_session as data_centre_session
    from wattvlm.testing.sessions import Script as Script
    from wattvlm.testing.sessions import ScriptedPhase as ScriptedPhase
    from wattvlm.testing.sessions import Simulation as Simulation
    from wattvlm.testing.sessions import simulate as simulate
    from wattvlm.testing.sysfs import PowercapPackage as PowercapPackage
    from wattvlm.testing.sysfs import PowercapTree as PowercapTree
    from wattvlm.testing.sysfs import powercap_tree as powercap_tree

_HOMES = {
    "CappedChip": "capped",
    "CostModel": "costs",
    "FakeClock": "machine",
    "LoadFile": "power",
    "PowerCurve": "power",
    "PowercapPackage": "sysfs",
    "PowercapTree": "sysfs",
    "Request": "costs",
    "Script": "sessions",
    "ScriptedPhase": "sessions",
    "Simulation": "sessions",
    "VirtualGpu": "nvml_library",
    "VirtualMachine": "machine",
    "VirtualNvml": "nvml_library",
    "VirtualSensor": "machine",
    "Work": "capped",
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
