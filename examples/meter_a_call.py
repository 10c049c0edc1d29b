"""Meter a call of any vision-language model: one `with`, no registration."""

from transformers import AutoModelForImageTextToText, AutoProcessor

import wattvlm
from wattvlm.demo import model_path
from wattvlm.demo.questions import QUESTIONS, held_out, prompt

processor = AutoProcessor.from_pretrained(model_path())
model = AutoModelForImageTextToText.from_pretrained(model_path())
picture = held_out().pictures()[0]

with wattvlm.meter(label="digits") as m:
    inputs = processor(images=[picture], text=[prompt(QUESTIONS[0])], return_tensors="pt")
    output = model.generate(**inputs)

print(processor.batch_decode(output, skip_special_tokens=True)[0])
print(m.report)
