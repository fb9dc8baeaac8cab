"""Runs a command as on a processor that has AVX2 and neither AVX-512 nor VNNI, at the speed of this one.

usage: python -m benchmarks.without_avx512 COMMAND ...

A copy of ONNX Runtime has a breakpoint in the place of each ``cpuid`` instruction; a preloaded library answers it
without the bits of AVX-512, VNNI and AMX. torch and numpy read their environment variables. For Linux on x86-64; needs
gcc and objdump. The command must run this Python, whose ONNX Runtime is copied.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ANSWER = r"""
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>
static void trap(int number, siginfo_t *info, void *context) {
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    unsigned char *next = (unsigned char *)r[REG_RIP];
    unsigned leaf = r[REG_RAX], part = r[REG_RCX], a, b, c, d;
    if (next[-1] != 0xcc || next[0] != 0x90) { signal(number, SIG_DFL); return; }
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) { b &= ~0xdc230000u; c &= ~0x00005842u; d &= ~0x03c0010cu; }
    if (leaf == 7 && part == 1) { a &= ~0x00200030u; d &= ~0x00080530u; }
    r[REG_RAX] = a; r[REG_RBX] = b; r[REG_RCX] = c; r[REG_RDX] = d; r[REG_RIP] += 1;
}
__attribute__((constructor)) static void start(void) {
    struct sigaction action = {.sa_sigaction = trap, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGTRAP, &action, 0);
}
"""
OTHERS = {  # what torch, oneDNN, MKL and OpenBLAS read
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}


def main() -> int:
    """Run the command, and return its exit code."""
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None or len(sys.argv) < 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "answer.c").write_text(ANSWER, "utf-8")
        library = folder / "answer.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", folder / "answer.c", "-o", library], check=True)  # noqa: S603, S607
        shutil.copytree(Path(spec.origin).parent, folder / "site" / "onnxruntime")
        for file in (folder / "site").rglob("*.so*"):
            mark(file)
        path = os.pathsep.join(filter(None, (str(folder / "site"), os.environ.get("PYTHONPATH"))))
        environment = os.environ | OTHERS | {"LD_PRELOAD": str(library), "PYTHONPATH": path}
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode  # noqa: S603


def mark(file: Path) -> None:
    """Replace each ``cpuid`` in a library's code, which is two bytes, by a breakpoint and a no-op."""
    sections = output("readelf", "-SW", file)
    found = re.search(r" \.text\s+PROGBITS\s+([0-9a-f]+)\s+([0-9a-f]+)", sections)
    if found is None:
        return
    shift = int(found[2], 16) - int(found[1], 16)
    code = bytearray(file.read_bytes())
    for line in output("objdump", "-d", "--no-show-raw-insn", "-j", ".text", file).splitlines():
        if place := re.match(r"\s*([0-9a-f]+):\s+cpuid", line):
            at = int(place[1], 16) + shift
            code[at : at + 2] = b"\xcc\x90"
    file.write_bytes(code)


def output(*command: object) -> str:
    """Return what a command prints."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
