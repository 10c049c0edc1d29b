"""Study: many models side by side. Who takes least, who cannot be told from whom, and who lies on the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wattvlm.answers import Answer, AnswerTable, Claim, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.comparison import Expected
from wattvlm.questions._figures import joules, series_of, times
from wattvlm.questions.asked import Asked, Run, design_lines
from wattvlm.studies.compare import per_request
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import quotient, scaled
from wattvlm.studies.ranking import front, more_than, told_apart
from wattvlm.studies.significance import SIGNIFICANT
from wattvlm.units import J_PER_KJ

NAME = "models"
QUESTION = "Which models take least joules, and which give most parameters or accuracy for them?"

BILLION = 1e9
PUBLISHED = (
    "SmolVLM2-2.2B 61 to 94, InternVL2-2B 80 to 115, Phi-3.5-V 149 to 245 J a request on GB10, Thor and Orin "
    "(fmora22/Benchmarking_DataViz)"
)
METRICS = {"request": "a request", "image": "an image"}

Named = Mapping[str, Run]
Fronts = Mapping[str, tuple[str, ...] | None]


def design(asked: Asked) -> Design:
    """Each model asked alike: one picture, and an answer of one length."""
    return asked.design()


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """The ranking against the best, the pairs that cannot be told apart, and the fronts."""
    named = {name: alike[0] for name, alike in series_of(runs).items()}
    modelled = any(run.is_modelled for run in runs)
    costs = {per: _costs(named, per) for per in METRICS}
    worth, what = _worth(named)
    fronts = {per: front(_known(costs[per], worth), worth) for per in METRICS}
    findings = [
        *_ranking(named, costs["request"], modelled), *_pairs(named, costs["request"], modelled),
        *(_front_finding(per, what, fronts[per], modelled) for per in METRICS),
        *_per_kilojoule(named, costs["request"], modelled),
    ]  # fmt: skip
    return Answer(
        NAME, QUESTION,
        design_lines(design, runs, "the words of the prompt, the pixels of the picture, the length of the answer"),
        tuple(findings), (_parts_table(named), _joules_table(named, costs, fronts["request"])),
        tuple(_picture(per, what, costs[per], worth, fronts[per]) for per in METRICS),
        (
            f"the chance of one false difference among all is {SIGNIFICANT * 100:g} % (Holm's correction)",
            "models make different numbers of tokens of the same picture; J a request and J an image hold that, J per "
            "token does not",
            "parameters stand in for what a model can do where no scores are given (--scores MODEL=FILE)"
            if not any(run.rated for run in runs) else
            "scores are of the questions that all models answered, and of that benchmark alone",
        ),
        modelled, any(run.report.virtual for run in runs),
    )  # fmt: skip


def _costs(named: Named, per: str) -> dict[str, Expected]:
    """Joules of each model; a model's own error is not known, so that its joules are points."""
    found = {name: joules(run.report, per) for name, run in named.items()}
    return {
        name: Expected(each.value, each.value, each.value) if named[name].is_modelled else each
        for name, each in found.items()
        if each is not None
    }


def _known(costs: Mapping[str, Expected], worth: Mapping[str, Expected]) -> dict[str, Expected]:
    return {name: found for name, found in costs.items() if name in worth}


def _worth(named: Named) -> tuple[dict[str, Expected], str]:
    """What joules are held against: accuracy above chance where all have scores, else parameters in billions."""
    if named and all(run.rated is not None for run in named.values()):
        return {name: _above_chance(run) for name, run in named.items()}, "accuracy above chance"
    counts = {name: run.report.model.parameters for name, run in named.items()}
    known = {name: count / BILLION for name, count in counts.items() if count}
    return {name: Expected(count, count, count) for name, count in known.items()}, "parameters (billions)"


def _above_chance(run: Run) -> Expected:
    """The score above chance with Wilson's interval; above none where chance is not known."""
    assert run.rated is not None
    chance = run.rated.chance_fraction or 0.0
    low, high = ((end - chance) / (1.0 - chance) for end in run.rated.interval_fraction)
    return Expected((run.rated.fraction - chance) / (1.0 - chance), low, high)


def _calls(named: Named) -> dict[str, int]:
    return {name: len(run.report.calls) for name, run in named.items()}


def _ranking(named: Named, costs: Mapping[str, Expected], modelled: bool) -> list[Finding]:
    """The model of least joules a request, and each other one against it."""
    if not costs:
        return [Finding("least joules a request", "no model's joules are resolved", None, "J", is_modelled=modelled)]
    best = min(costs, key=lambda name: costs[name].value)
    told = more_than(best, costs, _calls(named))
    level = [name for name, differs in told.items() if not differs]
    words = f"a request, {best}"
    if modelled:
        words += " by the model, which tells no order for sure"
    elif len(costs) == 1:
        words += ", alone: nothing to rank it against"
    else:
        words += f"; it cannot be told from {' and '.join(level)}" if level else ", surely less than each other model"
    found = [Finding("least joules a request", words, costs[best], "J", published=PUBLISHED, is_modelled=modelled)]
    for name in sorted(told, key=lambda name: costs[name].value):
        verdict: Claim = "holds" if told[name] and not modelled else "cannot tell"
        found.append(
            Finding(f"{name} against {best}", "times its joules a request", quotient(costs[name], costs[best]), "",
                    "it takes more", verdict, is_modelled=modelled)
        )  # fmt: skip
    return found


def _pairs(named: Named, costs: Mapping[str, Expected], modelled: bool) -> list[Finding]:
    if len(costs) < 2 or modelled:
        return []
    level = [f"{one} and {other}" for (one, other), differs in told_apart(costs, _calls(named)).items() if not differs]
    pairs = len(costs) * (len(costs) - 1) // 2
    words = f"of {pairs} pairs: {', '.join(level)}" if level else f"none of {pairs} pairs: every order is told"
    return [Finding("pairs that cannot be told apart", words)]


def _front_finding(per: str, what: str, fronts: Fronts, modelled: bool) -> Finding:
    """Who lies on the front of a metric, surely or perhaps."""
    surely = [name for name, beaten_by in fronts.items() if beaten_by == ()]
    perhaps = [name for name, beaten_by in fronts.items() if beaten_by is None]
    words = f"{', '.join(surely) or 'none for sure'}"
    words += f"; {', '.join(perhaps)} cannot be told" if perhaps else ""
    words += "; by the model's joules" if modelled else ""
    title = f"front of J {METRICS[per]} and {what}"
    return Finding(title, words if fronts else "no model has both", is_modelled=modelled)


def _per_kilojoule(named: Named, costs: Mapping[str, Expected], modelled: bool) -> list[Finding]:
    """Accuracy above chance for each kilojoule of requests, of models with scores."""
    found: list[Finding] = []
    for name, run in named.items():
        if run.rated is None or name not in costs or run.rated.above_chance_fraction is None:
            continue
        ratio = quotient(_above_chance(run), costs[name])
        words = f"accuracy above chance on {run.rated.benchmark} a kilojoule of a request"
        at_chance = " (its interval holds chance)" if _above_chance(run).low <= 0 else ""
        found.append(
            Finding(
                f"{name}: accuracy per kJ",
                words + at_chance,
                None if ratio is None else scaled(ratio, J_PER_KJ),
                "",
                is_modelled=modelled,
            )
        )
    return found


def _billions(count: int | None) -> float | None:
    return None if count is None else count / BILLION


def _parts_table(named: Named) -> AnswerTable:
    """What each model is made of."""
    headings = (
        Heading("parameters (B)"), Heading("active (B)"), Heading("vision (B)"), Heading("projector (B)"),
        Heading("fusion"), Heading("visual tokens"), Heading("accuracy", "%"),
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for name, run in named.items():
        facts = run.report.model
        parameters = (facts.parameters, facts.active_parameters, facts.vision_parameters, facts.projector_parameters)
        accuracy = None
        if run.rated is not None:
            accuracy = Expected(run.rated.fraction, *run.rated.interval_fraction)
        visual = per_request(run.report, "visual_input")
        rows.append((name, *map(_billions, parameters), facts.fusion, visual, accuracy))
    return AnswerTable("Models and their parts", "model", headings, tuple(rows))


def _joules_table(named: Named, costs: Mapping[str, Mapping[str, Expected]], fronts: Fronts) -> AnswerTable:
    headings = (
        Heading("a request", "J"), Heading("an image", "J"), Heading("an output token", "J"), Heading("TTFT", "s"),
        Heading("a request", "s"), Heading("front"),
    )  # fmt: skip
    ordered = sorted(named, key=lambda name: costs["request"][name].value if name in costs["request"] else 0.0)
    rows = tuple(
        (
            name, costs["request"].get(name), costs["image"].get(name), joules(named[name].report, "output_token"),
            expected_of(times(named[name].report, "ttft")), expected_of(times(named[name].report, "call")),
            _front_words(fronts, name),
        )
        for name in ordered
    )  # fmt: skip
    return AnswerTable("Joules and times, least first", "model", headings, rows)


def _front_words(fronts: Fronts, name: str) -> str | None:
    if name not in fronts:
        return None
    beaten_by = fronts[name]
    if beaten_by is None:
        return "cannot tell"
    return f"beaten by {beaten_by[0]}" if beaten_by else "front"


def _picture(
    per: str, what: str, costs: Mapping[str, Expected], worth: Mapping[str, Expected], fronts: Fronts
) -> Picture:
    """A point a model, and a line through those on the front; bars where nothing is known to hold joules against."""
    if not any(name in worth for name in costs):
        bars = Series(METRICS[per], tuple((float(place), found) for place, found in enumerate(costs.values())))
        return Picture(f"Joules {METRICS[per]}", "", f"J {METRICS[per]}", (bars,), tuple(costs))
    places = {name: (worth[name].value, found) for name, found in costs.items() if name in worth}
    points = [Series(name, (place,)) for name, place in places.items()]
    on_it = sorted((places[name] for name, beaten_by in fronts.items() if beaten_by == ()), key=lambda place: place[0])
    line = (Series("front", (), tuple((x, found.value) for x, found in on_it)),) if len(on_it) > 1 else ()
    return Picture(f"Joules {METRICS[per]} against {what}", what, f"J {METRICS[per]}", (*points, *line))
