"""The protocol, and servers that go, come or are others."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pytest

import ckpt
from ckpt import errors
from ckpt._wire import frames, http

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nCkpt-Error: {}\r\n\r\n"
)


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_an_answer_in_pieces_of_any_size(answer: bytes, step: int) -> None:
    response = http.Response()
    body = b""
    for start in range(0, len(answer), step):
        assert not response.complete
        response.feed(answer[start : start + step])
        body += response.body()
    assert response.complete and response.status == 200 and body == b"hello" and response.rest == b""
    assert response.closes == (answer == CHUNKED)
    assert response.trailer == (b"{}" if answer == CHUNKED else None)


def test_what_is_no_http_is_refused() -> None:
    for answer in (b"SSH-2.0-x\r\n\r\n", b"x" * (http.HEAD_LIMIT + 1)):
        with pytest.raises(ckpt.VersionMismatch):
            http.Response().feed(answer)


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_error_of_an_answer_and_one_of_a_trailer(wrapped: bool) -> None:
    message = {"code": "no_space", "message": "the disk is full", "hint": "ckpt gc"}
    error = http.failure({"error": message} if wrapped else message)
    assert type(error) is ckpt.NoSpace and "the disk is full" in str(error) and error.hint == "ckpt gc"


def test_names_are_escaped() -> None:
    assert (
        http.target("/v1/x", path="/a b+ü", no=None, off=False, on=True)
        == "/v1/x?path=%2Fa%20b%2B%C3%BC&on=true"
    )


def test_frames_in_pieces() -> None:
    decoder = frames.Decoder()
    data = frames.frame(1, b"abc") + frames.frame(3) + frames.frame(6, b"12345678")
    found = [frame for byte in data for frame in decoder.feed(bytes([byte]))]
    assert found == [(1, b"abc"), (3, b""), (6, b"12345678")]
    with pytest.raises(ckpt.VersionMismatch):
        decoder.feed(b"\xff\xff\xff\xff\x01")


def test_stdin_is_sent_again_from_where_it_arrived() -> None:
    stdin = frames.Stdin()
    stdin.add(b"hello")
    stdin.closed = True
    assert frames.Decoder().feed(stdin.frames()) == [(1, bytes(8) + b"hello"), (2, b"")]
    stdin.resume(2)
    assert frames.Decoder().feed(stdin.frames()) == [(1, bytes(7) + b"\x02llo"), (2, b"")]
    with pytest.raises(ckpt.InternalError):
        stdin.resume(9)


def test_every_code_of_the_api_has_its_exception() -> None:
    openapi = (Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text()
    listed = openapi.split("    ErrorMessage:")[1].split("enum:")[1].split("message:")[0]
    codes = [line.strip(" -") for line in listed.splitlines() if line.strip().startswith("- ")]
    assert len(codes) >= 17
    for code in codes:
        error = errors.from_message({"code": code, "message": "m", "hint": "h", "cause": "c"})
        assert type(error) is not errors.CkptError and error.code == code
        assert str(error) == "m: c (hint: h)"


def test_the_server_may_be_replaced_between_two_calls(sb: ckpt.Sandbox) -> None:
    client = ckpt.Client.default()
    before = client.version().pid
    client.shutdown()
    assert sb.exec("echo on").stdout == "on\n"
    assert client.version().pid != before


def test_no_server_is_started_where_that_is_not_wanted(tmp_path) -> None:
    with pytest.raises(ckpt.ServerUnavailable, match="no server listens"):
        ckpt.Client(tmp_path, start=False).version()


def test_a_missing_program_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CKPT_BIN", str(tmp_path / "nothing"))
    with pytest.raises(ckpt.InvalidOption, match="CKPT_BIN"):
        ckpt.Client(tmp_path).version()
    monkeypatch.delenv("CKPT_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    if not (Path(ckpt.__file__).parent / "_bin").exists():
        with pytest.raises(ckpt.NotInstalled):
            ckpt.Client(tmp_path).version()
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no idea' >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ckpt.ServerUnavailable, match="no idea"):
        ckpt.Client(tmp_path, binary=broken).version()


def test_another_version_is_refused(tmp_path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "server.sock"))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        body = json.dumps({"version": "9.0", "format": 1, "api": "v9", "pid": 1}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(ckpt.VersionMismatch, match="v9"):
        ckpt.Sandbox.create(client=ckpt.Client(tmp_path))
    thread.join()
    listener.close()


def test_the_root_is_chosen_as_the_program_does(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CKPT_ROOT", "/chosen")
    assert ckpt.Client().root == "/chosen"
    assert ckpt.Client(tmp_path).root == str(tmp_path)
    monkeypatch.delenv("CKPT_ROOT")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data/")
    assert ckpt.Client().root == "/data/ckpt"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert ckpt.Client().root == "/home/me/.local/share/ckpt"
