"""pytest: the fixture `energy_benchmark`, the marker `energy`, and the options --energy-...; see docs/pytest.md.

Only pytest's hooks are here. What they do is in `wattvlm.regression`, imported when the first test asks for energy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from wattvlm.regression.session import EnergyBenchmark, EnergySession, Wish
    from wattvlm.sensing import ProbeSource

_MARKER = (
    "energy(rounds=20, until=0.02, joules_per_request=520, visual_input_tokens=576, ...): how often energy_benchmark "
    "repeats (at least `rounds`, until the interval's half-width is `until` of the value), and upper bounds of metrics"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("energy", "joules of model calls (wattvlm)")
    group.addoption(
        "--energy-save", nargs="?", const="baseline", metavar="NAME",
        help="save what each measured test took as a baseline of that name (default: baseline)",
    )  # fmt: skip
    group.addoption(
        "--energy-compare", nargs="?", const="baseline", metavar="NAME",
        help="compare with a saved baseline: its name, or its file",
    )  # fmt: skip
    group.addoption(
        "--energy-compare-fail", metavar="METRIC:THRESHOLD,...",
        help="fail a test whose metric is surely worse than the baseline by more than the threshold, such as "
        "joules_per_output_token:5%%,visual_input:0; counts may not change unless a threshold allows it",
    )  # fmt: skip
    group.addoption(
        "--energy-require", action="store_true", help="fail tests whose joules are not measured, or not checked"
    )
    group.addoption(
        "--energy-baselines", metavar="FOLDER",
        help="where baselines are (default: the ini option energy_baselines, else energy-baselines in pytest's root)",
    )  # fmt: skip
    group.addoption(
        "--energy-max-time", type=float, default=60.0, metavar="SECONDS",
        help="measure each energy_benchmark for at most this long, once five rounds are done (default: 60)",
    )  # fmt: skip
    parser.addini("energy_baselines", "the folder of energy baselines, from pytest's root", default="energy-baselines")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    options = [config.getoption(f"energy_{name}", None) for name in ("save", "compare", "compare_fail")]
    if any(option is not None for option in options) or config.getoption("energy_require"):
        _session_of(config)


def pytest_itemcollected(item: pytest.Item) -> None:
    """`-m energy` selects every test that asks for the fixture, whether it has the marker or not."""
    if "energy_benchmark" in getattr(item, "fixturenames", ()) and item.get_closest_marker("energy") is None:
        item.add_marker("energy")


@pytest.fixture(scope="session")
def energy_probes() -> Sequence[ProbeSource] | None:
    """The sensors that energy_benchmark reads; None: all that the machine has. Override it to choose others."""
    return None


@pytest.fixture
def energy_benchmark(request: pytest.FixtureRequest, energy_probes: Sequence[ProbeSource] | None) -> EnergyBenchmark:
    """energy_benchmark(function, *args, **kwargs): repeats it under a meter and gives the result of the last call."""
    from wattvlm.regression.session import UNDER_XDIST, EnergyBenchmark

    if hasattr(request.config, "workerinput"):
        pytest.fail(UNDER_XDIST, pytrace=False)
    node = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType] (pytest leaves it untyped)
    benchmark = EnergyBenchmark(node.nodeid, _wish_of(node).plan, energy_probes, _extra_info(request))
    node.stash[_BENCHMARK] = benchmark
    return benchmark


def _extra_info(request: pytest.FixtureRequest) -> dict[str, Any] | None:
    """What pytest-benchmark saves beside the times of this test; None where the test does not use its fixture."""
    if "benchmark" not in request.fixturenames:
        return None
    return cast("dict[str, Any] | None", getattr(request.getfixturevalue("benchmark"), "extra_info", None))


_BENCHMARK = pytest.StashKey["EnergyBenchmark"]()
_SESSION = pytest.StashKey["EnergySession"]()


def _wish_of(item: pytest.Item) -> Wish:
    """What the test's markers ask for; a marker that cannot be is a failure of the test."""
    from wattvlm.regression.session import limit_ns_of, wish_of

    try:
        return wish_of(item.iter_markers("energy"), limit_ns_of(float(str(item.config.getoption("energy_max_time")))))
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)


def _session_of(config: pytest.Config) -> EnergySession:
    """The session, made when it is first asked for; options that cannot be followed end the run before it begins."""
    if _SESSION not in config.stash:
        from wattvlm.errors import ReportFormatError
        from wattvlm.regression.session import EnergySession, settings_of

        folder = config.getoption("energy_baselines") or config.rootpath / str(config.getini("energy_baselines"))
        save, compare, fail = (config.getoption(f"energy_{name}") for name in ("save", "compare", "compare_fail"))
        try:
            settings = settings_of(
                Path(str(folder)), save, compare, fail, is_required=bool(config.getoption("energy_require"))
            )
        except (ValueError, ReportFormatError) as error:
            raise pytest.UsageError(str(error)) from error
        config.stash[_SESSION] = EnergySession(settings)
    return config.stash[_SESSION]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """After a test that passed: its bounds and its baseline, as a failure of the test itself."""
    result = yield
    if item.get_closest_marker("energy") is not None:
        failure = _session_of(item.config).check(item.nodeid, _wish_of(item), item.stash.get(_BENCHMARK, None))
        if failure:
            pytest.fail(failure, pytrace=False)
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _SESSION in session.config.stash and not _session_of(session.config).save():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _SESSION in config.stash:
        for line in _session_of(config).lines():
            terminalreporter.write_line(line)
