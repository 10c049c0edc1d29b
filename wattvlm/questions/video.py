"""Study: joules against the frames of a clip, as the model's own way for video takes them and as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.bench.subjects import TransformersSubject
from wattvlm.comparison import Expected
from wattvlm.questions._clips import BETWEEN, PICTURES, VIDEO, ClipSubject, named
from wattvlm.questions._figures import (
    expected_of_energy,
    joules,
    line,
    part_joules,
    series_of,
    share_or_none,
    times,
)
from wattvlm.questions.asked import Asked, Run, design_lines
from wattvlm.studies.compare import per_request
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import quotient, scaled, verdict
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

NAME = "video"
QUESTION = "How do joules grow with the frames of a clip, and which stage do more frames burden?"

FRAMES = (0, 2, 4, 8, 16)
SIZE = ((224, 224),)

TIMES_TEXT = (1.3, 15.0)
TIMES_PUBLISHED = "1.3 to 15 times per output token, H100 and B200 (arXiv 2601.22076)"
HALF = 0.5


def design(asked: Asked) -> Design:
    """Clips of several lengths, as a clip and each frame as a picture, and the same words without any."""
    models = tuple(f"{model}{BETWEEN}{way}" for model in asked.models for way in (PICTURES, VIDEO))
    return replace(asked, models=models).design(images=FRAMES, resolutions=SIZE)


def subject(asked: Asked) -> ClipSubject:
    """Models by transformers, given their frames in one way or the other."""
    return ClipSubject(TransformersSubject(random_weights=asked.random_weights))


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """What one more frame costs, and what the longest clip takes against the words alone."""
    findings: list[Finding] = []
    series: list[Series] = []
    groups = {
        name: sorted(alike, key=lambda run: (run.cell.images, run.cell.resolution or (0, 0)))
        for name, alike in sorted(series_of([_in_words(run) for run in runs], "images", "resolution").items())
    }
    for name, by_length in groups.items():
        findings += _findings(name, by_length)
        series.append(_series(name, by_length))
    findings += _by_ways(groups)
    return Answer(
        NAME, QUESTION,
        design_lines(design, runs, "the words of the prompt, the size of a frame, the length of the answer, the batch"),
        tuple(findings), tuple(_table(name, by_length) for name, by_length in groups.items()),
        (Picture("Joules of a request by the frames of its clip", "frames", "J a request", tuple(series)),),
        (
            "as video, frames go in by the model's own way for clips, which may merge them (Qwen-VL makes one of two) "
            "and make them smaller; as pictures they go in one by one; a model without such a way has these alone",
            "reading and decoding a clip on the host is not in the joules of the accelerator",
            "the slope holds between the shortest and the longest clip that was measured",
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _in_words(run: Run) -> Run:
    """The run with a cell whose model says how it was given its frames."""
    model, way = named(run.cell)
    return replace(run, cell=replace(run.cell, model=f"{model} {_AS[way]}"))


_AS = {PICTURES: "as pictures", VIDEO: "as video"}


def _by_ways(groups: Mapping[str, Sequence[Run]]) -> list[Finding]:
    """The longest clip that was measured in both ways: what its own way for video takes of what pictures take."""
    found: list[Finding] = []
    for name, pictures in groups.items():
        videos = groups.get(name.replace(_AS[PICTURES], _AS[VIDEO]), ()) if _AS[PICTURES] in name else ()
        both = [(a, b) for a in pictures for b in videos if a.cell.images == b.cell.images > 0]
        if both:
            label = name.replace(f" {_AS[PICTURES]}", "")
            found.append(_against_pictures(label, *max(both, key=lambda pair: pair[0].cell.images)))
    return found


def _against_pictures(label: str, pictures: Run, video: Run) -> Finding:
    modelled = pictures.is_modelled or video.is_modelled
    before, after = joules(pictures.report), joules(video.report)
    took = None if before is None or after is None else quotient(after, before)
    few, many = (per_request(run.report, "visual_input") for run in (video, pictures))
    tokens = "" if few is None or many is None else f"; {few:,.0f} visual tokens against {many:,.0f}"
    return Finding(
        f"{label}: {_frames(video)} as video", f"times the joules of the same frames as pictures{tokens}", took, "",
        "fewer joules as video", verdict(took, 0.0, 1.0, is_modelled=modelled), is_modelled=modelled,
    )  # fmt: skip


def _frames(run: Run) -> str:
    count = run.cell.images
    return "text only" if not count else f"{count} frame{'s' if count > 1 else ''}"


def _findings(name: str, runs: Sequence[Run]) -> list[Finding]:
    modelled = any(run.is_modelled for run in runs)
    clips = [run for run in runs if run.cell.images]
    alone = [run for run in runs if not run.cell.images]
    found = [_one_more(name, clips, modelled)]
    if not clips:
        return found
    longest = clips[-1]
    if alone:
        found.append(_against_text(name, alone[0], longest, modelled))
    what = f"{name}: {VISION_ENCODE.replace('_', ' ')} and prefill at {_frames(longest)}"
    share = share_or_none(longest.report, (VISION_ENCODE, PREFILL))
    claim = verdict(share, HALF, 1.0, is_modelled=modelled)
    found.append(Finding(what, "of a request's joules", share, "%", "more than half", claim, is_modelled=modelled))
    return [*found, _first_token(name, clips[0], longest)]


def _one_more(name: str, clips: Sequence[Run], modelled: bool) -> Finding:
    """The line of joules over visual tokens, times the tokens of a frame."""
    what = f"{name}: one more frame"
    tokens = {round(count / run.cell.images, 3) for run in clips if (count := per_request(run.report, "visual_input"))}
    if len(tokens) != 1:
        words = (
            "frames have no common number of visual tokens, or no clip was measured. Cure: one --resolution, and even "
            "numbers of frames where a model makes one of two"
        )
        return Finding(what, words, None, "J", is_modelled=modelled)
    (a_frame,) = tokens
    # Words that come with a frame, such as its separator, are the frame's.
    found = line(clips, "visual_input", along=("text_input",))
    if isinstance(found, str):
        return Finding(what, found, None, "J", is_modelled=modelled)
    words = f"more; {found.intercept} a call without any; runs lie {found.residual_j:.2g} J around the line"
    words = "; ".join((words, *found.notes, f"a frame is {a_frame:g} visual tokens"))
    return Finding(what, words, scaled(expected_of_energy(found.energy), a_frame), "J", is_modelled=modelled)


def _against_text(name: str, alone: Run, longest: Run, modelled: bool) -> Finding:
    before, after = (joules(run.report, "output_token") for run in (alone, longest))
    found = None if before is None or after is None else quotient(after, before)
    return Finding(
        f"{name}: {_frames(longest)} against text alone", "times the joules of an output token", found, "",
        f"between {TIMES_TEXT[0]:g} and {TIMES_TEXT[1]:g} times", verdict(found, *TIMES_TEXT, is_modelled=modelled),
        TIMES_PUBLISHED, modelled,
    )  # fmt: skip


def _first_token(name: str, shortest: Run, longest: Run) -> Finding:
    """Whether the time to the first token grows faster than the frames do."""
    before, after = (expected_of(times(run.report, "ttft")) for run in (shortest, longest))
    frames = longest.cell.images / shortest.cell.images
    found = None if before is None or after is None or frames <= 1 else quotient(after, before)
    return Finding(
        f"{name}: TTFT from {_frames(shortest)} to {_frames(longest)}", "times as long", found, "",
        f"more than the {frames:g} times of the frames", verdict(found, frames, inf),
    )  # fmt: skip


def _series(name: str, runs: Sequence[Run]) -> Series:
    points = [(float(run.cell.images), found) for run in runs if (found := joules(run.report)) is not None]
    return Series(name, tuple(points))


def _table(name: str, runs: Sequence[Run]) -> AnswerTable:
    headings = (
        Heading("tokens"), Heading("request", "J"), Heading("frame", "J"), Heading("encode", "J"),
        Heading("prefill", "J"), Heading("decode", "J"), Heading("TTFT", "s"), Heading("request", "s"),
    )  # fmt: skip
    return AnswerTable(f"Joules and time by frames: {name}", "clip", headings, tuple(_row(run) for run in runs))


def _row(run: Run) -> tuple[Value, ...]:
    report = run.report
    stages: list[Expected | None] = [part_joules(report, stage) for stage in (VISION_ENCODE, PREFILL, DECODE)]
    return (
        _frames(run), per_request(report, "visual_input"), joules(report), _a_frame(run), *stages,
        expected_of(times(report, "ttft")), expected_of(times(report, "call")),
    )  # fmt: skip


def _a_frame(run: Run) -> Expected | None:
    """Joules of a frame's encoding and its share of prefill; a clip of frames counts as one picture in a report."""
    found, counted = joules(run.report, "image"), run.report.images
    if found is None or not counted or not run.cell.images:
        return None
    return scaled(found, counted / (run.report.requests * run.cell.images))
