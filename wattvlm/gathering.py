"""Recordings of the ranks of a distributed job, over the process group that the job has."""

from __future__ import annotations

from typing import Any

from wattvlm.joining import joined
from wattvlm.recording import Recording


def gathered(recording: Recording, group: Any = None) -> Recording | None:
    """The joined Recording of all ranks on the group's first rank; None on the others.

    All ranks of the group must call it, after their block: it is a collective of torch.distributed (gloo or nccl), and
    waits as such. group: a process group; the default one where it is None. RuntimeError where there is none.
    """
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
    distributed.gather_object(recording.to_dict(), found, dst=first, group=group)
    return None if found is None else joined([Recording.from_dict(plain) for plain in found])
