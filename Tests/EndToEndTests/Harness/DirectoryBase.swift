import Foundation
import Testing

/// A small root filesystem made from the host's own programs, for `--base DIR`.
struct DirectoryBase {
    let path: String

    /// Makes it in `path`: bash, the tools the tests use, Python, and files of its own to delete and replace.
    init(at path: String) throws {
        self.path = path
        let script = """
            set -e; base=$1; mkdir -p "$base"; cd "$base"
            mkdir -p usr/bin usr/lib usr/lib64 etc root var/lib tmp && chmod 1777 tmp && chmod 700 root
            for d in bin lib lib64; do ln -s usr/$d $d; done; ln -s usr/bin sbin
            for tool in bash sh ls cat rm mkdir mv cp chmod stat sleep env id head wc sort sha256sum test true \
                    kill xargs grep sed date touch ln mkfifo dd tar setsid python3.11; do
                program=$(PATH=/usr/bin:/bin type -P $tool)
                cp -L "$program" usr/bin/$tool
                ldd "$program" | grep -o '/[^ )]*' | while read -r library; do
                    mkdir -p ".$(dirname "$library")"; cp -Ln "$library" ".$library"
                done
            done
            cp -a /usr/lib/python3.11 usr/lib/
            rm -rf usr/lib/python3.11/{test,dist-packages,config-*,idlelib,lib2to3,ensurepip,pydoc_data}
            ln -s python3.11 usr/bin/python3
            printf 'root:x:0:0:root:/root:/bin/bash\\nnobody:x:65534:65534::/:/bin/false\\n' > etc/passwd
            printf 'root:x:0:\\nnogroup:x:65534:\\n' > etc/group
            mkdir -p replaced/below/deeper; echo base | tee replaced/below/deeper/file > replaced/file
            echo base > deleted; echo base > kept
            """
        let made = try run(["bash", "-c", script, "bash", path], deadline: 120)
        guard made.status == 0 else { throw HarnessError("the base directory: \(made)") }
    }
}
