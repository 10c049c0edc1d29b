"""Finds out what a board's sensor is: a load that switches at known times is played, and the readings say the rest.

`plan` is what is played, `load` plays it on a device, `virtual` on a simulated board; `reference` compares the sensor
with one that is trusted; `finding` puts together what was found as a Calibration.
"""

from __future__ import annotations

from wattvlm.calibrate.finding import Finding, findings
from wattvlm.calibrate.load import Load, Played, TorchLoad, drive
from wattvlm.calibrate.plan import Step, plan_of
from wattvlm.calibrate.reference import Reference, meter_file, trusted_channel

__all__ = [
    "Finding", "Load", "Played", "Reference", "Step", "TorchLoad", "drive", "findings", "meter_file", "plan_of",
    "trusted_channel",
]  # fmt: skip
