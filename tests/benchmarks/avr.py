#!/usr/bin/env python3
"""Run tinymodel.h on an emulated ATmega328P (simavr), as an Arduino Uno has it, and print its flash, RAM and time.

Usage: python3 tests/benchmarks/avr.py [OUTPUT_DIR of the 10 kB script]
Needs Debian's gcc-avr, avr-libc and simavr. Flash and data are avr-size's of a program that does nothing but classify; the
stack is measured by filling it with a pattern, the time by a timer of the chip at 16 MHz. The first 90 tweets of
../shared/data/twitter/test.txt are classified, or a few sentences; no seed: nothing is drawn. The labels and
probabilities that the chip prints are compared with Python's.
"""
import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = ("avr-gcc", "avr-size", "simavr")
PROGRAMS = os.path.join(ROOT, "tests", "programs")


def load(path, name):
    """Import a file of Python as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main():
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        sys.exit(f"not run: {' and '.join(missing)} not found (Debian: apt-get install gcc-avr avr-libc simavr)")
    script = "tinymodel-emotion-classification-10kB"
    made = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "outputs", script))
    if not os.path.exists(os.path.join(made, "model.safetensors")):
        sys.exit(f"not run: no model yet; `python3 {script}.py` makes one")
    module = load(os.path.join(ROOT, f"{script}.py"), "tinymodel_script")
    model = module.load_model(os.path.join(made, "model.safetensors"))
    texts = [b"i love this so much!!!", b"not happy at all, it hurts"]
    data = os.path.join(ROOT, os.pardir, "shared", "data", "twitter", "test.txt")
    if os.path.exists(data):
        with open(data, "rb") as file:
            texts = [row.split(b"\t", 1)[1] for row in file.read().split(b"\n")[:90]]  # what the flash beside the model holds
    with tempfile.TemporaryDirectory() as folder:
        numbers = ",".join(str(byte - 256 * (byte > 127)) for byte in b"".join(texts))
        lengths = ",".join(str(len(text)) for text in texts)
        with open(os.path.join(folder, "texts.h"), "w", encoding="utf-8") as file:
            file.write(f"static const char texts[] PROGMEM = {{{numbers}}};\n"
                       f"static const uint16_t lengths[] PROGMEM = {{{lengths}}};\n"
                       f"#define TEXTS {len(texts)}\n")
        for name in ("avr", "avr_size"):
            flags = ["-mmcu=atmega328p", "-std=c99", "-Os", "-I", made, "-I", folder, "-o", f"{name}.elf"]
            subprocess.run(["avr-gcc", *flags, os.path.join(PROGRAMS, f"{name}.c"), "-lm"], cwd=folder, check=True)
        sizes = subprocess.run(["avr-size", "avr_size.elf"], cwd=folder, capture_output=True, text=True, check=True).stdout
        command = ["simavr", "-m", "atmega328p", "-f", "16000000", "avr.elf"]
        run = subprocess.run(command, cwd=folder, capture_output=True, timeout=600)
    printed = (run.stdout + run.stderr).decode(errors="replace")
    rows = re.findall("([0-9a-f]{32,})", printed)
    found = np.array([[int(row[i:i + 8], 16) for i in range(0, len(row), 8)] for row in rows], np.uint32)
    probabilities, ticks = found[:, 1:-1].copy().view(np.float32), (found[:, -1] * 64 / 16000).tolist()
    expected = module.predict(model, texts)
    flash, ram, room = map(int, sizes.split("\n")[1].split()[:3])
    stack = int(re.search("s([0-9a-f]{8})", printed)[1], 16)
    print(f"ATmega328P, avr-gcc -Os, simavr at 16 MHz, {len(rows)} texts: flash {flash:,} bytes, data {ram}, "
          f"RAM for the caller's probabilities {room}, stack {stack}; "
          f"{statistics.median(ticks):.1f} ms a text ({min(ticks):.1f} to {max(ticks):.1f}); "
          f"{(found[:, 0] != expected.argmax(axis=1)).sum()} other labels than Python, "
          f"largest difference {np.abs(probabilities - expected).max():.0e}")


if __name__ == "__main__":
    main()
