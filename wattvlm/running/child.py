"""Inside the measured Python program: what `wattvlm run` adds to it, and how it is run as python itself would.

The program is `__main__` with its own arguments and import path; models are watched before its first line.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattvlm.metering import SeenFromOutside
    from wattvlm.sampling.children import ChildMarks

BOOT = """
import sys
if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]
try:
    import wattvlm.running.child as child
except ImportError:
    sys.path.append(sys.argv[2])
    import wattvlm.running.child as child
child.run(sys.argv[1], *sys.argv[3:])
"""
"""`python -c BOOT folder home kind target arguments...`. The folder that -c puts first on sys.path goes at once: it is
not the program's, and a file struct.py there would be imported."""


def boot_command(folder: Path | None, kind: str, target: str) -> list[str]:
    """What stands between the interpreter and a program's own arguments to have its calls seen.

    folder: of the meter's sampler.
    """
    import wattvlm

    home = Path(wattvlm.__file__).absolute().parent.parent
    return ["-c", BOOT, str(folder), str(home), kind, target]


VERSIONS = "versions"
"""Name of the mark of facts that holds the versions of the program's libraries."""

_INTERRUPTED = 130


def run(folder: str, kind: str, target: str, *arguments: str) -> None:
    """Watch this process's models, then be the program. Ends as it ends; an exception of its own is shown as ever."""
    _watch(Path(folder))
    namespace = vars(sys.modules["__main__"])
    for ours in [name for name in namespace if not name.startswith("__")]:
        del namespace[ours]
    try:
        if kind == "module":
            _run_module(target, arguments)
        else:
            _run_script(target, arguments, namespace)
    except SystemExit:
        raise
    except BaseException as error:
        status = _INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
        own = _without_ours(error.__traceback__)
        error.__traceback__ = own
        sys.excepthook(type(error), error, own)
        raise SystemExit(status) from None


def _run_script(target: str, arguments: tuple[str, ...], namespace: dict[str, Any]) -> None:
    from importlib.machinery import SourceFileLoader

    path = os.path.abspath(target)  # noqa: PTH100  # as python: links stay
    sys.argv = [target, *arguments]
    _put_first(os.path.dirname(os.path.realpath(target)))  # noqa: PTH120  # the folder of the link's target
    namespace.update(
        __file__=path, __cached__=None, __package__=None, __spec__=None, __loader__=SourceFileLoader("__main__", path)
    )
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    exec(code, namespace)


def _run_module(target: str, arguments: tuple[str, ...]) -> None:
    import runpy

    sys.argv = ["-m", *arguments]
    _put_first(os.getcwd())  # noqa: PTH109  # sys.path holds strings
    as_python_does: Any = getattr(runpy, "_run_module_as_main")  # noqa: B009  # what `python -m` itself calls
    as_python_does(target)


def _put_first(folder: str) -> None:
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, folder)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _watch(folder: Path, is_worker: bool = False) -> None:
    """See this process's calls and those of the processes that it starts; never raises."""
    try:
        from wattvlm.metering import see_calls_for
        from wattvlm.sampling.children import ChildMarks

        def is_part_of_others() -> bool:
            return _target_package() in watched.worker_packages()

        marks = ChildMarks(folder, is_part_of_others)
        watched = see_calls_for(marks)
        atexit.register(_end, marks, watched)
        _watch_workers(folder, watched, is_worker)
    except Exception as error:
        with suppress(Exception):
            print(f"wattvlm: this program's calls are not seen: {error!r}", file=sys.stderr)


def _end(marks: ChildMarks, watched: SeenFromOutside) -> None:
    """The end of a process that ends by itself: what was kept back, and the versions of what was imported."""
    from wattvlm.host import this_host
    from wattvlm.trace import Mark

    if marks.has_written:
        watched.settle_at_end()
        marks.mark(Mark(monotonic_ns(), "facts", name=VERSIONS, text=json.dumps(dict(this_host().versions))))


def _watch_workers(folder: Path, watched: SeenFromOutside, is_worker: bool) -> None:
    """Worker processes end without atexit, and those that are not forked begin as an empty Python."""
    from wattvlm.running.subprocesses import watch_subprocesses
    from wattvlm.runtimes._arriving import Arrivals

    def of_workers(module: ModuleType) -> None:
        def settles_last(_: object = None) -> None:
            module.Finalize(None, watched.settle_at_end, exitpriority=0)

        module.register_after_fork(watch_worker, settles_last)
        if is_worker:  # a spawned one forgets nothing when it begins, so that nothing is called then
            settles_last()

    def of_subprocess(module: ModuleType) -> None:
        watch_subprocesses(module, functools.partial(boot_command, folder))

    Arrivals({
        "multiprocessing.util": of_workers,
        "multiprocessing.spawn": functools.partial(_tell_spawned, folder=folder),
        "subprocess": of_subprocess,
    }).start()  # fmt: skip


def _target_package() -> str:
    """The package of the function that this process was made for, where it is a worker of multiprocessing."""
    module = sys.modules.get("multiprocessing.process")
    if module is None:
        return ""
    target: object = getattr(module.current_process(), "_target", None)
    return str(getattr(target, "__module__", "")).partition(".")[0]


def _tell_spawned(spawn: ModuleType, folder: Path) -> None:
    """A spawned worker is sent a dictionary before anything else; an entry of ours in it begins the watching there."""
    plain: Callable[..., dict[str, Any]] = spawn.get_preparation_data

    def preparation(name: str) -> dict[str, Any]:
        return {**plain(name), "wattvlm": _BeginsWatching(str(folder))}

    spawn.__dict__["get_preparation_data"] = preparation


class _BeginsWatching:
    """Unpickled in a worker, it begins the watching there; nothing happens where wattvlm cannot be imported."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, dict[str, Any]]]:
        program = (
            "try:\n"
            "    from wattvlm.running.child import watch_worker\n"
            f"    watch_worker({self._folder!r})\n"
            "except Exception:\n"
            "    pass\n"
        )
        return exec, (program, {})


def watch_worker(folder: str) -> None:
    """Watch the models of a worker process."""
    _watch(Path(folder), is_worker=True)
