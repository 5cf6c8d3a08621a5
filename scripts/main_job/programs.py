"""The programs whose memory must survive: a Python REPL, a Redis client in MULTI, an open SQLite transaction.

Each lives in a bash session of its own, as a coprocess; what follows talks to them through that bash.
"""

import json
import os

FILES = os.path.dirname(os.path.abspath(__file__))
PYTHON, REDIS, SQLITE = "python", "redis", "sqlite"

# Every function prints what its program answered, and fails after ten seconds of silence.
START_PYTHON = r"""
cd ~ && coproc PY { exec /usr/bin/python3 -iqu 2>>repl.err; }
py() { printf '%s\n' "$1" >&"${PY[1]}" && IFS= read -r -t 10 line <&"${PY[0]}" && printf '%s\n' "$line"; }
printf '%s\n' 'import time' 'def primes():' '    n = 2' '    while True:' \
    '        if all(n % d for d in range(2, int(n ** 0.5) + 1)): yield n' '        n += 1' '' >&"${PY[1]}"
ticks() { while :; do echo tick >> ~/ticks; sleep 0.02; done; }
ticks & TICKER=$!
"""
START_REDIS = r"""
cd ~ && { redis-server --port 6379 --bind 127.0.0.1 --save '' --appendonly no --daemonize no >redis.log 2>&1 & }
SERVER=$!
for try in {1..200}; do redis-cli ping 2>/dev/null | grep -q PONG && break; sleep 0.02; done
coproc CLIENT { exec redis-cli 2>&1; }
redis() { printf '%s\n' "$1" >&"${CLIENT[1]}" && answers "${2:-1}"; }
answers() {
    local n
    for ((n = 0; n < $1; n++)); do
        IFS= read -r -t 10 line <&"${CLIENT[0]}" || return 1
        printf '%s\n' "$line"
    done
}
"""
START_SQLITE = r"""
cd ~ && sqlite3 bank.db 'CREATE TABLE account(name TEXT, cents INTEGER); INSERT INTO account VALUES("ann", 5000);'
coproc DB { exec sqlite3 -batch -noheader bank.db 2>&1; }
db() {
    printf '%s\n.print done\n' "$1" >&"${DB[1]}"
    while IFS= read -r -t 10 line <&"${DB[0]}"; do [ "$line" = done ] && return; printf '%s\n' "$line"; done
    return 1
}
"""


class Programs:
    """The three programs in one sandbox."""

    def __init__(self, ckpt, name):
        self.ckpt = ckpt
        self.name = name

    def start(self):
        """Starts all three and brings each to the state that has to survive."""
        self._shell(PYTHON, START_PYTHON)
        self.python('rows = [(i, i * 7919 % 10007, f"user-{i}") for i in range(100_000)]; print(0)')
        self.python("numbers = primes(); print([next(numbers) for _ in range(25)])")
        self._shell(REDIS, START_REDIS)
        self.redis("SET hits 41")
        for command in ("MULTI", "INCR hits", "APPEND log step-1", "GET hits"):
            self.redis(command)
        self._shell(SQLITE, START_SQLITE)
        self.sqlite("BEGIN IMMEDIATE; INSERT INTO account VALUES('bob', 1200);")

    def python(self, statement):
        """Runs one line in the REPL: the JSON value, or the text, it printed."""
        answer = self._shell(PYTHON, f"py {_quoted(statement)}").strip()
        try:
            return json.loads(answer)
        except ValueError:
            return answer

    def redis(self, command, answers=1):
        """One command on the open connection: the lines it answered."""
        return self._shell(REDIS, f"redis {_quoted(command)} {answers}").split("\n")[:-1]

    def sqlite(self, statements):
        """Statements on the open connection: the lines they answered."""
        return self._shell(SQLITE, f"db {_quoted(statements)}").split("\n")[:-1]

    def pids(self):
        """The PIDs, as bash saw them when it started the programs, with the names that have them now."""
        text = "; ".join(f"echo ${pid} $(cat /proc/${pid}/comm)" for pid in ("$", "PY_PID", "TICKER"))
        found = self._shell(PYTHON, text)
        found += self._shell(REDIS, "for p in $$ $SERVER $CLIENT_PID; do echo $p $(cat /proc/$p/comm); done")
        found += self._shell(SQLITE, "for p in $$ $DB_PID; do echo $p $(cat /proc/$p/comm); done")
        return found.split("\n")[:-1]

    def ticks(self):
        """Whether the background loop, which sleeps and writes, goes on: waits up to ten seconds for a tick."""
        wait = "n=$(wc -l <~/ticks); for try in {1..500}; do " \
            "[ $(wc -l <~/ticks) -gt $n ] && echo yes && break; sleep 0.02; done"
        return self._shell(PYTHON, wait).strip() == "yes"

    def _shell(self, session, text):
        return self.ckpt.shell(self.name, session, text)


class Repository:
    """The git repository ~/repo in one sandbox."""

    def __init__(self, ckpt, name):
        self.ckpt = ckpt
        self.name = name

    def create(self):
        """Writes the module with its bugs and the suite that shows them, and commits them."""
        for file in ("lru.py", "test_lru.py"):
            self._bash(f"mkdir -p ~/repo && cat > ~/repo/{file}", _content("repo", file))
        self._bash(
            "cd ~/repo && git init -q -b main && git config user.name agent && git config user.email agent@example.com "
            "&& git add -A && git commit -q -m 'A cache with bugs'"
        )

    def apply(self, patch):
        """Applies and commits a patch."""
        self._bash(f"cd ~/repo && git apply && git commit -q -a -m {patch}", _content("patches", f"{patch}.patch"))

    def tests(self):
        """How many of the suite's tests pass and fail."""
        text = self._bash(
            "cd ~/repo && PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q -p no:cacheprovider --tb=no",
            allowed=(0, 1),
        )
        words = text.strip().split("\n")[-1].replace(",", "").split()
        counts = {word: int(before) for before, word in zip(words, words[1:]) if before.isdigit()}
        return counts.get("passed", 0), counts.get("failed", 0)

    def state(self):
        """The commit checked out and what differs from it."""
        return self._bash("cd ~/repo && git rev-parse HEAD && git status --short").strip()

    def _bash(self, text, stdin=b"", allowed=(0,)):
        result = self.ckpt.exec(self.name, "bash", "-c", text, stdin=stdin)
        if result["exitCode"] not in allowed:
            raise RuntimeError(f"{text!r} in {self.name} ended with {result['exitCode']}: {result.get('stderr')}")
        return result.get("stdout") or ""


def _content(*path):
    with open(os.path.join(FILES, *path), "rb") as file:
        return file.read()


def _quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"
