"""The errors of wattvlm; none of them is ever raised into a measured call.

WattvlmError
    ProbeError              a sensor could not be opened or read
        ProbeUnavailable    it is not here, or may not be read: what, effect, remedy
        ProbeRetry          this one read failed; the next may work (becomes a Gap)
        ProbeLost           it will not come back (becomes a Gap to the end)
    SamplerError            the sampling process died, or cannot keep the period
    NotResolved             joules asked for a phase that the readings cannot resolve
    NotComparable           the joules of two runs are not of one kind
    RecordingsDoNotJoin     recordings are not of one job
    TraceError              phases of one call overlap on one lane, or tokens outside a call
    ReportFormatError       a file is broken, foreign, or of an unknown schema version
"""


class WattvlmError(Exception):
    """Root of all errors of wattvlm."""


class ProbeError(WattvlmError):
    """A sensor could not be opened or read."""


class ProbeUnavailable(ProbeError):
    """A sensor is not on this machine or may not be read.

    what: what happened. effect: what it does to the numbers. remedy: the command or step that cures it.
    """

    def __init__(self, what: str, effect: str, remedy: str) -> None:
        super().__init__(f"{what}; {effect}. Cure: {remedy}")
        self.what = what
        self.effect = effect
        self.remedy = remedy


class ProbeRetry(ProbeError):
    """One read failed and the next may work: the time between is a Gap."""


class ProbeLost(ProbeError):
    """The sensor will not come back in this run: a Gap to the end of the recording."""


class SamplerError(WattvlmError):
    """The sampling process died or cannot keep its period."""


class NotResolved(WattvlmError):
    """Joules were asked for a phase that the readings cannot tell apart from its neighbours."""


class NotComparable(WattvlmError):
    """The joules of two runs are not of one kind: another sensor, device, driver or power limit.

    kinds: the names under which a user allows each difference all the same.
    """

    def __init__(self, message: str, kinds: tuple[str, ...]) -> None:
        super().__init__(message)
        self.kinds = kinds


class RecordingsDoNotJoin(WattvlmError):
    """Recordings cannot be brought together as those of one job."""


class TraceError(WattvlmError):
    """Phases of one call overlap on one lane, or tokens were given outside any call."""


class ReportFormatError(WattvlmError):
    """A file is not what it should be: broken, of another kind, or of an unknown schema version."""
