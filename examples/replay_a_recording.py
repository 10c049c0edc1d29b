"""Save what was recorded, load it again, and get the same report: measuring and analysing are two steps."""

import tempfile
from pathlib import Path

import wattvlm

with wattvlm.meter(label="sum of squares") as m, m.phase("sum"):
    sum(number * number for number in range(3_000_000))

path = Path(tempfile.mkdtemp()) / "recording.json.gz"
m.recording.save(path)
again = wattvlm.analyze(wattvlm.Recording.load(path))
assert again.block.duration_ns == m.report.block.duration_ns
print(again)
