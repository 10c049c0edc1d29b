"""Makes `tests.sampling` importable here and (through sys.path) in sampling processes, however pytest was started."""

from __future__ import annotations

import sys
from pathlib import Path

if str(Path(__file__).parents[2]) not in sys.path:
    sys.path.append(str(Path(__file__).parents[2]))
