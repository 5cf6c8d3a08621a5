"""Commands: what goes in, what comes out, how they end."""

from __future__ import annotations

import hashlib
import os
import signal
import time

import pytest

import ckpt


def test_streams_are_apart_and_the_code_is_its_own(shared: ckpt.Sandbox) -> None:
    result = shared.exec("echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 3)
    assert not result.ok and not result.timed_out and not result.oom_killed and not result.truncated
    assert result.duration > 0


def test_a_list_is_not_read_by_a_shell(shared: ckpt.Sandbox) -> None:
    assert shared.exec(["printf", "%s", "$HOME; *"]).stdout == "$HOME; *"


def test_bytes_that_are_no_text_arrive(shared: ckpt.Sandbox) -> None:
    data = bytes(range(256))
    result = shared.exec(["cat"], stdin=data)
    assert result.stdout_bytes == data
    assert "�" in result.stdout


def test_stdin_too_large_for_one_request(shared: ckpt.Sandbox) -> None:
    data = os.urandom(1 << 20) * 20
    result = shared.exec(["sha256sum"], stdin=data)
    assert result.stdout.split()[0] == hashlib.sha256(data).hexdigest()
    assert shared.exec("cat; echo bad >&2; exit 3", stdin="ä" * (3 << 20)).stdout_bytes == "ä".encode() * (
        3 << 20
    )
    few = shared.exec("head -c 3; exit 4", stdin=b"abc" + data)
    assert (few.stdout, few.exit_code, few.truncated) == ("abc", 4, False)
    late = shared.exec("cat > /dev/null; sleep 100", stdin=data, timeout=1)
    assert late.timed_out and late.exit_code == 124
    assert shared.exec(["cat"], stdin=data, max_output=1000).truncated


def test_a_request_that_is_too_large_is_refused_in_words(shared: ckpt.Sandbox) -> None:
    with pytest.raises(ckpt.CkptError, match="larger than 8 MiB"):
        shared.exec(["true", "x" * (9 << 20)])


def test_stdin_is_empty_when_missing(shared: ckpt.Sandbox) -> None:
    assert shared.exec("wc -c").stdout.strip() == "0"


def test_where_and_as_whom_it_runs(shared: ckpt.Sandbox) -> None:
    result = shared.exec('pwd; id -un; echo "$A"', cwd="/usr", user="daemon", env={"A": "x y"})
    assert result.stdout == "/usr\ndaemon\nx y\n"


def test_a_timeout_keeps_what_was_printed_and_kills_the_rest(shared: ckpt.Sandbox) -> None:
    result = shared.exec("echo begun; sleep 1234 & wait", timeout=0.3)
    assert result.timed_out and result.exit_code == 124 and result.stdout == "begun\n"
    assert shared.exec("pgrep -f 'sleep 123[4]'").exit_code == 1


def test_check_tells_a_timeout_from_a_failure(shared: ckpt.Sandbox) -> None:
    with pytest.raises(ckpt.CommandFailed) as failed:
        shared.exec("echo out; echo why >&2; exit 7", check=True)
    assert (
        failed.value.result.exit_code == 7 and failed.value.stdout == "out\n" and "why" in str(failed.value)
    )
    with pytest.raises(ckpt.CommandTimeout) as late:
        shared.exec("echo part; sleep 60", timeout=0.2, check=True)
    assert late.value.stdout == "part\n"
    assert isinstance(late.value, TimeoutError)
    assert shared.exec("true", check=True).ok


def test_a_signal_is_told(shared: ckpt.Sandbox) -> None:
    result = shared.exec("kill -SEGV $$")
    assert result.signal == signal.SIGSEGV and result.exit_code == 128 + signal.SIGSEGV


def test_too_much_output_is_cut(shared: ckpt.Sandbox) -> None:
    result = shared.exec("head -c 5000 /dev/zero | tr '\\0' x", max_output=1000)
    assert result.truncated and result.stdout == "x" * 1000


def test_memory_beyond_the_limit_is_told() -> None:
    with ckpt.Sandbox.create(memory="64m", memory_swap="64m") as sb:
        result = sb.exec("python3 -c 'x = bytearray(200 << 20)'")
        assert result.oom_killed and not result.ok


def test_a_session_keeps_its_state(shared: ckpt.Sandbox) -> None:
    shell = shared.session()
    shell.exec("cd /usr; v='a b'; f() { echo \"f $v\"; }")
    assert shell.exec("pwd; f").stdout == "/usr\nf a b\n"
    assert shell.exec(["printf", "%s|", "a b", "$v"]).stdout == "a b|$v|"
    assert shell.exec("sleep 60", timeout=0.2).timed_out
    assert shell.exec("f").stdout == "f a b\n"
    shell.close()
    assert shell.name not in shared.info().sessions


def test_a_big_output_arrives_whole(shared: ckpt.Sandbox) -> None:
    result = shared.exec("seq 1 400000")
    assert result.stdout == "".join(f"{n}\n" for n in range(1, 400001))


def test_options_reach_the_sandbox(tmp_path) -> None:
    (tmp_path / "file").write_text("of the host")
    with ckpt.Sandbox.create(
        name="with-options",
        hostname="box",
        env={"GREETING": "hello"},
        workdir="/usr",
        volumes={tmp_path: "/data:ro"},
        add_hosts={"db": "10.0.0.1"},
        ulimits={"nofile": "100:200"},
        sysctls={"net.ipv4.ip_forward": 1},
        pids=100,
        cap_drop=["CHOWN"],
    ) as sb:
        assert sb.name == "with-options"
        script = "hostname; echo $GREETING; pwd; cat /data/file; ulimit -n; cat $forward /etc/hosts"
        said = sb.exec(script, env={"forward": "/proc/sys/net/ipv4/ip_forward"}).stdout
        assert said.split("\n")[:5] == ["box", "hello", "/usr", "of the host100", "1"]
        assert "10.0.0.1" in said
        assert sb.exec("chown daemon /tmp").exit_code == 1
        spec = sb.info().spec
        assert spec.limits.pids == 100 and spec.security.cap_drop == ["CHOWN"]
        assert sb.update(pids=120).spec.limits.pids == 120
        assert sb.update(lift=["pids-limit"]).spec.limits is None


@pytest.mark.parametrize(
    ("options", "hint"), [({"memroy": "1g"}, "memory"), ({"memory": "lots"}, None), ({"net": "moon"}, None)]
)
def test_a_wrong_option_is_refused_and_makes_nothing(options, hint) -> None:
    before = len(ckpt.Sandbox.list())
    with pytest.raises(ckpt.InvalidOption) as refused:
        ckpt.Sandbox.create(**options)
    assert hint is None or hint in refused.value.hint
    assert isinstance(refused.value, ValueError)
    assert len(ckpt.Sandbox.list()) == before


def test_what_is_no_command_is_refused(shared: ckpt.Sandbox) -> None:
    for command in (b"true", []):
        with pytest.raises(ckpt.InvalidOption):
            shared.exec(command)


def test_names_are_looked_up(sb: ckpt.Sandbox) -> None:
    same = ckpt.Sandbox.get(sb.name)
    assert same == sb and hash(same) == hash(sb)
    with same:
        pass
    assert sb.info().state == "running", "a sandbox that was looked up outlives its block"
    with pytest.raises(ckpt.SandboxNotFound) as missing:
        ckpt.Sandbox.get("nobody")
    assert isinstance(missing.value, ckpt.NotFound) and isinstance(missing.value, LookupError)
    with pytest.raises(ckpt.NameTaken):
        ckpt.Sandbox.create(name=sb.name)


def test_removing_twice_is_no_error() -> None:
    sb = ckpt.Sandbox.create()
    sb.remove()
    sb.remove()
    with pytest.raises(ckpt.SandboxNotFound):
        sb.exec("true")


def test_pause_stops_time_for_its_processes(sb: ckpt.Sandbox) -> None:
    sb.start("while :; do :; done")
    assert sb.pause().state == "paused"
    before = sb.stats().cpu.usage_ns
    time.sleep(0.1)
    assert sb.stats().cpu.usage_ns == before
    with pytest.raises(ckpt.WrongState):
        sb.exec("true")
    assert sb.unpause().state == "running"
    assert sb.exec("echo on").stdout == "on\n"
    assert sb.stats().pids.current >= 2
    assert any("while" in process.command for process in sb.processes())
    assert any(record.text == "on\n" for record in sb.logs())


def test_where_and_with_what_a_session_runs(shared: ckpt.Sandbox) -> None:
    shell = shared.session("started", cwd="/srv", env={"A": "it's"}, user="daemon")
    assert shell.exec('pwd; id -un; echo "$A"').stdout == "/srv\ndaemon\nit's\n"
    said = shell.exec("cat <<EOF\n$B $(printenv B)\nEOF\nn=41; cd /tmp", cwd="/usr", env={"B": "a 'b' $c"})
    assert said.stdout == "a 'b' $c a 'b' $c\n"
    assert shell.exec('pwd; echo "$n-$A-$B"').stdout == "/tmp\n41-it's-\n"
    assert shared.exec("pwd; echo $((n + $C))", session="started", cwd="/usr/lib", env={"C": 1}).stdout == (
        "/usr/lib\n42\n"
    )
    lost = shell.exec("echo not run", cwd="/none/such")
    assert (lost.stdout, lost.exit_code) == ("", 1) and "/none/such" in lost.stderr
    assert shell.exec("pwd; exit 3", env={"D": "1"}).exit_code == 3
    # What it was started with holds for the bash that takes its place.
    assert shell.exec("pwd; id -un").stdout == "/srv\ndaemon\n"
    with pytest.raises(ckpt.InvalidOption, match="no-name"):
        shell.exec("true", env={"no-name": "1"})
    shell.close()
    py = shared.python("elsewhere", cwd="/usr", env={"A": "2"}, user="nobody")
    assert py.eval("__import__('os').getcwd(), __import__('os').environ['A'], __import__('os').getuid()") == (
        "/usr",
        "2",
        65534,
    )
    py.close()
