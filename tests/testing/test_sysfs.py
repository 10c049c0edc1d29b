"""The powercap folders for tests look and behave as the kernel's."""

import os

import pytest

from wattvlm.testing.sysfs import PowercapPackage, powercap_tree


@pytest.fixture
def root(tmp_path):
    return tmp_path / "powercap"


def test_zones_lie_side_by_side_under_the_names_that_the_kernel_gives_them(root):
    tree = powercap_tree(root, [PowercapPackage(0), PowercapPackage(1)], psys=True)
    assert (root / "intel-rapl:1:1" / "name").read_text() == "dram\n"
    assert (root / "intel-rapl:2" / "name").read_text() == "psys\n"
    assert tree.zones["package-1/dram"] == root / "intel-rapl:1:1"


def test_a_counter_that_is_held_open_shows_each_new_energy_and_nothing_of_the_old(root):
    tree = powercap_tree(root)
    descriptor = tree.opener(root / "intel-rapl:0" / "energy_uj", os.O_RDONLY)
    seen = []
    for energy_j in (200_000.0, 0.000005, 1.0):
        tree.set_energy_j("package-0", energy_j)
        seen.append(int(os.pread(descriptor, 64, 0)))
    os.close(descriptor)
    assert seen == [200_000_000_000, 5, 1_000_000]


def test_energy_beyond_the_range_wraps(root):
    tree = powercap_tree(root, [PowercapPackage(wraps_at_j=10.0)])
    tree.set_energy_j("package-0", 23.5)
    assert int((root / "intel-rapl:0" / "energy_uj").read_text()) == 3_500_000


def test_a_denied_counter_opens_for_nobody_and_the_others_still_do(root):
    tree = powercap_tree(root, denied=["package-0"])
    with pytest.raises(PermissionError):
        tree.opener(root / "intel-rapl:0" / "energy_uj", os.O_RDONLY)
    os.close(tree.opener(root / "intel-rapl:0:1" / "energy_uj", os.O_RDONLY))


def test_a_removed_zone_is_gone(root):
    tree = powercap_tree(root)
    tree.remove("package-0/dram")
    assert not (root / "intel-rapl:0:1").exists()
    assert "package-0/dram" not in tree.zones
