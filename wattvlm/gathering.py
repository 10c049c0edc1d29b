"""Recordings of the ranks of a distributed job, over the process group that the job has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from wattvlm.joining import joined
from wattvlm.recording import Recording


def gathered(recording: Recording, group: Any = None) -> Recording | None:
    """The joined Recording of all ranks on the group's first rank; None on the others.

    All ranks of the group must call it, after their block: it is a collective of torch.distributed, and waits as such.
    Over gloo the recordings stay in memory; nccl sends what lies on GPUs, so each rank's goes through its own one: the
    process group's, else torch.cuda's current one, else that of its local rank where the current one was never chosen.
    group: a process group; the default one where it is None. RuntimeError where there is none.
    """
    import torch
    import torch.distributed as distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        raise RuntimeError(
            "there is no process group to gather over. Cure: torch.distributed.init_process_group, or save each rank's "
            "recording and `wattvlm merge` the files"
        )
    ranks = distributed.get_world_size(group)
    is_first = distributed.get_rank(group) == 0
    first = 0 if group is None else distributed.get_global_rank(group, 0)
    found: list[Any] | None = [None] * ranks if is_first else None
    device = nccl_device(distributed, torch.cuda, group)
    with nullcontext() if device is None else torch.cuda.device(device):
        distributed.gather_object(recording.to_dict(), found, dst=first, group=group)
    return None if found is None else joined([Recording.from_dict(plain) for plain in found])


def nccl_device(distributed: Any, cuda: Any, group: Any, environ: Mapping[str, str] | None = None) -> int | None:
    """The GPU that this rank sends from over nccl; None over anything else.

    torch takes the current device, which is 0 in every rank that never chose one: two ranks on one GPU are an error of
    nccl's ("Duplicate GPU detected").
    """
    if distributed.get_backend(group) != "nccl":
        return None
    bound = getattr(distributed.group.WORLD if group is None else group, "bound_device_id", None)
    if bound is not None and bound.index is not None:
        return int(bound.index)
    current = int(cuda.current_device())
    known = os.environ if environ is None else environ
    local = known.get("LOCAL_RANK") or known.get("SLURM_LOCALID") or ""
    return int(local) if current == 0 and local.isdecimal() and int(local) < cuda.device_count() else current
