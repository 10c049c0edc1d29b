"""FastV: half of the visual tokens are dropped before the third layer of the language model.

Chen et al. 2024 (arXiv 2403.06764): by the attention that the layer before gave them. Here by the last token's query in
the layer itself, since attention weights are not computed by fast kernels.
"""

from __future__ import annotations

from functools import partial

from wattvlm.pruning import Way
from wattvlm.pruning._layers import dropping

LAYER = 2


WAYS = tuple(
    Way(f"fastv-{name}", f"in the language model, before its layer {LAYER + 1}", 1.0,
        partial(dropping, before_layer=LAYER, keep_fraction=fraction))
    for name, fraction in (("1of2", 0.5), ("1of4", 0.25))
)  # fmt: skip
