"""What machine this is, as far as a reader needs it."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np

import wattvlm
from wattvlm.host import Host, job_facts, this_host


def test_the_host_is_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel\t\t: 143\nmodel name\t: Intel Xeon 8480+\nmodel name\t: x\n"
    )
    (tmp_path / "meminfo").write_text("MemFree: 5 kB\nMemTotal:       24684092 kB\n")
    host = this_host({"driver": "570.86"}, proc=tmp_path)
    assert (host.cpu, host.memory_bytes) == ("Intel Xeon 8480+", 24684092 * 1024)
    assert host.facts == {"driver": "570.86"}
    assert host.python == platform.python_version()
    assert host.cpu_threads


def test_a_host_without_proc_has_unknown_memory_not_none_of_it(tmp_path: Path) -> None:
    host = this_host(proc=tmp_path / "absent")
    assert host.memory_bytes is None
    (tmp_path / "meminfo").write_text("MemTotal: much\n")
    assert this_host(proc=tmp_path).memory_bytes is None


def test_versions_are_those_of_what_is_imported_and_of_nothing_else() -> None:
    versions = this_host().versions
    assert versions["wattvlm"] == wattvlm.__version__
    assert versions["numpy"] == np.__version__
    assert set(versions) <= {"wattvlm", "torch", "transformers", "numpy"}


def test_an_unknown_host_claims_nothing() -> None:
    assert Host() == Host("", "", "", None, None, "", {}, {})


def test_a_process_of_srun_or_torchrun_tells_its_job_and_rank():
    slurm = {"SLURM_JOB_ID": "41", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1",
             "SLURM_LOCALID": "1"}  # fmt: skip
    assert job_facts(slurm) == {"slurm job": "41", "slurm step": "0", "ranks": "2", "rank": "1", "local rank": "1"}
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}
    assert job_facts(torchrun) == {"ranks": "8", "rank": "5", "local rank": "1"}
    both = job_facts({**slurm, **torchrun, "TORCHELASTIC_RUN_ID": "eval"})
    assert (both["slurm job"], both["torchrun job"], both["rank"], both["ranks"]) == ("41", "eval", "5", "8")


def test_a_batch_script_of_slurm_is_no_rank_and_outside_of_a_job_there_are_no_facts():
    batch = {"SLURM_JOB_ID": "41", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    assert job_facts(batch) == {"slurm job": "41"}
    assert job_facts({"WORLD_SIZE": "2"}) == {}
