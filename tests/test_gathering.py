"""Which GPU a rank sends its recording from, where the process group is nccl's. The group itself is in test_joining."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wattvlm.gathering import nccl_device


def asked(backend: str, current: int = 0, devices: int = 4, bound: Any = None, **environ: str) -> int | None:
    group = SimpleNamespace(bound_device_id=bound)
    distributed = SimpleNamespace(get_backend=lambda group: backend, group=SimpleNamespace(WORLD=group))
    cuda = SimpleNamespace(current_device=lambda: current, device_count=lambda: devices)
    return nccl_device(distributed, cuda, None, environ)


@pytest.mark.parametrize("backend", ["gloo", "cpu:gloo,cuda:nccl", "mpi"])
def test_over_anything_but_nccl_no_gpu_is_touched(backend: str):
    assert asked(backend, LOCAL_RANK="2") is None


def test_the_groups_own_gpu_goes_before_the_current_one_and_that_before_the_local_rank():
    assert asked("nccl", current=1, bound=SimpleNamespace(index=3), LOCAL_RANK="2") == 3
    assert asked("nccl", current=1, LOCAL_RANK="2") == 1
    assert asked("nccl", LOCAL_RANK="2") == 2
    assert asked("nccl", SLURM_LOCALID="2") == 2


def test_a_rank_that_sees_one_gpu_alone_sends_from_it():
    assert asked("nccl", devices=1, LOCAL_RANK="2") == 0
    assert asked("nccl") == 0
