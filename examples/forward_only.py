"""Meter a forward pass without generation: the joules of an image embedding."""

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

import wattvlm

config = CLIPVisionConfig(hidden_size=192, intermediate_size=384, num_hidden_layers=4, image_size=224, patch_size=32)
model = CLIPVisionModel(config).eval()
pixels = torch.rand(8, 3, 224, 224)

with wattvlm.meter(label="eight images to vectors") as m, torch.inference_mode():
    for _ in range(20):
        model(pixel_values=pixels)

print(m.report)
