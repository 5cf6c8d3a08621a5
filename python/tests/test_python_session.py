"""The Python interpreter in a sandbox."""

from __future__ import annotations

import pytest

import ckpt


@pytest.fixture(scope="module")
def py(shared: ckpt.Sandbox) -> ckpt.PythonSession:
    return shared.python()


def test_an_expression_in_its_value_out(py: ckpt.PythonSession) -> None:
    result = py.run("import os\nx = 20\nprint('said')\nos.system('echo by a program')\nx + 1")
    assert result == ckpt.PythonResult(21, "21", "said\nby a program\n", "")
    assert py.run("y = x").value is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(10**40),
        1.5,
        float("inf"),
        "ü\n\0",
        b"\xff",
        [1, [2]],
        (1, (2,)),
        {1, 2},
        frozenset("a"),
        {"a": 1, (1, 2): b"x", None: {"dict": []}},
        {"tuple": [1]},
        [],
        (),
    ],
)
def test_plain_data_keeps_its_type(py: ckpt.PythonSession, value) -> None:
    source = repr(value).replace("inf", "float('inf')")
    got = py.eval(source)
    assert got == value and type(got) is type(value)


def test_anything_else_is_its_repr_and_nothing_is_unpickled(py: ckpt.PythonSession) -> None:
    got = py.eval("[1, object]")
    assert isinstance(got, ckpt.Opaque) and got == "[1, <class 'object'>]"
    assert isinstance(py.eval("type('Int', (int,), {})(3)"), ckpt.Opaque)


def test_much_data(py: ckpt.PythonSession) -> None:
    assert py.eval("list(range(100_000))") == list(range(100_000))
    assert py.eval(f"len({'x' * 500_000!r})") == 500_000


def test_an_exception_is_raised_with_its_traceback(py: ckpt.PythonSession) -> None:
    with pytest.raises(ckpt.PythonError) as raised:
        py.run("def f():\n    return {}['missing']\nprint('before')\nf()")
    error = raised.value
    assert error.kind == "KeyError" and error.stdout == "before\n" and str(error) == "KeyError: 'missing'"
    assert "return {}['missing']" in error.traceback and "ckpt" not in error.traceback
    with pytest.raises(ckpt.PythonError, match="SyntaxError"):
        py.run("1 +")
    with pytest.raises(ckpt.PythonError, match="SystemExit"):
        py.run("import sys; sys.exit(3)")


def test_a_timeout_interrupts_and_keeps_the_variables(py: ckpt.PythonSession) -> None:
    py.run("kept = 5")
    with pytest.raises(ckpt.CommandTimeout) as late:
        py.run("print('begun')\nwhile True: pass", timeout=0.3)
    assert late.value.stdout == "begun\n"
    assert py.eval("kept", timeout=10) == 5


def test_it_goes_through_save_restore_and_fork(sb: ckpt.Sandbox) -> None:
    py = sb.python()
    py.run("import random; rows = [1, 2]; draw = iter(range(100)); next(draw)")
    snapshot = sb.save()
    py.run("rows.append(3); next(draw)")
    (fork,) = snapshot.fork(1)
    sb.restore(snapshot)
    for each in (py, fork.python()):
        assert each.eval("(rows, next(draw))") == ([1, 2], 1)
    fork.remove()
    sb.remove()
    snapshot.delete()


def test_one_that_is_gone_is_not_silently_replaced(sb: ckpt.Sandbox) -> None:
    with sb.python("other") as py:
        py.run("x = 1")
        for _ in range(2):
            with pytest.raises(ckpt.PythonError, match="InterpreterDied"):
                py.run("import os; os._exit(1)")
        py.restart()
        with pytest.raises(ckpt.PythonError, match="NameError"):
            py.eval("x")
        stubborn = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
        with pytest.raises(ckpt.CommandTimeout, match="killed"):
            py.run(stubborn, timeout=0.2)
        with pytest.raises(ckpt.PythonError, match="InterpreterDied"):
            py.eval("1")


def test_a_missing_interpreter_is_told(shared: ckpt.Sandbox) -> None:
    with pytest.raises(ckpt.NotFound, match="python9"):
        shared.python("none", interpreter="python9")
