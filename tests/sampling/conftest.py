"""Makes the helper modules of this folder importable, here and (through sys.path) in sampling processes."""

from __future__ import annotations

import sys
from pathlib import Path

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))
