"""Counters of the Linux perf subsystem, opened by the system call that the C library has no function for."""

from __future__ import annotations

import errno
import os
import platform
import struct
from typing import Any, Protocol

_SYSCALL_NUMBERS = {"x86_64": 298, "aarch64": 241, "arm64": 241}
"""perf_event_open in arch/x86/entry/syscalls/syscall_64.tbl, and in include/uapi/asm-generic/unistd.h."""

_FD_CLOEXEC = 8
_ALL_PROCESSES = -1
_NO_GROUP = -1

_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
"""perf_event_attr as first published (PERF_ATTR_SIZE_VER0, 64 bytes); newer kernels take it as it is."""

_COUNT = struct.Struct("=Q")


class Counters(Protocol):
    """What opens and reads perf counters; tests pass one that counts what they say."""

    def open(self, pmu_type: int, config: int, cpu: int) -> int:
        """Starts a counter of all processes on one CPU; gives its descriptor, raises OSError."""
        ...

    def read(self, descriptor: int) -> int:
        """Its count since it was started; raises OSError."""
        ...

    def close(self, descriptor: int) -> None:
        """Stops it; never raises."""
        ...


class PerfCounters:
    """The kernel's own counters, on x86-64 and 64-bit Arm."""

    def __init__(self) -> None:
        self._libc: Any = None

    def open(self, pmu_type: int, config: int, cpu: int) -> int:
        """Starts a counter; OSError with the kernel's errno: EACCES or EPERM where this user may not."""
        import ctypes  # only where there is something to count: it takes milliseconds to import

        number = _SYSCALL_NUMBERS.get(platform.machine())
        if number is None:
            raise OSError(errno.ENOSYS, f"perf_event_open has no known number on {platform.machine()}")
        if self._libc is None:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._libc.syscall.restype = ctypes.c_long
        attributes = ctypes.create_string_buffer(
            _ATTRIBUTES.pack(pmu_type, _ATTRIBUTES.size, config, 0, 0, 0, 0, 0, 0, 0), _ATTRIBUTES.size
        )
        descriptor = self._libc.syscall(
            ctypes.c_long(number),
            attributes,
            ctypes.c_int(_ALL_PROCESSES),
            ctypes.c_int(cpu),
            ctypes.c_int(_NO_GROUP),
            ctypes.c_ulong(_FD_CLOEXEC),
        )
        if descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return int(descriptor)

    def read(self, descriptor: int) -> int:
        """The count; OSError, also where the kernel gives no count (its CPU went offline)."""
        content = os.read(descriptor, _COUNT.size)
        if len(content) != _COUNT.size:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        count: int = _COUNT.unpack(content)[0]
        return count

    def close(self, descriptor: int) -> None:
        """Stops a counter."""
        try:
            os.close(descriptor)
        except OSError:  # it is gone already
            return
