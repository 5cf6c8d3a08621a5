import Foundation
import Testing

/// Servers with clients connected, builds under way, and one program that holds everything at once.
@Suite struct ServiceProgramTests {
    @Test(.enabled(if: Machine.has("redis-server", "redis-cli"), "needs redis"))
    func redisWithTransactionAndBlockedClient() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("redis")
            try box.say(
                #"""
                cd /root
                redis-server --port 6379 --bind 127.0.0.1 --save '' --appendonly no > redis.log 2>&1 &
                until redis-cli ping 2>/dev/null | grep -q PONG; do sleep 0.02; done
                redis-cli SET before 1
                exec 5<>/dev/tcp/127.0.0.1/6379
                tell() {
                    printf '%s\r\n' "$1" >&5
                    IFS= read -r -t 20 -u 5 answer; printf '%s\n' "${answer%$'\r'}"
                }
                tell MULTI; tell 'SET key transacted'; tell 'INCR before'
                redis-cli BLPOP list 0 > popped &
                """#)
            try box.waitFor("redis-cli INFO clients | grep -q 'blocked_clients:1'")
            let fork = try checkRoundTrip(
                box,
                read: {
                    try $0.sh(
                        """
                        redis-cli MGET key before | xargs -d '\\n' echo; cat /root/popped | xargs echo
                        redis-cli CLIENT LIST | grep -c multi=2
                        redis-cli INFO clients | grep -o 'blocked_clients:.'
                        """)
                },
                change: {
                    #expect(try $0.say("tell EXEC") == "*2")
                    try $0.sh("redis-cli RPUSH list handed")
                    try $0.waitFor("grep -q handed /root/popped")
                })
            #expect(
                try fork.sh("redis-cli GET key; redis-cli GET before; redis-cli DBSIZE") == "transacted\n2\n2"
            )
        }
    }

    @Test(.enabled(if: Machine.postgres != nil, "needs PostgreSQL's server"))
    func postgresWithOpenTransaction() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("postgres")
            let bin = Machine.postgres!
            try box.sh(
                """
                install -d -o postgres -g postgres -m 700 /pg
                export PATH=\(bin):$PATH LANG=C.UTF-8; cd /pg
                su postgres -pc 'initdb -D /pg/data -A trust --no-sync > /pg/initdb.log'
                su postgres -pc "pg_ctl -D /pg/data -l /pg/log -w -o '-k /pg -h \\"\\"' start > /pg/start.log"
                """, deadline: 120)
            let psql = "psql -h /pg -U postgres -qAtX"
            try box.say(
                #"""
                \#(psql) -c 'CREATE TABLE t(x int)'
                coproc Q { exec \#(psql) 2>&1; }
                put() { printf '%s\n' "$1" >&"${Q[1]}"; }
                ask() { put "$1"; IFS= read -r -t 20 answer <&"${Q[0]}"; printf '%s\n' "$answer"; }
                put 'BEGIN;'; put 'INSERT INTO t SELECT generate_series(1, 1000);'
                """#)
            let fork = try checkRoundTrip(
                box,
                read: {
                    try $0.say("ask 'SELECT count(*) FROM t;'")
                        + $0.sh(
                            """
                            \(psql) -c 'SELECT count(*) FROM t'
                            \(psql) -c "SELECT state FROM pg_stat_activity WHERE state LIKE 'idle%'"
                            """)
                },
                change: { try $0.say("put 'COMMIT;'; ask 'SELECT 1;'") })
            #expect(try fork.sh("\(psql) -c 'SELECT sum(x) FROM t'") == "500500")
            #expect(try fork.sh("ps -o user= -C postgres | sort -u") == "postgres")
            for each in [box, fork] {
                try each.sh("su postgres -c '\(bin)/pg_ctl -D /pg/data -w stop'")
                #expect(
                    try each.exec("grep", "-E", "PANIC|ERROR", "/pg/log").status == 1, "the log has errors")
            }
        }
    }

    @Test(.enabled(if: Machine.has("nginx"), "needs nginx")) func nginxWithKeepAliveConnection() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("nginx")
            try box.sh("mkdir -p /web/pages && echo page > /web/pages/page && chmod 755 /web /web/pages")
            try box.write(try Program.text("nginx.conf"), to: "/web/nginx.conf")
            try box.sh("nginx -c /web/nginx.conf")
            try box.say(
                #"""
                exec 6<>/dev/tcp/127.0.0.1/8080
                get() {
                    printf 'GET %s HTTP/1.1\r\nHost: x\r\n\r\n' "$1" >&6
                    local line length=0
                    while IFS= read -r -t 20 -u 6 line && line=${line%$'\r'} && [ -n "$line" ]; do
                        case $line in Content-Length:*) length=${line#*: };; esac
                    done
                    IFS= read -r -t 20 -N "$length" -u 6 line; printf %s "$line"
                }
                """#)
            let connection = try box.say("get /count")
            #expect(connection.hasSuffix("request 1"), "\(connection)")
            func answer(_ number: Int) -> String {
                connection.replacingOccurrences(of: "request 1", with: "request \(number)")
            }
            let snapshot = try box.save()
            #expect(try box.say("get /count") == answer(2))
            #expect(try box.say("get /page") == "page")
            try box.restore(snapshot)
            let fork = try ckpt.fork(snapshot)[0]
            for each in [fork, box] {
                #expect(try each.say("get /count") == answer(2), "the kept connection of \(each.name)")
                #expect(try each.say("get /count") == answer(3))
                #expect(try each.sh("curl -s http://127.0.0.1:8080/page") == "page", "a new connection")
                #expect(try each.sh("ps -o user= -C nginx | sort | xargs") == "root www-data www-data")
            }
            try box.sh("nginx -c /web/nginx.conf -s quit")
        }
    }

    @Test(.enabled(if: Machine.has("make", "gcc"), "needs make and gcc")) func buildInProgress() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("make")
            try box.sh(
                #"""
                mkdir /root/build && cd /root/build
                for n in {1..12}; do echo "int f$n(void) { return $n; }" > f$n.c; done
                printf '%s\n' '#include <stdio.h>' int\ f{1..12}'(void);' 'int main(void) {' \
                    'return printf("%d\n", 0' +f{1..12}'()' ') < 0; }' > main.c
                printf '%s\n' 'sum: $(patsubst %.c,%.o,$(wildcard *.c))' '	gcc -o $@ $^' \
                    '%.o: %.c' '	gcc -O2 -c -o $@ $<; sleep 0.2' > Makefile
                """#)
            try box.say("cd /root/build; make -j2 > make.log 2>&1 & make=$!")
            try box.waitFor("test $(ls /root/build/*.o | wc -l) -ge 3")
            let snapshot = try box.save()
            func finish(_ box: Sandbox) throws {
                let status = try box.say("wait $make; echo $?")
                let log = try box.sh("cat /root/build/make.log")
                #expect(status == "0", "make failed: \(log)")
                #expect(try box.sh("/root/build/sum") == "78")
                #expect(try box.sh("make -C /root/build -q; echo $?") == "0", "make left something undone")
            }
            try finish(box)
            try box.restore(snapshot)
            #expect(try box.exec("test", "-e", "/root/build/sum").status == 1, "the save came after the end")
            let fork = try ckpt.fork(snapshot)[0]
            try finish(box)
            try finish(fork)
        }
    }

    @Test func oneOfEverything() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("everything")
            try box.install("everything.py")
            try box.say("/usr/bin/python3 /root/everything.py > /root/everything.log 2>&1 &")
            try box.waitFor("test -e /root/ready")
            func verify(_ box: Sandbox, _ when: String) throws {
                try box.sh("rm -f /root/report; echo > /root/go")
                try box.waitFor("test -e /root/report")
                let report = try box.sh("cat /root/report").split(separator: "\n")
                #expect(report.count >= 20, "\(when): the report is short")
                for line in report where !line.hasPrefix("ok ") { Issue.record("\(when): \(line)") }
            }
            try verify(box, "before the save")
            let snapshot = try box.save()
            try verify(box, "after the save")
            try box.restore(snapshot)
            let fork = try ckpt.fork(snapshot)[0]
            try verify(box, "after the restore")
            try verify(fork, "in the fork")
            try box.restore(try box.save())
            try verify(box, "in the second generation")
        }
    }

    @Test func unprivilegedUserKeepsIdentity() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("nobody")
            try box.sh("install -d -o nobody -m 700 /open")
            let started = try box.exec(
                "bash", "-c",
                """
                cd /open; setsid bash -c 'while :; do id >> ids; sleep 0.02; done' > log 2>&1 & echo $! > pid
                """,
                options: ["--user", "nobody"])
            #expect(started.status == 0, "\(started)")
            try box.waitFor("test -s /open/ids")
            let snapshot = try box.save()
            try box.restore(snapshot)
            for each in [box, try ckpt.fork(snapshot)[0]] {
                let lines = try each.sh("wc -l < /open/ids")
                try each.waitFor("test $(wc -l < /open/ids) -gt \(lines)")
                #expect(
                    try each.sh("sort -u /open/ids")
                        == "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)")
                #expect(try each.sh("stat -c %U /proc/$(cat /open/pid)") == "nobody")
                #expect(
                    try each.sh("grep -h CapEff /proc/$(cat /open/pid)/status | tr -d 'CapEf:0\\t'") == "")
                let refused = try each.exec("ls", "/root", options: ["--user", "nobody"])
                #expect(refused.status == 2 && refused.stderr.contains("Permission denied"), "\(refused)")
            }
        }
    }
}
