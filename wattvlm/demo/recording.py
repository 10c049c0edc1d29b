"""`python -m wattvlm.demo.recording`: make the shipped recording of a simulated session anew."""

from __future__ import annotations

from wattvlm.demo import replay_path
from wattvlm.testing.scenarios import data_centre_session

SEED = 3


def main() -> None:
    """Write the recording that `wattvlm demo --replay` shows; the same bytes each time."""
    data_centre_session(seed=SEED).recording.save(replay_path())


if __name__ == "__main__":
    main()
