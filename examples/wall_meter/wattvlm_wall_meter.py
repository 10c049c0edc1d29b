"""A wall meter or smart plug that answers JSON over HTTP, as a sensor of wattvlm: the power of the whole machine."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Sequence
from urllib.error import URLError

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeRetry, ProbeUnavailable
from wattvlm.sensing import Channel, Domain, PowerReading, Reading, Sensors

URL = "WALL_METER_URL"
LONGEST_ANSWER_S = 2.0


class WallMeter:
    """The meter at an address (default: the environment's WALL_METER_URL); `field` is its power in watts."""

    domain: Domain = "node"

    def __init__(self, url: str | None = None, field: str = "apower", clock: Clock | None = None) -> None:
        self._url = url or os.environ.get(URL, "")
        self._field = field
        self._clock = clock or SystemClock()

    def open(self) -> Sensors:
        """One channel, the whole machine; nothing where no address is given."""
        if not self._url:
            return Sensors(())
        try:
            self._power_w()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ProbeUnavailable(
                f"the wall meter at {self._url} gave no power: {error!r}",
                "the joules of the whole machine are absent",
                f"open the address in a browser: it must show JSON with {self._field!r} in watts; else correct {URL}",
            ) from error
        return Sensors((
            Channel(
                name="wall/meter", sensor="wall meter over HTTP", device="whole machine", domain="node", method="power",
                update_period_ns=1_000_000_000, resolution_w=0.1, gain_std_fraction=0.01,
                source={"update_period_ns": "the maker's manual", "gain_std_fraction": "the maker's manual: 1 %"},
            ),
        ))  # fmt: skip

    def read(self, channel: Channel) -> Sequence[Reading]:
        """The power now; a meter that does not answer is a gap, not zero."""
        start_ns = self._clock.monotonic_ns()
        try:
            power_w = self._power_w()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ProbeRetry(f"the wall meter did not answer: {error!r}") from error
        end_ns = self._clock.monotonic_ns()
        return [PowerReading(channel.name, end_ns, end_ns - start_ns, power_w)]

    def _power_w(self) -> float:
        if not self._url.startswith(("http://", "https://")):
            raise URLError("not an HTTP address")
        with urllib.request.urlopen(self._url, timeout=LONGEST_ANSWER_S) as answer:
            return float(json.load(answer)[self._field])

    def close(self) -> None:
        """Nothing is kept open."""
