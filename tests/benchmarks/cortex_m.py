#!/usr/bin/env python3
"""Run tinymodel.h on an emulated Cortex-M3 board (QEMU's mps2-an385) and print its flash and RAM.

Usage: python3 tests/benchmarks/cortex_m.py [OUTPUT_DIR of a tiny script ...]
Needs Debian's gcc-arm-none-eabi and qemu-system-arm. Flash is read from the linker's map file,
stack by filling it with a pattern before the run. The board prints the bits of each probability;
they are compared with Python's.
"""
import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
PROGRAMS = os.path.join(ROOT, "tests", "programs")


def load_script(output_dir):
    """Return (module, packed model) of the tiny script that wrote `output_dir`."""
    path = os.path.join(ROOT, "tinymodel-emotion-classification-10kB.py")
    spec = importlib.util.spec_from_file_location("tinymodel_script", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module, module.load_model(os.path.join(output_dir, "model.safetensors"))


def run_on_board(output_dir, texts):
    """Compile tinymodel.h for a Cortex-M3, run it on `texts` (bytes) in QEMU.

    Returns (probabilities, bytes): float32 array; bytes of the code and constants of the
    prediction, of its static RAM and of the stack it used.
    """
    with tempfile.TemporaryDirectory() as folder:
        content = ",".join(str(byte) for byte in b"".join(texts)) or "0"
        with open(os.path.join(folder, "texts.h"), "w", encoding="utf-8") as file:
            file.write(f"static const char texts[] __attribute__((section(\".rodata.input\"))) = {{{content}}};\n"
                       f"static const uint32_t lengths[] = {{{','.join(str(len(text)) for text in texts)}}};\n")
        flags = ["-mcpu=cortex-m3", "-mthumb", "-Os", "-std=c99", "-ffreestanding", "-nostdlib", "-fno-common",
                 "-Wno-overflow", "-funsigned-char", "-ffunction-sections", "-I", os.path.abspath(output_dir), "-I", folder]
        place = ["-T", os.path.join(PROGRAMS, "cortex_m.ld")]
        for name, entry, more in (("cortex_m", "reset", "--gc-sections"), ("predict", "predict", "--undefined=predict")):
            source = os.path.join(PROGRAMS, f"{name}.c")
            subprocess.run([COMPILER, *flags, "-c", source, "-o", f"{name}.o"], cwd=folder, check=True)
            link = [*place, f"-Wl,-Map={name}.map", f"-Wl,--entry={entry}", f"-Wl,{more}"]
            subprocess.run([COMPILER, *flags, *link, f"{name}.o", "-lgcc", "-o", f"{name}.elf"], cwd=folder, check=True)
        command = [EMULATOR, "-M", "mps2-an385", "-nographic", "-semihosting-config", "enable=on,target=native",
                   "-kernel", "cortex_m.elf"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        words = [int(line, 16) for line in (run.stdout + run.stderr).split() if re.fullmatch(r"[0-9a-f]{8}", line)]
        with open(os.path.join(folder, "predict.map"), encoding="utf-8") as file:
            found = re.findall(r"^\.(text|data|bss)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)", file.read(), re.MULTILINE)
    sections = {name: int(size, 16) for name, size in found}
    if len(words) != len(texts) + 1:
        raise RuntimeError(f"the board printed {len(words)} lines for {len(texts)} texts: "
                           f"{run.stdout[:200]} {run.stderr[:200]}")
    probabilities = np.frombuffer(struct.pack(f"<{len(texts)}I", *words[:-1]), np.float32)
    data = sections.get("data", 0)
    return probabilities, {"flash": sections["text"] + data, "static_ram": data + sections.get("bss", 0), "stack": words[-1]}


def main():
    missing = [tool for tool in (COMPILER, EMULATOR) if not shutil.which(tool)]
    if missing:
        sys.exit(f"not run: {' and '.join(missing)} not found (Debian: apt-get install gcc-arm-none-eabi qemu-system-arm)")
    scripts = [f"tinymodel-emotion-classification-{size}" for size in ("10kB", "250kB")]
    folders = sys.argv[1:] or [os.path.join(ROOT, "outputs", script) for script in scripts]
    folders = [folder for folder in folders if os.path.exists(os.path.join(folder, "model.safetensors"))]
    if not folders:
        sys.exit(f"not run: no model yet; `python3 {scripts[0]}.py` makes one")
    texts = [b"", b"\x00\xff'@a", b"i love this so much!!!", b"not happy at all, it hurts", b"a" * 3000]
    data = os.path.join(ROOT, os.pardir, "shared", "data", "twitter", "test.txt")
    if os.path.exists(data):
        with open(data, "rb") as file:
            texts += [row.split(b"\t", 1)[1] for row in file.read().split(b"\n")[:1000]]
    print(f"Cortex-M3, {COMPILER} -Os, QEMU mps2-an385, {len(texts)} texts")
    for folder in folders:
        module, model = load_script(folder)
        probabilities, used = run_on_board(folder, texts)
        expected = module.predict(model, texts)[:, 1]
        size = model.table.size + model.steps.size
        print(f"{folder}: flash {used['flash']:,} bytes (model {size:,}, code and tables with float arithmetic "
              f"{used['flash'] - size:,}), static RAM {used['static_ram']} bytes, stack {used['stack']} bytes, "
              f"largest difference from Python {np.abs(probabilities - expected).max():.1e}")


if __name__ == "__main__":
    main()
