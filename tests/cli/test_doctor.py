"""What doctor says of a board's calibration."""

from dataclasses import replace

from wattvlm.calibration import Calibration
from wattvlm.cli.doctor import calibration_words
from wattvlm.sensing import Channel

BOARD = Channel("gpu-8f2c/board", "NVML energy counter", "NVIDIA H100", "gpu", "counter", gain_std_fraction=0.045)
RECORD = Calibration("gpu-8f2c/board", "570.86", "2026-11-22T14:00:00Z", "x", "0.1.0", gain=0.954,
                     gain_std_fraction=0.0025)  # fmt: skip
FACTS = {"driver": "570.86"}


def test_a_calibrated_board_is_said_to_be_and_how_surely():
    assert calibration_words(BOARD, [RECORD], FACTS) == "calibrated 2026-11-22: 0.954 ±0.49 %"


def test_a_board_without_a_record_or_with_one_of_another_driver_is_said_to_be_uncalibrated_with_the_cure():
    assert "not calibrated: ±8.8 % at 95 %. Cure: wattvlm calibrate" in calibration_words(BOARD, [], FACTS)
    other = calibration_words(BOARD, [replace(RECORD, driver="530.1")], FACTS)
    assert "530.1" in other
    assert "Cure: wattvlm calibrate" in other


def test_a_record_without_a_gain_leaves_the_gain_unsure():
    window = replace(RECORD, gain=None, gain_std_fraction=None, response="boxcar", window_ns=(24_000_000, 26_000_000))
    words = calibration_words(BOARD, [window], FACTS)
    assert words.startswith("period and window found 2026-11-22, not calibrated")


def test_models_and_other_domains_need_no_words():
    for channel in (replace(BOARD, method="model"), replace(BOARD, name="cpu-0/package", domain="cpu")):
        assert calibration_words(channel, [], FACTS) == ""
