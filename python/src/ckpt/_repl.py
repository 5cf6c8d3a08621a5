# What runs inside a sandbox for `Sandbox.python()`: reads requests on stdin, a line each, answers on stdout, a line
# each. It is the sandbox's Python that runs it, so it keeps to the language of 3.6 and imports nothing of ckpt.
import ast
import base64
import json
import linecache
import os
import signal
import sys
import tempfile
import traceback

INLINE = 2000
DEPTH = 60


def encoded(value, depth=0):
    """A value as JSON that tells its type; ValueError for what is no plain data."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        if kind is str:
            value.encode()
        return value
    if depth > DEPTH:
        raise ValueError
    if kind is bytes:
        return {"bytes": base64.b64encode(value).decode()}
    if kind is list:
        return [encoded(item, depth + 1) for item in value]
    if kind in (tuple, set, frozenset):
        return {kind.__name__: [encoded(item, depth + 1) for item in value]}
    if kind is dict:
        return {"dict": [[encoded(key, depth + 1), encoded(item, depth + 1)] for key, item in value.items()]}
    raise ValueError


class Capture:
    """Stdout and stderr of one run, of the programs it starts too."""

    def __init__(self):
        self.files = {1: tempfile.TemporaryFile(), 2: tempfile.TemporaryFile()}
        for number, file in self.files.items():
            os.dup2(file.fileno(), number)

    def end(self):
        texts = []
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        for number, file in self.files.items():
            os.dup2(null, number)
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
            file.close()
        os.close(null)
        return texts


class Interpreter:
    def __init__(self):
        self.names = {"__name__": "__main__", "__builtins__": __builtins__}
        self.count = 0
        self.running = False
        signal.signal(signal.SIGINT, self.interrupt)

    def interrupt(self, *_):
        # One that comes between two runs was for the last one, which has ended by itself.
        if self.running:
            raise KeyboardInterrupt

    def run(self, source):
        self.count += 1
        name = f"<python {self.count}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        answer = {}
        capture = Capture()
        try:
            try:
                self.running = True
                value = self.execute(source, name)
                answer["repr"] = repr(value)
                try:
                    answer["value"] = encoded(value)
                    answer["plain"] = True
                except (ValueError, RecursionError):
                    pass
            finally:
                self.running = False
        except BaseException as error:
            answer = {"error": self.told(error, name)}
        answer["stdout"], answer["stderr"] = capture.end()
        return answer

    def execute(self, source, name):
        tree = ast.parse(source, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        if tree.body:
            exec(compile(tree, name, "exec"), self.names)
        if last is not None:
            return eval(compile(ast.Expression(last.value), name, "eval"), self.names)

    def told(self, error, name):
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename != name:
            frames = frames.tb_next
        lines = traceback.format_exception(type(error), error, frames)
        return {"kind": type(error).__name__, "message": str(error), "traceback": "".join(lines)}


def main():
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    sys.stdout = os.fdopen(1, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.argv = [""]
    sys.path.insert(0, "")
    directory = tempfile.mkdtemp(prefix=".ckpt-python-")
    interpreter = Interpreter()
    answers.write(b"ready\n")
    answers.flush()
    for line in requests:
        request = json.loads(base64.b64decode(line).decode())
        # The number tells an answer from one that nobody waited for any more.
        text = base64.b64encode(json.dumps(interpreter.run(request["source"])).encode())
        if len(text) > INLINE:
            path = os.path.join(directory, "answer")
            with open(path, "wb") as file:
                file.write(text)
            text = b"@" + path.encode()
        answers.write(request["number"].encode() + b":" + text + b"\n")
        answers.flush()


main()
