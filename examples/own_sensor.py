"""A sensor of your own: one class, given to the meter by name (or registered as an entry point of wattvlm.probes)."""

from collections.abc import Sequence

import wattvlm
from wattvlm.clock import SystemClock
from wattvlm.sensing import Channel, Domain, PowerReading, ProbeSource, Reading, Sensors


class Battery:
    """The power that a laptop's battery gives, in place of a real sensor: a steady 12 W."""

    domain: Domain = "node"

    def __init__(self, power_w: float = 12.0) -> None:
        self._power_w = power_w
        self._clock = SystemClock()

    def open(self) -> Sensors:
        """One channel: the whole node."""
        channel = Channel(
            name="battery/output", sensor="battery gauge", device="laptop battery", domain="node", method="power",
            update_period_ns=100_000_000, window_ns=100_000_000, max_power_w=60.0, gain_std_fraction=0.02,
        )  # fmt: skip
        return Sensors((channel,))

    def read(self, channel: Channel) -> Sequence[Reading]:
        """The power now, in watts."""
        return [PowerReading(channel.name, time_ns=self._clock.monotonic_ns(), took_ns=0, power_w=self._power_w)]

    def close(self) -> None:
        """Nothing to give back."""


if __name__ == "__main__":
    battery = ProbeSource("own_sensor:Battery", {"power_w": 15.0})
    with wattvlm.meter(label="on battery", probes=[battery]) as m, m.phase("sum"):
        sum(number * number for number in range(5_000_000))
    print(m.report)
