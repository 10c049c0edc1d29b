"""The run itself: cell after cell in random order, here or on the nodes of a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from wattvlm.bench.design import Design
from wattvlm.bench.keeping import TO_GIVE_BACK, Results, alone_in, begin
from wattvlm.bench.ledger import Ledger
from wattvlm.bench.measuring import Measuring
from wattvlm.bench.measuring import Progress as Progress
from wattvlm.bench.measuring import Subject as Subject
from wattvlm.bench.measuring import Tell as Tell
from wattvlm.sensing import ProbeSource
from wattvlm.steering import steered


def run(
    design: Design,
    folder: str | os.PathLike[str],
    *,
    subject: Subject | None = None,
    probes: Sequence[ProbeSource] | None = None,
    tell: Tell | None = None,
    keep_seed: bool = False,
    on: str | None = None,
) -> Results:
    """Measure what is missing in the folder, and give all that it then holds.

    subject: what is measured (default: the design's models by transformers). probes: as in `meter`. tell: is given a
    Progress after each step. keep_seed: a folder that was begun keeps its order. on: "ray" or "ray://HOST:PORT", to
    have each cell measured alone on a node of that cluster; the folder is this machine's all the same.
    DesignChanged where the folder holds results of another design, WattvlmError where another run is writing into it.
    NotSteerable where the design sets power limits or clocks that cannot be set here; those that are set are given
    back however the run ends.
    """
    target = Path(folder)
    with alone_in(target):
        ledger = Ledger(target, begin(target, design, keep_seed), tell or _say_nothing)
        if not ledger.missing:
            return ledger.results
        if subject is None:
            from wattvlm.bench.subjects import TransformersSubject

            subject = TransformersSubject(random_weights=design.random_weights)
        if on is None:
            _here(ledger, subject, probes, tell or _say_nothing, target / TO_GIVE_BACK)
        else:
            from wattvlm.bench.on_ray import measure_on

            measure_on(on, ledger, subject, probes)
    return ledger.results


def _here(
    ledger: Ledger, subject: Subject, probes: Sequence[ProbeSource] | None, tell: Tell, to_give_back: Path
) -> None:
    """Each cell on this machine, one after the other."""
    design = ledger.results.design
    settings = design.settings()
    with steered(settings, to_give_back) if settings else nullcontext() as boards:
        measuring = Measuring(design, subject, probes, tell, boards)
        for cell in ledger.missing:
            ledger.ended(*measuring.measure(cell, ledger.share_ns(), ledger.place))


def _say_nothing(progress: Progress) -> None:
    """For those who do not listen."""
