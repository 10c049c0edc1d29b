"""From an address to the process that answers there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from wattvlm.runtimes.openai_stream.servers import Server, server_at

LISTEN = """
import os, socket, sys
listening = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
listening.bind((sys.argv[1], 0)); listening.listen()
child = os.fork()
if child:
    print(listening.getsockname()[1], child, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("bound", "asked"), [("127.0.0.1", "localhost"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")])
def test_the_eldest_process_that_listens_is_the_server_and_its_tree_is_counted(bound, asked):
    if bound == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, bound, "--api-key", "secret"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if not words:
            pytest.skip(f"{bound} cannot be bound here")
        found = server_at(asked, int(words[0]))
        process.communicate()
    assert (found.is_local, found.pid, found.members) == (True, process.pid, 2)
    assert "secret" not in found.title


def test_a_port_where_nobody_listens_is_here_and_without_a_process():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = server_at("127.0.0.1", unused.getsockname()[1])
    assert (found.is_local, found.pid) == (True, None)


def test_another_machine_is_told_from_this_one_without_a_packet():
    assert server_at("192.0.2.1", 80).is_local is False  # RFC 5737: an address of no machine
    assert server_at("no-such-host.invalid", 80).is_local is None


def test_a_server_of_this_process_is_this_process():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        assert server_at("127.0.0.1", listening.getsockname()[1]).pid == os.getpid()


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (("/venv/bin/python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "m"),
         "python3 -m vllm.entrypoints.openai.api_server"),
        (("/usr/bin/llama-server", "-m", "model.gguf"), "llama-server"),
        (("/venv/bin/vllm", "serve", "/models/llava", "--api-key", "secret"), "vllm serve llava"),
        ((), ""),
    ],
)  # fmt: skip
def test_a_title_has_the_program_and_no_options(words, title):
    assert Server("a:1", True, 1, 1, words).title == title
