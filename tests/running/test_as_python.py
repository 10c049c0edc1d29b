"""A Python program under `wattvlm run` is as under python: what it prints, where, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WATTVLM = (sys.executable, "-c", "from wattvlm.cli import main; main(prog_name='wattvlm')")

PROGRAMS = {
    "names, paths and arguments": """
import atexit, pickle, sys, threading, time
class Own: pass
print(sys.argv, sys.path[0], __name__, __file__, __spec__, __package__, __cached__, type(__loader__).__name__)
print(sorted(name for name in globals() if name.startswith("__")))
print(type(pickle.loads(pickle.dumps(Own()))) is Own, sys.modules["__main__"].Own is Own, Own.__module__)
print(input(), file=sys.stderr)
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.05), print("a thread after the end", Own))).start()
sys.exit('no such model')
""",
    "an exception with its cause": """
def inner():
    raise KeyError("inner")
try:
    inner()
except KeyError as error:
    raise ValueError("outer") from error
""",
    "a syntax error": "print('never')\nif True print()\n",
    "an exit that asks nobody": "import os\nprint('before', flush=True)\nos._exit(5)\n",
    "a signal": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "Ctrl-C by itself": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n",
    "a hook of its own for exceptions": """
import sys
sys.excepthook = lambda kind, error, trace: print("hooked", kind, trace.tb_lineno)
raise RuntimeError("seen")
""",
    "workers": """
import multiprocessing, pathlib, subprocess, sys
class Own:
    def __init__(self, n): self.n = n
def work(own): return Own(own.n ** 2)
if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print([own.n for own in pool.map(work, [Own(2), Own(3)])], flush=True)
    pathlib.Path("inner").mkdir(exist_ok=True)
    pathlib.Path("inner/own.py").write_text(
        "import sys; print(sys.argv, sys.path[0], __file__, sys.flags.optimize, sys.warnoptions); sys.exit(input())"
    )
    for words in (["-O", "-W", "error", "own.py", "-m", "x"], ["-m", "own"], ["none.py"], ["-c", "print(1)"], ["-V"],
                  ["-Q", "own.py"]):
        done = subprocess.run([sys.executable, *words], cwd="inner", input="words", capture_output=True, text=True)
        print(words, done.returncode, done.stdout, done.stderr, done.args[0] == sys.executable, len(done.args))
""",
}


def run(words: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    path = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*words, "a", "--json"], cwd=folder, env=os.environ | path, input="typed\n", capture_output=True, text=True
    )  # fmt: skip


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_script_does_what_it_does_under_python(what, tmp_path):
    (tmp_path / "script.py").write_text(PROGRAMS[what])
    plain = run((sys.executable, "script.py"), tmp_path)
    metered = run((*WATTVLM, "run", "-q", "script.py"), tmp_path)
    assert (metered.stdout, metered.stderr) == (plain.stdout, plain.stderr)
    assert metered.returncode == (plain.returncode if plain.returncode >= 0 else 128 - plain.returncode)


def test_a_module_is_run_as_by_python_m(tmp_path):
    package = tmp_path / "models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "near.py").write_text("NAME = 'near'")
    (package / "ask.py").write_text(
        "import sys\nfrom models.near import NAME\nprint(sys.argv, sys.path[0], NAME, __spec__.name, __package__)\n"
        "from .far import NAME\n"
    )
    plain = run((sys.executable, "-m", "models.ask"), tmp_path)
    metered = run((*WATTVLM, "run", "-q", "-m", "models.ask"), tmp_path)
    assert "No module named 'models.far'" in plain.stderr
    assert (metered.returncode, metered.stdout, metered.stderr) == (1, plain.stdout, plain.stderr)


def started(folder: Path, program: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(program)
    process = subprocess.Popen(
        [*WATTVLM, "run", "script.py"], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_signal_is_the_programs_to_answer_and_the_report_comes_all_the_same(tmp_path):
    process = started(tmp_path, """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("ready", flush=True)
time.sleep(30)
""")  # fmt: skip
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, "")
    assert "script.py" in err
    assert "whole block" in err


def test_ctrl_c_on_a_terminal_reaches_the_program_once_and_the_exit_code_is_130(tmp_path):
    import pty

    (tmp_path / "script.py").write_text("""
import time
try:
    print("ready", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    time.sleep(0.2)  # a second interrupt would end it here
    print("interrupted once", flush=True)
    raise
""")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [*WATTVLM, "run", "script.py"])
    shown = b""
    deadline = time.monotonic() + 30
    typed = False
    while time.monotonic() < deadline:
        try:
            shown += os.read(terminal, 2**16)
        except OSError:  # the other end is closed
            break
        if b"ready" in shown and not typed:
            os.write(terminal, b"\x03")
            typed = True
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130
    assert shown.count(b"interrupted once") == 1
    assert b"whole block" in shown
