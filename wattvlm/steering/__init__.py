"""Power limits and clocks of NVIDIA GPUs, set for a while and given back however the program ends.

    with steered(settings, folder / "kept.json") as boards:
        boards.set(Setting(power_limit_w=250.0))

A process of its own, the guardian, sets them: it outlives a measured program that is killed, and gives back what was
there before. What it has to give back is also in a file, for the case that both were killed.
"""

from wattvlm.steering.steered import NotSteerable as NotSteerable
from wattvlm.steering.steered import Steered as Steered
from wattvlm.steering.steered import steered as steered
