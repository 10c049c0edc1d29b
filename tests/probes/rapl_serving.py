"""The service that reads RAPL for others, in a thread, on a virtual powercap tree."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wattvlm.rapl_service import RaplService, listening
from wattvlm.sensing import Probe


@contextmanager
def serving(probe: Probe, path: Path) -> Iterator[RaplService]:
    """A service that answers at a path while the block is open."""
    ended = threading.Event()
    with listening(path, None) as listener:
        service = RaplService(probe, listener)
        service.open()
        thread = threading.Thread(target=service.serve_until, args=(ended.is_set,), daemon=True)
        thread.start()
        try:
            yield service
        finally:
            ended.set()
            thread.join()
            service.close()
