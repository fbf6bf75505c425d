"""Where control groups may be made: read from what the kernel says, and tried."""

from pathlib import Path

import pytest

from cco_sidecar.backends.agents.cgroups import delegated_group

MOUNT = "35 24 0:30 {root} {point} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
OTHER = "36 24 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def proc(directory: Path, groups: str, mounts: str) -> Path:
    (directory / "cgroup").write_text(groups)
    (directory / "mountinfo").write_text(mounts)
    return directory


@pytest.mark.parametrize(
    ("group", "root", "below"),
    [
        ("/", "/", ""),
        ("/user.slice/me.scope", "/", "user.slice/me.scope"),
        ("/docker/abc/mine", "/docker/abc", "mine"),
    ],
)
def test_found(tmp_path: Path, group: str, root: str, below: str) -> None:
    """The group is found below its mount point, also if only a part of the tree is mounted."""
    own = tmp_path / "fs" / below
    own.mkdir(parents=True)
    mounts = OTHER + MOUNT.format(root=root, point=tmp_path / "fs")
    # No kernel makes cgroup.kill in a plain directory: what is made there is taken back, and refused.
    assert delegated_group(proc(tmp_path, f"9:name=x:/\n0::{group}\n", mounts)) == b""
    assert list(own.iterdir()) == []


@pytest.mark.parametrize(
    ("groups", "mounts"),
    [("", ""), ("4:memory:/x\n", OTHER), ("0::/x\n", OTHER), ("0::/gone (deleted)\n", MOUNT), ("0::/a\n", MOUNT)],
)
def test_none(tmp_path: Path, groups: str, mounts: str) -> None:
    """Without version 2, or where it is not to be seen, there is none."""
    assert delegated_group(proc(tmp_path, groups, mounts.format(root="/b", point="/nowhere"))) == b""
    assert delegated_group(tmp_path / "missing") == b""
