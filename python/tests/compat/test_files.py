"""Files, the root filesystem seen from outside, what a sandbox uses, and images."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from ckpt.compat.nitrobox import Sandbox, SandboxError
from ckpt.compat.nitrobox.sandbox import SandboxFeatures

from .conftest import Maker


def test_write_and_read(kept: Sandbox) -> None:
    kept.write_file("/new/dir/text", "grüße\n")
    assert kept.run("cat /new/dir/text") == ("grüße\n", 0)
    # Every byte is a character, as theirs.
    assert kept.read_file("/new/dir/text").encode("latin-1").decode() == "grüße\n"
    data = bytes(range(256))
    kept.write_file("new/bytes", data)
    assert kept.read_file("/new/bytes").encode("latin-1") == data
    assert (kept.rootfs / "new" / "bytes").read_bytes() == data
    with pytest.raises(FileNotFoundError, match="File /no/file does not exist in the sandbox"):
        kept.read_file("/no/file")
    for call in (lambda: kept.read_file("/etc"), lambda: kept.write_file("/etc", "x")):
        with pytest.raises(IsADirectoryError):
            call()


def test_copies(kept: Sandbox, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "a").write_text("a")
    (tree / "link").symlink_to("sub/a")
    kept.copy_to(str(tree), "/copies/of/tree")
    assert kept.run("cat /copies/of/tree/sub/a; readlink /copies/of/tree/link") == ("asub/a\n", 0)
    # What a directory has already stays.
    kept.run("echo b > /copies/of/tree/sub/b")
    kept.copy_to(str(tree), "/copies/of/tree")
    assert kept.run("ls /copies/of/tree/sub") == ("a\nb\n", 0)
    kept.copy_to(str(tree / "sub" / "a"), "/copies/of/file")
    kept.copy_to(str(tree / "sub" / "a"), "/copies/of/tree")
    assert kept.run("cat /copies/of/file /copies/of/tree/a") == ("aa", 0)
    kept.copy_from("/copies/of/tree", str(tmp_path / "made" / "back"))
    assert (tmp_path / "made/back/sub/b").read_text() == "b\n"
    assert (tmp_path / "made/back/link").is_symlink()
    (tmp_path / "made/back/own").write_text("mine")
    kept.copy_from("/copies/of/tree", str(tmp_path / "made" / "back"))
    assert (tmp_path / "made/back/own").read_text() == "mine"
    kept.copy_from("/copies/of/file", str(tmp_path / "one"))
    kept.copy_from("/copies/of/file", str(tmp_path / "made"))
    assert (tmp_path / "one").read_text() == (tmp_path / "made" / "file").read_text() == "a"
    with pytest.raises(FileNotFoundError, match="File /nothing does not exist"):
        kept.copy_from("/nothing", str(tmp_path / "x"))
    with pytest.raises(FileNotFoundError):
        kept.copy_to(str(tmp_path / "nothing"), "/x")


def test_a_link_that_is_named_is_followed_where_it_lies(kept: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "links").symlink_to(tmp_path)
    kept.copy_to(str(tmp_path / "link"), "/followed/copy")
    kept.copy_to(str(tmp_path / "link"), "/followed")
    kept.copy_to(str(tmp_path / "links"), "/followed/all")
    assert kept.run("cd /followed; cat copy link all/file; test ! -L copy -a ! -L link") == (
        "of the host" * 3,
        0,
    )
    # Its target is the sandbox's own file, not this machine's of that path.
    (tmp_path / "same").write_text("of the host")
    kept.run(
        f"mkdir -p {tmp_path}/d; echo inside > {tmp_path}/same; ln -sf {tmp_path}/same {tmp_path}/d /followed"
    )
    kept.copy_from("/followed/same", str(tmp_path / "out"))
    kept.copy_from("/followed/d", str(tmp_path / "tree"))
    assert (tmp_path / "out").read_text() == "inside\n" and not (tmp_path / "out").is_symlink()
    assert (tmp_path / "tree").is_dir() and not (tmp_path / "tree").is_symlink()


def test_no_link_leads_out(kept: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    kept.run(f"ln -sf {secret} /workspace/out; ln -sfn {tmp_path} /workspace/dir")
    with pytest.raises((FileNotFoundError, SandboxError)):
        kept.read_file("/workspace/out")
    with pytest.raises((FileNotFoundError, SandboxError)):
        kept.copy_from("/workspace/out", str(tmp_path / "copy"))
    try:
        kept.write_file("/workspace/dir/secret", "overwritten")
    except (FileNotFoundError, SandboxError):
        pass
    assert secret.read_text() == "of the host"


def test_what_it_uses(kept: Sandbox) -> None:
    for resource, averages in kept.pressure().items():
        assert resource in ("cpu", "memory", "io") and set(averages) == {"avg10", "avg60", "avg300"}
    assert kept.reclaim_memory() in (True, False)
    cgroup_v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    features: SandboxFeatures = {
        "userns": False, "layer_cache": False, "whiteout": "root", "pidfd": True, "cgroup_v2": cgroup_v2,
        "seccomp": True, "landlock": False, "netns": False, "devices": False, "timens": True,
        "cpuset_cpus": None, "oom_score_adj": None, "mask_paths": True, "cap_drop": True,
    }  # fmt: skip
    assert kept.features == features and set(features) == set(SandboxFeatures.__annotations__)


def test_features_follow_the_configuration(make: Maker) -> None:
    box = make(net_isolate=True, seccomp=False, writable_paths=["/workspace"], oom_score_adj=100)
    assert box.features["netns"] and box.features["landlock"] and not box.features["seccomp"]
    assert box.features["oom_score_adj"] == 100
    assert box.run("cat /proc/net/dev | grep -c :") == ("1\n", 0)
    assert box.run("touch /workspace/x && ! touch /root/x 2>/dev/null")[1] == 0


def test_save_as_image(make: Maker, rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = make("image", image=str(rootfs), environment={"KEY": "value"}, working_dir="/srv")
    box.run("echo new > /srv/file; ln /srv/file /srv/twin; chown 5:6 /srv/file; ln -s /etc/x /srv/link")
    monkeypatch.chdir(tmp_path)
    path = box.save_as_image("team/tool:v1")
    assert path == Path("team_tool_v1.tar")
    with tarfile.open(path) as archive:
        index = json.load(archive.extractfile("index.json"))
        entry = index["manifests"][0]
        assert entry["annotations"]["io.containerd.image.name"] == "team/tool:v1"

        def blob(digest: str) -> bytes:
            return archive.extractfile("blobs/" + digest.replace(":", "/")).read()

        manifest = json.loads(blob(entry["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        assert config["config"]["Env"] == ["KEY=value"] and config["config"]["WorkingDir"] == "/srv"
        assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
        (tmp_path / "layer").write_bytes(blob(manifest["layers"][0]["digest"]))
        assert json.load(archive.extractfile("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    with tarfile.open(tmp_path / "layer") as layer:
        names = set(layer.getnames())
        assert {"bin/busybox", "srv/file", "srv/link"} <= names
        assert not any(name.split("/")[0] in ("proc", "sys", "dev", ".ckpt") for name in names)
        twin = [layer.getmember(name) for name in ("srv/file", "srv/twin")]
        assert sorted(member.islnk() for member in twin) == [False, True]
        assert (
            layer.extractfile("srv/file").read() == b"new\n"
            and layer.getmember("srv/link").linkname == "/etc/x"
        )
    assert box.save_as_image("other.tar") == Path("other.tar")
