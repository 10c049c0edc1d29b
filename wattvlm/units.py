"""The only place with unit conversion factors, and how joules, watts and times are written."""

NS_PER_HOUR = 3_600_000_000_000
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000
S_PER_NS = 1e-9
MS_PER_NS = 1e-6
J_PER_MILLIJOULE = 1e-3
J_PER_MICROJOULE = 1e-6
W_PER_MILLIWATT = 1e-3
W_PER_MICROWATT = 1e-6
HZ_PER_MHZ = 1e6
J_PER_WH = 3600.0
J_PER_KWH = 3.6e6
J_PER_KJ = 1e3
BYTES_PER_GB = 1e9
MILLION = 1_000_000
BILLION = 1_000_000_000
SQRT_12 = 12.0**0.5
"""A uniform error of full width w has the standard deviation w / sqrt(12)."""

_ENERGY_STEPS = ((1e6, 1e-6, "MJ"), (1e4, 1e-3, "kJ"), (1.0, 1.0, "J"), (1e-3, 1e3, "mJ"), (0.0, 1e6, "µJ"))


def energy_scale(energy_j: float) -> tuple[float, str]:
    """The factor and unit in which an energy in joules reads best: (1000.0, "mJ") for 0.0975 J."""
    size = abs(energy_j)
    if size == 0.0:
        return 1.0, "J"
    for least_j, factor, unit in _ENERGY_STEPS:
        if size >= least_j:
            return factor, unit
    return 1e6, "µJ"


def format_significant(value: float, digits: int = 4) -> str:
    """A number with `digits` significant digits and no exponent: 503.5, 5.240, 0.09750 (at most 9 decimals)."""
    if value == 0.0:
        return "0"
    size = abs(value)
    decimals = 0
    while size < 10 ** (digits - 1) and decimals < 9:
        size *= 10.0
        decimals += 1
    return f"{value:.{decimals}f}"


def format_j(energy_j: float, digits: int = 4) -> str:
    """An energy in joules as text with its unit: '503.5 J', '97.50 mJ'."""
    factor, unit = energy_scale(energy_j)
    return f"{format_significant(energy_j * factor, digits)} {unit}"


def format_w(power_w: float, digits: int = 3) -> str:
    """A power in watts as text with its unit: '68.0 W'."""
    return f"{format_significant(power_w, digits)} W"


def format_ns(duration_ns: float) -> str:
    """A duration in nanoseconds as text with three significant digits: '52 ms', '2.41 s', '140 µs'."""
    if abs(duration_ns) >= NS_PER_S:
        return f"{format_significant(duration_ns / NS_PER_S, 3)} s"
    if abs(duration_ns) >= NS_PER_MS:
        milliseconds = duration_ns / NS_PER_MS
        return f"{milliseconds:.0f} ms" if abs(milliseconds) >= 20 else f"{milliseconds:.1f} ms"
    return f"{duration_ns / NS_PER_US:.0f} µs"
