"""The shipped model: what it is, what it can do, and that card.json says no more than that."""

import json
import zipfile
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest

from wattvlm.demo import asking, model_path
from wattvlm.demo.accuracy import Accuracy
from wattvlm.demo.questions import HELD_OUT_FILE, QUESTIONS, held_out, prompt

torch = pytest.importorskip("torch", reason='needs the extra "torch"')
transformers = pytest.importorskip("transformers", reason='needs the extra "torch"')

Loaded: TypeAlias = tuple[Any, Any]
CARD = json.loads((model_path() / "card.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield asking.load(model_path())
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reached(loaded: Loaded) -> dict[str, Accuracy]:
    processor, model = loaded
    return asking.accuracies(processor, model, held_out())


def test_the_shipped_folder_is_under_one_megabyte() -> None:
    assert sum(file.stat().st_size for file in model_path().iterdir()) < 1_000_000


def test_the_shipped_files_hold_data_and_no_pickle() -> None:
    files = {file.name for file in model_path().iterdir()}
    assert {name.rpartition(".")[2] for name in files} <= {"json", "jinja", "safetensors", "npz"}
    with zipfile.ZipFile(model_path() / HELD_OUT_FILE) as arrays:
        # The header of a .npy file names the type; "O", Python objects, is the one that is a pickle.
        headers = [arrays.read(name)[:80] for name in arrays.namelist()]
    assert all(b"'descr': '|u1'" in header for header in headers)


def test_the_model_is_a_real_llava_that_sees_an_image_as_16_tokens(loaded: Loaded) -> None:
    processor, model = loaded
    inputs = processor(images=held_out().pictures()[0], text=prompt(QUESTIONS[0]), return_tensors="pt")
    assert isinstance(model, transformers.LlavaForConditionalGeneration)
    assert model.config.vision_config.model_type == "clip_vision_model"
    assert model.config.text_config.model_type == "llama"
    assert int((inputs["input_ids"] == model.config.image_token_index).sum()) == 16
    assert CARD["visual_tokens_per_image"] == 16
    assert CARD["parameters"] == model.num_parameters()


def test_the_answers_are_far_above_the_best_guess_that_looks_at_no_image(reached: dict[str, Accuracy]) -> None:
    for question in QUESTIONS:
        low, _ = reached[question.name].interval_fraction
        assert low > CARD["shipped_test_images"][question.name]["best_constant_guess"]["fraction"] + 0.2


def test_the_answers_are_right_as_often_as_the_card_says_about_the_shipped_images(reached: dict[str, Accuracy]) -> None:
    assert reached.keys() == CARD["shipped_test_images"].keys()
    for name, accuracy in reached.items():
        entry = CARD["shipped_test_images"][name]
        assert (accuracy.right, accuracy.asked, accuracy.independent) == (
            entry["right"],
            entry["asked"],
            entry["images"],
        )


def test_the_card_claims_at_least_95_percent_on_test_images_for_each_question() -> None:
    assert all(entry["fraction"] >= 0.95 for entry in CARD["test"].values())


def test_an_answer_has_several_tokens_so_that_there_is_a_decode_phase(loaded: Loaded) -> None:
    processor, model = loaded
    for question in QUESTIONS:
        inputs = processor(images=held_out().pictures()[0], text=prompt(question), return_tensors="pt")
        written = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        assert 3 <= len(written) <= 8
        assert written[-1] == processor.tokenizer.eos_token_id


def test_a_padded_batch_of_different_questions_gives_the_answers_of_single_calls(loaded: Loaded) -> None:
    processor, model = loaded
    pictures = held_out().pictures()[: len(QUESTIONS)]
    texts = [prompt(question) for question in QUESTIONS]
    alone = [
        asking.decoded(processor, model, processor(images=picture, text=text, return_tensors="pt"))[0]
        for picture, text in zip(pictures, texts, strict=True)
    ]
    together = processor(images=pictures, text=texts, return_tensors="pt", padding=True)
    assert int((together["attention_mask"] == 0).sum()) > 0
    assert asking.decoded(processor, model, together) == alone


def test_the_chat_template_writes_the_same_prompt(loaded: Loaded) -> None:
    processor, _ = loaded
    for question in QUESTIONS:
        content = [{"type": "image"}, {"type": "text", "text": question.text}]
        chat = [{"role": "user", "content": content}]
        assert processor.apply_chat_template(chat, add_generation_prompt=True) == prompt(question)


def test_the_held_out_images_are_pictures_of_balanced_digits() -> None:
    images = held_out()
    assert images.images.shape == (len(images), 8, 8)
    assert {digit: images.digits.count(digit) for digit in range(10)} == dict.fromkeys(range(10), 5)
    assert images.pictures(side_px=224)[0].size == (224, 224)
    assert images.pictures()[0].mode == "RGB"


def test_the_card_names_the_source_of_the_images() -> None:
    assert "Alpaydin" in CARD["images"]["source"]
    assert "Kaynak" in CARD["images"]["source"]
