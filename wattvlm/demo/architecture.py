"""The untrained model of the demo: transformers' LLaVA class with a small CLIP tower and a small Llama decoder.

transformers and torch are imported by name, so untyped: their own types do not pass a strict checker.
"""

from importlib import import_module
from typing import Any

from wattvlm.demo.questions import IMAGE_TOKEN, QUESTIONS, prompt

IMAGE_SIDE_PX = 16
PATCH_SIDE_PX = 4
VISUAL_TOKENS = (IMAGE_SIDE_PX // PATCH_SIDE_PX) ** 2

_WIDTH = 64
_HEADS = 4
_LAYERS = 2
_FEED_FORWARD = 160
_LONGEST_PROMPT = 128
# The usual 0.02 suits widths near 2,500 (1 / sqrt(width)); here it took about twice the steps to 90 % of the
# validation answers.
_INITIAL_STD = 0.08

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '" + IMAGE_TOKEN + "\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ ' ' }}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def answer_text(sentence: str) -> str:
    """The characters the model writes for `sentence`: the space belongs to its first token, as in any BPE text."""
    return f" {sentence}"


def untrained_tokenizer() -> Any:
    """A byte-level BPE tokenizer, so that any text has tokens; each word the demo uses is one token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    transformers: Any = import_module("transformers")
    bpe: Any = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", IMAGE_TOKEN]
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        min_frequency=1,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sentences = {answer_text(question.sentence(digit)) for question in QUESTIONS for digit in range(10)}
    prompts = [prompt(question).replace(IMAGE_TOKEN, "") for question in QUESTIONS]
    bpe.train_from_iterator(sorted(sentences) + prompts, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", special.index("<s>"))])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=_LONGEST_PROMPT,
    )


def untrained_processor() -> Any:
    """Tokenizer and image processor as one `LlavaProcessor`, which needs Pillow and not torchvision."""
    transformers: Any = import_module("transformers")
    side = {"height": IMAGE_SIDE_PX, "width": IMAGE_SIDE_PX}
    images = transformers.CLIPImageProcessorPil(
        size=side, crop_size=side, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return transformers.LlavaProcessor(
        image_processor=images,
        tokenizer=untrained_tokenizer(),
        patch_size=PATCH_SIDE_PX,
        # The CLIP tower adds a class token, and the strategy "default" drops it again.
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
    )


def untrained_model(tokenizer: Any) -> Any:
    """A `LlavaForConditionalGeneration` with random float32 weights from torch's current seed."""
    transformers: Any = import_module("transformers")
    shape = {
        "hidden_size": _WIDTH,
        "num_attention_heads": _HEADS,
        "num_hidden_layers": _LAYERS,
        "intermediate_size": _FEED_FORWARD,
    }
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    ends["pad_token_id"] = tokenizer.pad_token_id
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            **shape, image_size=IMAGE_SIDE_PX, patch_size=PATCH_SIDE_PX, projection_dim=_WIDTH
        ),
        text_config=transformers.LlamaConfig(
            **shape,
            **ends,
            num_key_value_heads=_HEADS,
            vocab_size=len(tokenizer),
            max_position_embeddings=_LONGEST_PROMPT,
            tie_word_embeddings=True,
            initializer_range=_INITIAL_STD,
        ),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=VISUAL_TOKENS,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    model = transformers.LlavaForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(**ends, max_new_tokens=12, do_sample=False)
    return model
