"""RAPL for users who may not read it: the same joules, from a service that nobody can crash, fill or hold up."""

from __future__ import annotations

import os
import random
import socket
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.probes.rapl_serving import serving
from wattvlm.cli import main
from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.probes import _rapl_socket as protocol
from wattvlm.probes.perf_rapl import PerfRaplProbe
from wattvlm.probes.rapl import RaplProbe
from wattvlm.probes.rapl_service import RaplServiceProbe
from wattvlm.rapl_service import (
    LONGEST_SILENCE_NS,
    MOST_OF_ONE_USER,
    MOST_REQUESTS_A_SECOND,
    MOST_UNSENT_BYTES,
    NoService,
    RaplService,
    listening,
)
from wattvlm.testing import FakeClock, PowercapPackage, PowercapTree, powercap_tree

ZONES = ("package-0", "package-0/core", "package-0/dram", "psys")
READ_FIRST = protocol.REQUEST.pack(protocol.MAGIC, protocol.READ, 0, 0)


def rapl(tree: PowercapTree, folder: Path, **options) -> RaplProbe:
    return RaplProbe(tree.root, host_root=folder / "host", **{"service": None, **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rapl")


@pytest.fixture(scope="module")
def tree(folder: Path) -> PowercapTree:
    return powercap_tree(folder / "powercap", [PowercapPackage(parts=("core", "dram"))], psys=True)


@pytest.fixture(scope="module")
def path(folder: Path, tree: PowercapTree) -> Iterator[Path]:
    with serving(rapl(tree, folder), folder / "rapl.sock"):
        yield folder / "rapl.sock"


@pytest.fixture
def denied(tree: PowercapTree) -> Iterator[PowercapTree]:
    """The tree as an unprivileged user sees it through `tree.opener`."""
    tree.deny(*ZONES)
    yield tree
    tree.denied.clear()


def client(path: Path, tree: PowercapTree) -> RaplServiceProbe:
    return RaplServiceProbe(path, powercap_roots=(tree.root,), opener=tree.opener)


def test_a_user_who_may_not_read_rapl_gets_the_same_joules_and_is_told_who_read_them(path, denied, folder):
    with closing(client(path, denied)) as probe, closing(rapl(denied, folder)) as direct:
        found, own = probe.open(), direct.open()
        assert [channel.name for channel in found.channels] == [channel.name for channel in own.channels]
        for number, (seen, known) in enumerate(zip(found.channels, own.channels, strict=True)):
            denied.set_energy_j(ZONES[number], 1234.5 + number)
            (reading,) = probe.read(seen)
            assert reading.energy_j == direct.read(known)[0].energy_j == pytest.approx(1234.5 + number)
            assert reading.unchanged_at_ns <= reading.time_ns
            assert (seen.wraps_at_j, seen.contained_in, seen.max_power_w) == (
                known.wraps_at_j, known.contained_in, known.max_power_w,
            )  # fmt: skip
            assert seen.sensor == f"{known.sensor} (read by the service)"
            assert "read by the service" in seen.source["value"]


def test_who_may_read_rapl_himself_has_no_second_channel_of_it(path, tree):
    with closing(client(path, tree)) as probe:
        assert probe.open().channels == ()


def test_where_the_service_reads_nothing_is_absent_and_perf_counts_no_joule_twice(path, denied, folder):
    without = rapl(denied, folder, opener=denied.opener).open()
    beside = rapl(denied, folder, opener=denied.opener, service=path).open()
    assert [each.what[:6] for each in without.absent] == ["denied"] * 3
    assert (beside.channels, beside.absent) == ((), ())
    (folder / "pmu").mkdir(exist_ok=True)
    (folder / "pmu/type").write_text("14")
    perf = PerfRaplProbe(folder / "pmu", powercap_roots=(denied.root,), opener=denied.opener, service=path)
    assert perf.open().channels == ()
    hidden = RaplProbe(folder / "no powercap here", host_root=folder / "host", service=path)
    assert hidden.open().absent == ()


def test_a_machine_without_the_service_is_not_told_of_it(folder, denied):
    with closing(client(folder / "no.sock", denied)) as probe:
        assert probe.open() == type(probe.open())(())


def test_a_dead_service_is_absent_with_the_cure(folder, denied):
    dead = folder / "dead.sock"
    with closing(socket.socket(socket.AF_UNIX)) as abandoned:
        abandoned.bind(str(dead))
    with closing(client(dead, denied)) as probe:
        (absence,) = probe.open().absent
    assert "cannot be used" in absence.what
    assert "serve-rapl" in absence.remedy


def test_a_service_that_is_started_again_is_found_again(denied, folder):
    path = folder / "again.sock"
    probe = client(path, denied)
    with serving(rapl(denied, folder), path):
        channel = probe.open().channels[0]
        probe.read(channel)
    for _ in range(2):
        with pytest.raises(ProbeRetry):
            probe.read(channel)
    with serving(rapl(denied, folder), path):
        assert probe.read(channel)[0].channel == channel.name
    other = powercap_tree(folder / "other", [PowercapPackage(1, parts=())])
    with pytest.raises(ProbeRetry):
        probe.read(channel)
    with serving(rapl(other, folder), path), pytest.raises(ProbeLost):
        probe.read(channel)
    probe.close()


def connected(path: Path) -> socket.socket:
    wire = socket.socket(socket.AF_UNIX)
    wire.settimeout(10)
    wire.connect(str(path))
    return wire


def is_answered(path: Path) -> bool:
    with connected(path) as wire:
        return protocol.read(wire, 0)[0] == protocol.GOOD


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200) | st.just(READ_FIRST) | st.builds(
    protocol.REQUEST.pack, st.just(protocol.MAGIC), st.integers(0, 255), st.integers(0, 255), st.integers(0, 65535)
), max_size=6))  # fmt: skip
def test_no_bytes_crash_the_service_or_are_answered_with_more_than_was_asked(path, pieces):
    with connected(path) as wire:
        try:
            for piece in pieces:
                wire.sendall(piece)
            wire.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    asked = sum(map(len, pieces)) // protocol.REQUEST.size
    assert len(answer) <= asked * protocol.LONGEST_LIST_BYTES
    assert is_answered(path)


def test_nonsense_grows_no_memory(tree, folder):
    drawn = random.Random(1)
    with listening(folder / "grown.sock", None) as listener:
        service = RaplService(rapl(tree, folder), listener)
        service.open()
        sizes = []
        tracemalloc.start()
        for number in range(600):
            with connected(folder / "grown.sock") as wire:
                wire.sendall(READ_FIRST * drawn.randrange(4) + drawn.randbytes(drawn.randrange(300)))
                for _ in range(3):
                    service.turn(0.0)
            service.turn(0.0)
            if number % 200 == 199:
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert service.connections == 0
        service.close()
    assert sizes[-1] - sizes[0] < 20_000


def test_half_a_request_holds_up_nobody(path):
    with connected(path) as slow:
        slow.sendall(READ_FIRST[:5])
        assert all(is_answered(path) for _ in range(5))
        slow.sendall(READ_FIRST[5:])
        assert protocol.READING.unpack(protocol.received(slow, protocol.READING.size))[1] == protocol.GOOD


def test_who_takes_no_answers_is_hung_up_on_and_holds_up_nobody(path):
    with connected(path) as greedy:
        asked = protocol.REQUEST.pack(protocol.MAGIC, protocol.LIST, 0, 0)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012  # one of many sends is refused
            for _ in range(50 * MOST_UNSENT_BYTES // 8):
                greedy.sendall(asked)
        assert is_answered(path)


def test_more_requests_in_a_second_than_a_meter_asks_end_the_connection(tree, folder):
    clock = FakeClock()
    with listening(folder / "rate.sock", None) as listener:
        service = RaplService(rapl(tree, folder), listener, clock)
        service.open()
        with connected(folder / "rate.sock") as wire:
            service.turn(1.0)
            for _ in range(2):
                for _ in range(MOST_REQUESTS_A_SECOND):
                    wire.sendall(READ_FIRST)
                    service.turn(1.0)
                    protocol.received(wire, protocol.READING.size)
                assert service.connections == 1
                clock.advance(1_000_000_000)
            for _ in range(MOST_REQUESTS_A_SECOND + 1):
                wire.sendall(READ_FIRST)
                service.turn(1.0)
            assert service.connections == 0
        service.close()


def test_one_user_cannot_take_all_connections_and_silent_ones_end(tree, folder):
    clock = FakeClock()
    with listening(folder / "many.sock", None) as listener:
        service = RaplService(rapl(tree, folder), listener, clock)
        service.open()
        wires = []
        for _ in range(MOST_OF_ONE_USER + 5):
            wires.append(connected(folder / "many.sock"))
            service.turn(1.0)
        assert service.connections == MOST_OF_ONE_USER
        clock.advance(LONGEST_SILENCE_NS + 1)
        service.turn(0.0)
        assert service.connections == 0
        for wire in wires:
            wire.close()
        service.close()


def test_only_owner_and_group_may_connect(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def seen_by(user: int, group: int, path: Path, tree: PowercapTree) -> str:
    """What the sensor finds for another user, in a copy of this process that has become that user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            probe = client(path, tree)
            found = probe.open()
            words = "; ".join(each.what for each in found.absent)
            joules = [probe.read(channel)[0].energy_j for channel in found.channels]
            os.write(writer, f"{len(joules)} channels. {words}".encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        return told.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_members_of_the_group_read_and_others_are_told_that_they_may_not(denied, folder):
    group, other = 61_234, 61_235
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to others
        Path(name).chmod(0o755)
        path = Path(name) / "rapl.sock"
        with serving(rapl(denied, folder), path):
            os.chown(path, 0, group)
            assert seen_by(61_000, group, path, denied) == "4 channels. "
            assert seen_by(61_000, other, path, denied).startswith("0 channels. denied: this user may not use")
            os.chown(name, 0, group)
            Path(name).chmod(0o750)  # as the systemd unit's RuntimeDirectory
            assert seen_by(61_000, group, path, denied) == "4 channels. "
            assert seen_by(61_000, other, path, denied).startswith("0 channels. denied: this user may not use")


def test_what_cannot_be_started_says_why_and_leaves_other_files_alone(path, folder, tree):
    (folder / "file").write_text("mine")
    for taken, why in ((folder / "file", "no socket"), (path, "answers"), (folder / "no folder/x", "Cure")):
        with pytest.raises(NoService, match=why), listening(taken, None):
            pass
    assert (folder / "file").read_text() == "mine"
    assert is_answered(path)
    with pytest.raises(NoService, match="groupadd"), listening(folder / "y", "no such group"):
        pass
    empty = RaplService(RaplProbe(folder / "nothing", host_root=folder / "nothing", service=None), socket.socket())
    with pytest.raises(NoService, match="Cure"):
        empty.open()


def test_a_killed_services_socket_is_taken_over(folder, tree):
    left = folder / "left.sock"
    with closing(socket.socket(socket.AF_UNIX)) as killed:
        killed.bind(str(left))
    with serving(rapl(tree, folder), left):
        assert is_answered(left)
    assert not left.exists()


def test_after_it_has_opened_its_counters_the_service_opens_no_file_whatever_it_is_sent(tree, folder):
    program = f"""
import random, socket, sys
from pathlib import Path
from wattvlm.probes.rapl import RaplProbe
from wattvlm.rapl_service import RaplService, listening
path = Path({str(folder / "audited.sock")!r})
drawn = random.Random(2)
with listening(path, None) as listener:
    service = RaplService(RaplProbe(Path({str(tree.root)!r}), host_root=path, service=None), listener)
    service.open()
    seen = []
    sys.addaudithook(lambda event, arguments: seen.append(event))
    for _ in range(200):
        wire = socket.socket(socket.AF_UNIX)
        wire.connect(str(path))
        wire.sendall({READ_FIRST!r} + drawn.randbytes(40) + b"/etc/shadow" * 3)
        for _ in range(3):
            service.turn(0.0)
        wire.close()
    print(sorted(set(seen) - {{"socket.connect", "socket.__new__"}}))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_says_what_is_missing_here(tmp_path):
    if Path("/sys/class/powercap").exists():
        pytest.skip("this machine may have RAPL")
    done = CliRunner().invoke(main, ["serve-rapl", "--socket", str(tmp_path / "rapl.sock")])
    assert done.exit_code == 3
    assert "Cure" in done.output
    assert not (tmp_path / "rapl.sock").exists()
