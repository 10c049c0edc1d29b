"""A runtime whose library is not there, or not imported, costs nothing but a name to wait for."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
before = list(sys.meta_path)
from wattvlm.runtimes import own_runtimes
runtimes = list(own_runtimes())
for runtime in runtimes:
    runtime.install(print)
names = sorted(runtime.name for runtime in runtimes)
for runtime in runtimes:
    runtime.uninstall()
assert sys.meta_path == before
print(*names)
print(*sorted(sys.modules))
"""
LIBRARIES = {
    "torch", "transformers", "httpx", "httpx2", "requests", "openai", "xllamacpp", "llama_cpp", "openvino",
    "openvino_genai", "vllm", "numpy",
}  # fmt: skip


def test_runtimes_wait_for_their_libraries_without_importing_anything_for_them():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    names, loaded = (set(line.split()) for line in done.stdout.splitlines())
    assert {"llama_cpp", "openai_stream", "openvino_genai", "transformers", "vllm"} <= names
    assert not loaded & LIBRARIES
    assert not {module for module in loaded if module.endswith((".clients", ".engine", ".pipeline", ".exchange"))}
