"""Files of nouns: what is saved is what is loaded, and whatever else a file is, it is refused in words."""

from __future__ import annotations

import gzip
import json
import os
import random
import stat
import threading
import tracemalloc
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattvlm import filing
from wattvlm.calibration import PLAUSIBLE_GAIN, Calibration
from wattvlm.energy import DRAWS, Energy, Provenance
from wattvlm.errors import ReportFormatError
from wattvlm.host import Host
from wattvlm.recording import Readings, Recording, States
from wattvlm.report import Idle, Part, PartEnergy, PowerTrack, Report
from wattvlm.sensing import DOMAINS, QUANTITIES, Channel
from wattvlm.trace import Mark, TokenCounts

Noun = Recording | Report

FINITE = st.floats(allow_nan=False, allow_infinity=False)
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    float: FINITE, int: INT64, str: st.text(max_size=8), bool: st.booleans(),
}  # fmt: skip


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a noun's field, found from its type: a field that is added later is filed and tested too."""
    if kind in (Energy, Readings, States, Recording, Calibration, PowerTrack):
        composite: dict[Any, st.SearchStrategy[Any]] = {
            Energy: energies(), Readings: readings(), States: states(), Recording: recordings(),
            Calibration: calibrations(), PowerTrack: tracks(),
        }  # fmt: skip
        return composite[kind]
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{each.name: anything(hints[each.name]) for each in fields(kind)})
    members = get_args(kind)
    if get_origin(kind) is Literal:
        return st.sampled_from(members)
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of(st.none(), *(anything(member) for member in members if member is not type(None)))
    if get_origin(kind) is tuple and members[1] is Ellipsis:
        return st.lists(anything(members[0]), max_size=2).map(tuple)
    if get_origin(kind) is tuple:
        return st.tuples(*map(anything, members))
    if get_origin(kind) is not None and issubclass(get_origin(kind), Mapping):
        return st.dictionaries(*map(anything, members), max_size=2)
    return SCALARS[kind]


@st.composite
def energies(draw: st.DrawFn) -> Energy:
    method: Provenance = draw(st.sampled_from(("measured", "modelled")))
    gains_j = draw(st.dictionaries(st.text(max_size=3), FINITE, max_size=2))
    if draw(st.booleans()):
        mean_j, std_j = draw(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e6)))
        joint = np.random.default_rng(draw(st.integers(0, 9))).normal(mean_j, std_j, DRAWS)
        return Energy.from_draws(joint, method, gains_j)
    low_j, high_j = sorted(draw(st.tuples(FINITE, FINITE)))
    return Energy(draw(st.none() | FINITE), (low_j, high_j), method, gains_j)


@st.composite
def readings(draw: st.DrawFn, channel: str = "") -> Readings:
    times = draw(st.lists(INT64, max_size=4))
    values = draw(st.lists(FINITE, min_size=len(times), max_size=len(times)))
    column = np.array(times, dtype=np.int64)
    return Readings(channel, column, column, np.abs(column), np.array(values, dtype=np.float64))


@st.composite
def states(draw: st.DrawFn) -> States:
    seen = draw(readings(draw(st.text(max_size=8))))
    quantity, is_own = draw(st.sampled_from(QUANTITIES)), draw(st.none() | st.booleans())
    return States(seen.channel, quantity, seen.time_ns, seen.value, draw(INT64), draw(st.text(max_size=8)), is_own)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    hints = get_type_hints(Calibration)
    found = {each.name: draw(anything(hints[each.name])) for each in fields(Calibration)}
    has_gain = draw(st.booleans())
    found["gain"] = draw(st.floats(*PLAUSIBLE_GAIN)) if has_gain else None
    found["gain_std_fraction"] = draw(st.floats(0, 1)) if has_gain else None
    found["offset_std_w"] = draw(st.none() | st.floats(0, 1e6))
    found["update_period_ns"] = draw(st.none() | st.integers(1, 2**63 - 1))
    for name in ("window_ns", "lag_ns"):
        found[name] = draw(st.none() | st.tuples(INT64, INT64).map(lambda ends: (min(ends), max(ends))))
    return Calibration(**found)


@st.composite
def tracks(draw: st.DrawFn) -> PowerTrack:
    seen = draw(readings().filter(len))
    edge_ns = np.append(seen.time_ns, np.int64(7))
    return PowerTrack(
        draw(st.sampled_from(DOMAINS)),
        edge_ns,
        seen.value,
        -seen.value,
        2 - seen.value,
        seen.took_ns,
        draw(st.booleans()),
    )


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    hints = get_type_hints(Recording)
    rest = {each.name: draw(anything(hints[each.name])) for each in fields(Recording) if each.name != "readings"}
    rest["start_ns"], rest["end_ns"] = sorted((rest["start_ns"], rest["end_ns"]))
    columns = {channel.name: draw(readings(channel.name)) for channel in rest["channels"]}
    return Recording(**rest, readings=columns)


def same(noun: Noun, other: Noun) -> bool:
    """Equal in everything that is filed, the kind of each column's numbers included."""
    dtypes = [[str(each.value.dtype) + str(each.time_ns.dtype) for each in one.readings.values()]
              for one in (noun, other) if isinstance(one, Recording)]  # fmt: skip
    return repr(noun.to_dict()) == repr(other.to_dict()) and type(noun) is type(other) and dtypes[:1] == dtypes[1:]


def small_recording() -> Recording:
    channel = Channel("gpu-0/board", "NVML energy counter", "H100", "gpu", "counter", 10**8, source={"tick": "seen"})
    column = np.arange(5, dtype=np.int64) * 10**8
    columns = Readings("gpu-0/board", column, column - 10**6, column // 100, np.linspace(0.0, 50.0, 5))
    marks = (Mark(1, "call_start", 1, "transformers"), Mark(5, "count", 1, "output", value=3.0, text="counted"))
    return Recording(0, 10**9, (channel,), {"gpu-0/board": columns}, marks=marks, host=Host("here", cpu_threads=2))


def small_report() -> Report:
    joint = np.random.default_rng(1).normal(10.0, 1.0, DRAWS).round(1)
    drawn = PartEnergy(Energy.from_draws(joint, "measured", {"gpu-0": 0.5}), ("block",), True, (9.0, 11.0), 12)
    bounded = PartEnergy(Energy(None, (1.0, 2.0), "modelled"), ("outside calls",), False, (0.0, 3.0))
    block = Part("block", 0, 2.0e9, {"gpu": drawn, "cpu": bounded})
    outside = Part("outside calls", 0, 1.0e9, {"cpu": bounded})
    return Report(
        1, Host(), (), (), (), TokenCounts(), None, None, block, outside, idle={"gpu": Idle(70.0, (69.0, 71.0), 5)}
    )


SMALL: tuple[Callable[[], Noun], ...] = (small_recording, small_report)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(noun=recordings() | anything(Report), packed=st.booleans())
def test_every_noun_that_is_saved_is_loaded_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, noun: Noun, packed: bool
) -> None:
    path = tmp_path_factory.mktemp("files") / ("noun.json.gz" if packed else "noun.json")
    noun.save(path)
    assert same(noun, type(noun).load(path))


def test_numbers_of_numpy_are_saved_as_the_numbers_they_are(tmp_path: Path) -> None:
    idle = Idle(np.float64(70.0), (np.float32(69.5), np.float64(71.0)), np.int64(5), np.bool_(True))  # type: ignore[arg-type]
    report = small_report()
    object.__setattr__(report, "idle", {"gpu": idle})
    report.save(tmp_path / "r.json")
    assert repr(Report.load(tmp_path / "r.json").idle["gpu"]) == repr(Idle(70.0, (69.5, 71.0), 5, True))


def refused_or_whole(path: Path, kind: type[Noun]) -> bool:
    """True where a file was refused in words; a file that was read must be a noun that saves and loads again."""
    try:
        noun = kind.load(path)
    except ReportFormatError:
        return True
    noun.save(path)
    assert repr(kind.load(path).to_dict()) == repr(noun.to_dict())
    return False


def places(plain: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in plain data, as the keys that lead to it (of a long list the first entries)."""
    entries: list[tuple[Any, Any]] = []
    if isinstance(plain, dict):
        entries = list(plain.items())
    elif isinstance(plain, list):
        entries = list(enumerate(plain[:3]))
    for key, entry in entries:
        yield (*way, key)
        yield from places(entry, (*way, key))


def with_text(text: str, way: tuple[Any, ...], hostile: str) -> str:
    """A JSON text with one place replaced by a text, which need not be JSON."""
    plain = json.loads(text)
    inner = plain
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = "@@"
    return json.dumps(plain).replace('"@@"', hostile)


HOSTILE = (
    "null", "true", '"x"', "[]", "{}", "-1", "0.5", "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 5000,
    "1" + "0" * 300, "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, '"\\ud800"', "[[1], [2]]", "", "}",
    '{"__class__": "os.system"}', "99999999999999999999", '"' + "y" * 5000 + '"',
)  # fmt: skip


@pytest.mark.parametrize("make", SMALL)
def test_a_noun_with_one_entry_of_another_kind_is_refused_or_whole(tmp_path: Path, make: Callable[[], Noun]) -> None:
    noun, path = make(), tmp_path / "noun.json"
    noun.save(path)
    text = path.read_text()
    chosen = random.Random(5)
    tried = [(way, hostile) for way in places(json.loads(text)) for hostile in HOSTILE]
    refused = 0
    for way, hostile in chosen.sample(tried, 800):
        path.write_text(with_text(text, way, hostile))
        refused += refused_or_whole(path, type(noun))
    assert refused > 600


@pytest.mark.parametrize("make", SMALL)
@pytest.mark.parametrize("name", ["noun.json", "noun.json.gz"])
def test_a_truncated_file_is_refused(tmp_path: Path, make: Callable[[], Noun], name: str) -> None:
    noun, path = make(), tmp_path / name
    noun.save(path)
    content = path.read_bytes()
    chosen = random.Random(6)
    for length in chosen.sample(range(len(content)), min(300, len(content))):
        path.write_bytes(content[:length])
        with pytest.raises(ReportFormatError):
            type(noun).load(path)


@pytest.mark.parametrize("make", SMALL)
@pytest.mark.parametrize("name", ["noun.json", "noun.json.gz"])
def test_a_file_with_flipped_or_foreign_bytes_is_refused_or_whole(
    tmp_path: Path, make: Callable[[], Noun], name: str
) -> None:
    noun, path = make(), tmp_path / name
    noun.save(path)
    content = path.read_bytes()
    chosen = random.Random(7)
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(chosen.choice((1, 1, 2, 9))):
            place = chosen.randrange(len(damaged))
            if chosen.random() < 0.7:
                damaged[place] ^= 1 << chosen.randrange(8)
            else:
                damaged[place : place + chosen.randrange(3)] = chosen.randbytes(chosen.randrange(4))
        path.write_bytes(damaged)
        refused_or_whole(path, type(noun))


@pytest.mark.parametrize("make", SMALL)
def test_a_noun_with_an_entry_missing_or_too_many_is_refused_or_whole(tmp_path: Path, make: Callable[[], Noun]) -> None:
    noun, path = make(), tmp_path / "noun.json"
    noun.save(path)
    for way in places(json.loads(path.read_text())):
        noun.save(path)
        plain = json.loads(path.read_text())
        inner = plain
        for key in way[:-1]:
            inner = inner[key]
        del inner[way[-1]]
        path.write_text(json.dumps(plain))
        refused_or_whole(path, type(noun))
        if isinstance(inner, dict):
            noun.save(path)
            path.write_text(path.read_text().replace(json.dumps(way[-1]), '"foreign entry"', 1))
            refused_or_whole(path, type(noun))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"{}", b"[]", b"null", b"3", b'"wattvlm report"', b"\xff\xfe\x00", b"\x1f\x8b", b"PK\x03\x04",
     b"[" * 200_000, b'{"a":' * 200_000, b"9" * 100_000, b'{"kind": "wattvlm report"}', b"\xef\xbb\xbf{}",
     b'{"kind": [], "schema_version": {}}'],
    ids=range(16),
)  # fmt: skip
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    for kind in (Recording, Report):
        with pytest.raises(ReportFormatError):
            kind.load(path)


def test_the_wrong_kind_of_file_names_the_kind_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    small_recording().save(path)
    with pytest.raises(ReportFormatError, match="holds a 'wattvlm recording', not a 'wattvlm report'"):
        Report.load(path)


@pytest.mark.parametrize("version", ["2", "0", '"1"', "true", "1.0", "null", "[1]"])
def test_another_schema_version_is_refused_with_the_cure(tmp_path: Path, version: str) -> None:
    path = tmp_path / "run.json"
    small_report().save(path)
    path.write_text(path.read_text().replace('"schema_version": 1', f'"schema_version": {version}'))
    with pytest.raises(ReportFormatError, match="Cure: load it with the wattvlm version that wrote it"):
        Report.load(path)


@pytest.mark.parametrize("head", [b"\0", b'{"kind": "wattvlm report", "x": "', b"[", b" "])
def test_a_file_that_unfolds_to_fill_the_memory_is_refused_early(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "bomb.json.gz"
    member = gzip.compress(head[-1:] * 2**24)
    path.write_bytes(gzip.compress(head) + member * 128)
    assert len(member) * 128 < 2**22
    tracemalloc.start()
    with pytest.raises(ReportFormatError):
        Report.load(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**27


def test_a_long_and_very_even_recording_is_no_bomb(tmp_path: Path) -> None:
    count = 200_000
    column = np.arange(count, dtype=np.int64) * 10**8
    channel = Channel("ram/model", "4 DIMMs x 5 W", "memory", "ram", "model")
    columns = Readings("ram/model", column, column, np.zeros(count, dtype=np.int64), np.full(count, 20.0))
    path = tmp_path / "even.json.gz"
    Recording(0, 10**17, (channel,), {"ram/model": columns}).save(path)
    assert len(Recording.load(path).readings["ram/model"]) == count


def test_a_pipe_and_a_folder_are_no_files_and_hold_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ReportFormatError, match="not a regular file"):
            Report.load(path)


def test_a_file_that_is_not_there_is_an_oserror_as_everywhere(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Report.load(tmp_path / "absent.json")


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    small_report().save(path)
    before = path.read_bytes()
    broken = small_report()
    object.__setattr__(broken, "idle", {"gpu": Idle(float("nan"), (0.0, 1.0), 5)})
    with pytest.raises(ValueError, match="JSON"):
        broken.save(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        small_report().save(tmp_path / "folder")
    with pytest.raises(FileNotFoundError):
        small_report().save(tmp_path / "absent" / "run.json")
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "run.json"]


def test_an_unfinished_file_is_private_and_has_a_name_that_nobody_can_guess(tmp_path: Path) -> None:
    """Seen by looking all the time at the folder while a large file is written."""
    seen: dict[str, set[int]] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for entry in os.scandir(tmp_path):
                try:
                    status = os.stat(entry.path)
                except FileNotFoundError:
                    continue
                if status.st_size:
                    seen.setdefault(entry.name, set()).add(stat.S_IMODE(status.st_mode))

    watcher = threading.Thread(target=watch)
    watcher.start()
    report = small_report()
    object.__setattr__(report, "notes", ("x" * 2**24,))
    try:
        for _ in range(5):
            report.save(tmp_path / "run.json")
    finally:
        done.set()
        watcher.join()
    unfinished = {name: modes for name, modes in seen.items() if name != "run.json"}
    assert unfinished
    assert all(0o600 in modes for modes in unfinished.values())
    assert all(name.startswith(".wattvlm-") and len(name) > 16 for name in unfinished)


def test_a_finished_file_has_the_usual_mode_and_the_umask_is_left_alone(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        small_report().save(tmp_path / "run.json")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o640


def test_a_link_in_the_targets_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("not ours")
    link = tmp_path / "run.json"
    link.symlink_to(precious)
    small_report().save(link)
    assert precious.read_text() == "not ours"
    assert not link.is_symlink()
    assert Report.load(link).block.name == "block"


def test_a_file_says_what_it_is_and_is_data_only(tmp_path: Path) -> None:
    small_report().save(tmp_path / "run.json")
    plain = json.loads((tmp_path / "run.json").read_text())
    assert (plain["kind"], plain["schema_version"]) == ("wattvlm report", 1)
    small_report().save(tmp_path / "one.json.gz")
    small_report().save(tmp_path / "two.json.gz")
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "two.json.gz").read_bytes()


@pytest.mark.parametrize("plain", [None, 5, [], {"block": "x" * 1000}, 10**5000, {"schema_version": []}], ids=range(6))
def test_plain_data_that_is_no_report_is_refused_without_a_file_too(plain: object) -> None:
    for kind in (Report, Recording):
        with pytest.raises(ReportFormatError):
            kind.from_dict(plain)


def test_the_bounds_on_reading_leave_room_for_a_day_of_eight_gpus() -> None:
    a_reading = len("86400000000000, 86400000000000, 150000, 12345678.901, ")
    assert 8 * 10 * 86_400 * a_reading + 2 * 100 * 86_400 * a_reading < filing.LARGEST_FILE_BYTES * 1.3
