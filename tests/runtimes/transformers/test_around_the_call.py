"""What programs put around a call: pipelines, inference mode, threads that share a model, other processes."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import torch
import transformers as hf

from wattvlm.demo import model_path
from wattvlm.demo.asking import load
from wattvlm.demo.questions import QUESTIONS, held_out, prompt
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, VISION_ENCODE

NEW = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


@pytest.fixture(scope="module")
def shipped():
    return load(model_path())


def test_a_pipeline_is_one_call_with_its_preprocessing(shipped, watched):
    processor, model = shipped
    pipe = hf.pipeline("image-text-to-text", model=model, processor=processor)
    ask = {"images": held_out().pictures()[:1], "text": prompt(QUESTIONS[0]), "max_new_tokens": 4}
    seen = pipe(**ask)
    call = watched.call()
    watched.runtime.uninstall()
    assert pipe(**ask) == seen
    assert [phase.name for phase in call.phases] == [PREPROCESS, VISION_ENCODE, PREFILL, DECODE]
    assert call.phase(PREPROCESS).spans[-1].end_ns <= call.start_ns
    assert (call.images, call.batch_size, call.tokens.visual_input) == (1, 1, 16)
    assert call.decode_steps == call.tokens.output - 1


def test_a_processor_that_ran_before_is_not_a_phase_of_zero(shipped, watched):
    processor, model = shipped
    watched.runtime.uninstall()
    inputs = processor(images=held_out().pictures()[:1], text=[prompt(QUESTIONS[0])], return_tensors="pt")
    watched.runtime.install(lambda *given: watched.marks.extend(given))
    model.generate(**inputs)
    assert watched.call().phase(PREPROCESS) is None


def test_inference_mode_changes_nothing(tiny, generate, watched):
    with torch.inference_mode():
        seen = generate(tiny("llava"))
        tiny("llava").model(**tiny("llava").inputs)
    generated, passed = watched.calls()
    assert (generated.decode_steps, generated.tokens.output, generated.tokens.visual_input) == (4, 5, 16)
    assert (passed.decode_steps, passed.tokens.text_input, passed.tokens.visual_input) == (0, 8, 16)
    watched.runtime.uninstall()
    assert torch.equal(seen, generate(tiny("llava")))


def test_streams_in_two_threads_of_one_model_keep_their_words_and_their_calls_apart(shipped, watched):
    processor, model = shipped
    pictures = held_out().pictures()[:2]

    def stream(picture, words):
        streamer = hf.TextIteratorStreamer(processor.tokenizer, skip_prompt=True)
        inputs = processor(images=[picture], text=[prompt(QUESTIONS[0])], return_tensors="pt")
        thread = threading.Thread(target=model.generate, kwargs={**inputs, "streamer": streamer, "max_new_tokens": 6})
        thread.start()
        words.append("".join(streamer))
        thread.join()

    def both():
        words: list[list[str]] = [[], []]
        threads = [threading.Thread(target=stream, args=each) for each in zip(pictures, words)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return words

    seen = both()
    calls = watched.calls()
    watched.runtime.uninstall()
    assert both() == seen
    assert len(calls) == 2
    assert len({call.lane for call in calls}) == 2
    for call in calls:
        assert [phase.name for phase in call.phases if phase.name != PREPROCESS] == [VISION_ENCODE, PREFILL, DECODE]
        assert (call.images, call.tokens.visual_input) == (1, 16)


class Pictures(torch.utils.data.Dataset[Any]):
    """Each item is made in a process of the loader's own."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return {"pixel_values": torch.rand(3, 32, 32, generator=generator), "process": os.getpid()}


def test_pictures_that_other_processes_load_are_seen_when_the_model_gets_them(tiny, generate, watched):
    processes = set()
    for batch in torch.utils.data.DataLoader(Pictures(), batch_size=1, num_workers=2, multiprocessing_context="fork"):
        processes.add(int(batch["process"]))
        generate(tiny("llava"), pixel_values=batch["pixel_values"])
    assert os.getpid() not in processes
    calls = watched.calls()
    assert len(calls) == 4
    assert all((call.images, call.decode_steps, call.tokens.visual_input) == (1, 4, 16) for call in calls)


def test_a_call_in_a_forked_process_is_not_written_among_its_parents(tiny, generate, watched):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            generate(tiny("llama"))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert watched.calls() == ()
