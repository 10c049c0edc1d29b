"""The Report's arithmetic: what is divided by what, what is refused, and in which words (docs: definitions)."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.energy import Energy, Provenance
from wattvlm.errors import NotResolved
from wattvlm.host import Host
from wattvlm.report import CallReport, Idle, Part, PartEnergy, Report
from wattvlm.sensing import Domain
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, VISION_ENCODE, ModelFacts, PrefillWork, TokenCounts, sum_tokens
from wattvlm.units import NS_PER_MS, NS_PER_S

TOKENS = TokenCounts(
    text_input=40, visual_encoded=1600, visual_input=400, cached_input=0, output=96, reasoning_output=60
)
GPU_J = {PREPROCESS: 4.0, VISION_ENCODE: 16.0, PREFILL: 22.0, DECODE: 456.0, "call": 500.0, "between phases": 2.0}
TIMES_MS = {PREPROCESS: 50, VISION_ENCODE: 40, PREFILL: 45, DECODE: 2400, "call": 2550, "between phases": 15}
RATIOS = (
    "request", "image", "visual_token", "prompt_token", "output_token", "answer_token", "decode_token", "total_token",
)  # fmt: skip


def about(energy_j: float, method: Provenance = "measured") -> Energy:
    return Energy(energy_j, (energy_j * 0.99, energy_j * 1.01), method, {"board": energy_j * 0.05})


def alone(name: str, energy: Energy) -> PartEnergy:
    return PartEnergy(energy, (name,), True, energy.interval_j, 5)


def row(name: str, scale: float = 1.0) -> Part:
    energies: dict[Domain, PartEnergy] = {
        "gpu": alone(name, about(GPU_J[name] * scale)),
        "cpu": alone(name, about(GPU_J[name] * scale / 2)),
        "ram": alone(name, about(GPU_J[name] * scale / 10, "modelled")),
    }
    return Part(name, 1, TIMES_MS[name] * scale * NS_PER_MS, energies)


def renamed(part: Part, name: str) -> Part:
    energies = {domain: replace(each, covers=(name,)) for domain, each in part.energies.items()}
    return replace(part, name=name, energies=energies)


def call(tokens: TokenCounts = TOKENS, batch_size: int = 1, images: int | None = 1) -> CallReport:
    phases = tuple(row(name) for name in (PREPROCESS, VISION_ENCODE, PREFILL, DECODE))
    return CallReport(
        1, "", "transformers", "returned", 0, 2_550 * NS_PER_MS, 140 * NS_PER_MS, 25.0 * NS_PER_MS, batch_size, images,
        95, 8_000_000_000, tokens, ModelFacts("LLaVA"), row("call"), row("between phases"), phases,
        work=PrefillWork(440, 400),
    )  # fmt: skip


def report(calls: int = 1, tokens: TokenCounts = TOKENS, batch_size: int = 1, images: int | None = 1) -> Report:
    each = call(tokens, batch_size, images)
    return Report(
        1, Host(), (), (each,) * calls, each.phases, sum_tokens([tokens] * calls), each.total, each.between,
        renamed(row("call", calls), "block"), renamed(row("between phases"), "outside calls"),
        own_phases=(renamed(row(PREPROCESS), "warm up"),), idle={"gpu": Idle(70.0, (69.0, 71.0), NS_PER_S)},
    )  # fmt: skip


def without(given: Report, name: str, domain: Domain = "gpu", **changes: object) -> Report:
    """The report with one phase's joules of one domain changed, or absent."""
    phases: list[Part] = []
    for part in given.phases:
        if part.name == name:
            energies = {key: each for key, each in part.energies.items() if key != domain}
            if changes:
                energies[domain] = replace(part.energies[domain], **changes)  # type: ignore[arg-type]
            part = replace(part, energies=energies)
        phases.append(part)
    return replace(given, phases=tuple(phases))


@pytest.mark.parametrize(
    ("what", "joules", "divided"),
    [
        ("request", 500.0, "the whole call"),
        ("image", 16.0 + 22.0 * 400 / 440, "vision encode + its share of prefill (by tokens)"),
        ("visual_token", (16.0 + 22.0 * 400 / 440) / 400, "vision encode + its share of prefill (by tokens)"),
        ("prompt_token", 22.0 / 440, "prefill"),
        ("output_token", 500.0 / 96, "the whole call"),
        ("answer_token", 500.0 / 36, "the whole call"),
        ("reasoning_token", 456.0 * 59 / 95 / 60, "reasoning's share of decode (by tokens)"),
        ("decode_token", 456.0 / 95, "decode; the first token is prefill's"),
        ("total_token", 500.0 / 536, "the whole call"),
    ],
)
@pytest.mark.parametrize("calls", [1, 20])
def test_each_ratio_divides_what_it_says_by_what_it_says(what: str, joules: float, divided: str, calls: int) -> None:
    ratio = report(calls).ratio(what)
    assert ratio.energy is not None
    assert ratio.energy.middle_j == pytest.approx(joules)
    assert (ratio.divided, ratio.why_not) == (divided, "")
    assert report(calls).per(what).interval_j == pytest.approx((joules * 0.99, joules * 1.01))


def test_prefill_is_shared_by_operations_where_every_calls_are_known() -> None:
    work = PrefillWork(1_000, 800)
    given = replace(report(), calls=(replace(call(), work=work), replace(call(), work=PrefillWork(3_000, 2_700))))
    ratio = given.ratio("image_by_flops")
    assert ratio.energy is not None
    assert ratio.energy.middle_j == pytest.approx(16.0 + 22.0 * 3_500 / 4_000)
    assert ratio.divided == "vision encode + its share of prefill (by FLOPs)"
    assert given.joules_per_image_by_flops.middle_j == ratio.energy.middle_j
    given = replace(given, tokens=replace(TOKENS, visual_input=2 * 400))
    assert given.joules_per_visual_token_by_flops.middle_j == pytest.approx(ratio.energy.middle_j / 400)
    with pytest.raises(NotResolved, match="the share by tokens stands"):
        replace(given, calls=(*given.calls, replace(call(), work=None))).per("image_by_flops")


def test_wh_per_thousand_requests_is_joules_per_request_over_3_6() -> None:
    assert report().wh_per_1000_requests.middle_j == pytest.approx(500.0 / 3.6)


def test_a_batch_divides_by_its_requests_and_each_of_them_has_a_first_token() -> None:
    batch = report(calls=3, tokens=replace(TOKENS, output=4 * 96), batch_size=4, images=8)
    assert batch.requests == 12
    assert batch.images == 24
    assert batch.joules_per_request.middle_j == pytest.approx(500.0 / 4)
    assert batch.joules_per_image.middle_j == pytest.approx((16.0 + 22.0 * 400 / 440) / 8)
    assert batch.decode_joules_per_token.middle_j == pytest.approx(456.0 / (4 * 95))
    assert batch.output_tokens_per_s == pytest.approx(4 * 95 / 2.4)


def test_a_single_output_token_is_prefills_and_there_is_no_decode_token() -> None:
    one = report(tokens=replace(TOKENS, output=1))
    assert one.joules_per_output_token.middle_j == pytest.approx(500.0)
    with pytest.raises(NotResolved, match="there was no decode token"):
        _ = one.decode_joules_per_token
    assert one.output_tokens_per_s is None
    assert one.metrics()["decode_joules_per_token"] is None


def test_a_cache_leaves_bounds_on_the_visual_share_of_what_was_computed() -> None:
    little = report(tokens=replace(TOKENS, cached_input=20)).joules_per_image
    assert little.interval_j == pytest.approx(((16.0 + 22.0 * 380 / 420) * 0.99, (16.0 + 22.0 * 400 / 420) * 1.01))
    assert little.mean_j is None
    with pytest.raises(NotResolved, match=r"240 of 440 prompt tokens came from a cache.* is 80% to 100%"):
        _ = report(tokens=replace(TOKENS, cached_input=240)).joules_per_image
    with pytest.raises(NotResolved, match="all of the prompt came from a cache"):
        _ = report(tokens=replace(TOKENS, cached_input=440)).joules_per_image


def test_sound_is_neither_text_nor_visual_and_has_its_part_of_the_prompt() -> None:
    heard = report(tokens=replace(TOKENS, audio_input=60))
    assert heard.tokens.prompt == 500
    assert heard.joules_per_prompt_token.middle_j == pytest.approx(22.0 / 500)
    assert heard.joules_per_image.middle_j == pytest.approx(16.0 + 22.0 * 400 / 500)


def test_prompt_tokens_taken_from_a_cache_were_not_computed() -> None:
    cached = report(tokens=replace(TOKENS, cached_input=240))
    assert cached.joules_per_prompt_token.middle_j == pytest.approx(22.0 / 200)
    assert cached.joules_per_total_token.middle_j == pytest.approx(500.0 / 536)


@pytest.mark.parametrize(
    ("lacking", "absent"),
    [
        ("visual_input", {"image", "visual_token", "prompt_token", "total_token"}),
        ("text_input", {"image", "visual_token", "prompt_token", "total_token"}),
        ("output", {"output_token", "answer_token", "decode_token", "total_token"}),
    ],
)
def test_a_count_that_is_not_known_leaves_its_ratios_absent_and_the_others_there(
    lacking: Literal["visual_input", "text_input", "output"], absent: set[str]
) -> None:
    unknown = report(tokens=replace(TOKENS, **dict[str, Any]({lacking: None})))
    assert {what for what in RATIOS if unknown.ratio(what).energy is None} == absent
    for what in absent:
        with pytest.raises(NotResolved, match=r"Cure: give the counts with m\.tokens"):
            unknown.per(what)


def test_a_call_without_an_image_has_no_joules_per_image() -> None:
    text = report(images=0, tokens=replace(TOKENS, visual_input=0, visual_encoded=0))
    assert (text.ratio("image").why_not, text.ratio("visual_token").why_not) == (
        "there was no image", "there was no visual token",
    )  # fmt: skip
    assert report(images=None).images is None


def test_phases_that_were_not_told_apart_are_refused_with_their_sum_their_bounds_and_the_cure() -> None:
    merged = without(report(), PREFILL, covers=(VISION_ENCODE, PREFILL), bounds_j=(1.0, 37.0))
    with pytest.raises(NotResolved) as refusal:
        merged.joules(PREFILL)
    for words in ("prefill is not resolved on the gpu", "vision_encode + prefill", "1 to 37 J", "Cure: more calls"):
        assert words in str(refusal.value)
    with pytest.raises(NotResolved, match="Cure"):
        _ = merged.joules_per_image
    assert merged.joules_per_request.middle_j == pytest.approx(500.0)
    assert merged.joules(PREFILL, ("cpu",)).middle_j == pytest.approx(11.0)


def test_a_phase_whose_interval_is_too_wide_is_refused() -> None:
    with pytest.raises(NotResolved, match="decode is not resolved"):
        without(report(), DECODE, resolved=False).joules(DECODE)


def test_a_domain_without_joules_is_absent_and_not_zero() -> None:
    with pytest.raises(NotResolved, match="`wattvlm doctor` says why and the cure"):
        report().joules("call", ("soc",))
    with pytest.raises(NotResolved, match="doctor"):
        without(report(), PREFILL).joules(PREFILL)
    nothing = replace(report(), block=replace(report().block, energies={}))
    assert (nothing.domains, nothing.accelerator) == ((), None)
    with pytest.raises(NotResolved, match="no sensor and no model gave joules"):
        nothing.joules("block")
    assert nothing.metrics()["joules_per_request"] is None


def test_a_phase_before_the_block_has_no_joules_and_says_why() -> None:
    unseen = Part(PREPROCESS, 0, None, unseen="before the block")
    with pytest.raises(NotResolved, match="preprocess was not seen: before the block"):
        replace(report(), phases=(unseen, *report().phases[1:])).joules(PREPROCESS)


def test_without_any_call_the_block_still_has_its_joules() -> None:
    bare = replace(report(), calls=(), phases=(), tokens=TokenCounts(), total=None, between=None)
    assert bare.joules("block").middle_j == pytest.approx(500.0)
    with pytest.raises(NotResolved, match=r"report\.block has the joules of the whole"):
        bare.joules("call")
    assert all(ratio.energy is None and ratio.why_not for ratio in bare.ratios())
    assert bare.model == ModelFacts()
    assert (bare.latency_s, bare.ttft_s, bare.tpot_s, bare.peak_memory_bytes, bare.images) == (None,) * 5


def test_every_row_can_be_asked_for_by_its_name_and_an_unknown_name_lists_them() -> None:
    given = report()
    names = {PREPROCESS: 4.0, "between phases": 2.0, "outside calls": 2.0, "warm up": 4.0, "block": 500.0}
    assert {name: given.joules(name).middle_j for name in names} == pytest.approx(names)
    with pytest.raises(KeyError, match="prefil'"):
        given.joules("prefil")
    with pytest.raises(KeyError, match="output_token"):
        given.per("word")


def test_a_sum_with_a_modelled_domain_is_modelled_and_measured_ones_stay_measured() -> None:
    given = report()
    assert given.per("request", ("gpu", "cpu")).method == "measured"
    assert given.per("request", ("gpu", "cpu")).middle_j == pytest.approx(750.0)
    assert given.per("request", ("gpu", "ram")).method == "modelled"
    assert (given.is_modelled("gpu"), given.is_modelled("ram")) == (False, True)


@given(domains=st.lists(st.sampled_from(("gpu", "cpu", "ram")), min_size=1, unique=True), what=st.sampled_from(RATIOS))
def test_no_ratio_turns_a_modelled_joule_into_a_measured_one(domains: list[Domain], what: str) -> None:
    expected = "modelled" if "ram" in domains else "measured"
    assert report().per(what, domains).method == expected


def test_the_ratios_are_the_accelerators_and_the_cpus_where_there_is_none() -> None:
    assert report().accelerator == "gpu"
    energies: dict[Domain, PartEnergy] = {"cpu": report().block.energies["cpu"]}
    assert replace(report(), block=replace(report().block, energies=energies)).accelerator == "cpu"


def test_joules_above_idle_are_less_the_idle_power_over_the_same_time() -> None:
    given = report()
    assert given.joules(DECODE, above_idle=True).middle_j == pytest.approx(456.0 - 70.0 * 2.4)
    assert given.per("request", above_idle=True).middle_j == pytest.approx(500.0 - 70.0 * 2.55)
    low_j, high_j = given.joules("call", above_idle=True).interval_j
    assert (low_j, high_j) == pytest.approx((495.0 - 71.0 * 2.55, 505.0 - 69.0 * 2.55))


def test_joules_above_an_idle_that_was_never_seen_are_absent_and_not_gross() -> None:
    with pytest.raises(NotResolved, match="Cure: leave half a second of quiet"):
        report().joules("call", ("cpu",), above_idle=True)


def test_joules_above_a_modelled_idle_are_modelled() -> None:
    idle: dict[Domain, Idle] = {"gpu": Idle(70.0, (35.0, 105.0), 0, modelled=True)}
    assert replace(report(), idle=idle).joules("call", above_idle=True).method == "modelled"


def test_a_metric_has_the_name_of_the_property_that_gives_it() -> None:
    given = report()
    metrics = given.metrics()
    counts = {f"{each.name}_tokens": each.name for each in fields(TokenCounts) if each.name != "how"}
    assert set(counts) < set(metrics)
    for name, value in metrics.items():
        expected = getattr(given.tokens, counts[name]) if name in counts else getattr(given, name)
        assert value == (expected.middle_j if isinstance(expected, Energy) else expected), name
    ratios = {name for name in dir(Report) if "joules_per" in name or name.startswith("wh_per")}
    assert ratios <= set(metrics)


def test_times_are_means_over_calls_and_memory_is_the_largest() -> None:
    slow = replace(call(), ttft_ns=160 * NS_PER_MS, tpot_ns=None, peak_memory_bytes=9_000_000_000)
    given = replace(report(), calls=(call(), slow))
    assert given.ttft_s == pytest.approx(0.150)
    assert given.tpot_s == pytest.approx(0.025)
    assert given.latency_s == pytest.approx(2.55)
    assert given.peak_memory_bytes == 9_000_000_000
    assert given.output_tokens_per_s == pytest.approx(95 / 2.4)


def test_the_model_is_the_one_that_most_calls_ran() -> None:
    other = replace(call(), model=ModelFacts("SmolVLM"))
    assert replace(report(), calls=(other, call(), call())).model.name == "LLaVA"


def test_a_reports_repr_is_one_line_and_dict_there_and_back_is_the_same() -> None:
    given = report(2)
    assert "\n" not in repr(given)
    assert "2 calls" in repr(given)
    assert Report.from_dict(given.to_dict()).to_dict() == given.to_dict()
