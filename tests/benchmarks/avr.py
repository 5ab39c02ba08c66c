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


def load(path, name):
    """Import a file of Python as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def program():
    """Return the C program that the tests run on the chip: a line a text, label, probabilities and ticks in hexadecimal."""
    with open(os.path.join(ROOT, "tests", "test_tinymodel_exports.py"), encoding="utf-8") as file:
        return re.search(r'AVR_PROGRAM = r"""\n(.*?)"""', file.read(), re.DOTALL)[1]


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
    texts, data = [b"i love this so much!!!", b"not happy at all, it hurts"], os.path.join(ROOT, os.pardir, "shared", "data", "twitter", "test.txt")
    if os.path.exists(data):
        with open(data, "rb") as file:
            texts = [row.split(b"\t", 1)[1] for row in file.read().split(b"\n")[:90]]  # what the flash beside the model holds
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(made, "tinymodel.h"), folder)
        numbers = ",".join(str(byte - 256 * (byte > 127)) for byte in b"".join(texts))
        lengths = ",".join(str(len(text)) for text in texts)
        sources = {
            "main.c": program(),
            "texts.h": f"static const char texts[] PROGMEM = {{{numbers}}};\nstatic const uint16_t lengths[] PROGMEM = {{{lengths}}};\n"
                       f"#define TEXTS {len(texts)}\n",
            "size.c": '#include "tinymodel.h"\nstatic volatile float p[TINYMODEL_CLASSES];\n'
                      "int main(void) { return tinymodel_classify((const char *)p, 4, (float *)p); }\n",
        }
        for name, source in sources.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(source)
        for name in ("main", "size"):
            flags = ["-mmcu=atmega328p", "-std=c99", "-Os", "-o", f"{name}.elf", f"{name}.c", "-lm"]
            subprocess.run(["avr-gcc", *flags], cwd=folder, check=True)
        sizes = subprocess.run(["avr-size", "size.elf"], cwd=folder, capture_output=True, text=True, check=True).stdout.split("\n")[1].split()
        run = subprocess.run(["simavr", "-m", "atmega328p", "-f", "16000000", "main.elf"], cwd=folder, capture_output=True, timeout=600)
    printed = (run.stdout + run.stderr).decode(errors="replace")
    rows = re.findall("([0-9a-f]{32,})", printed)
    found = np.array([[int(row[i:i + 8], 16) for i in range(0, len(row), 8)] for row in rows], np.uint32)
    probabilities, ticks = found[:, 1:-1].copy().view(np.float32), (found[:, -1] * 64 / 16000).tolist()
    expected = module.predict(model, texts)
    flash, ram, room = map(int, sizes[:3])
    print(f"ATmega328P, avr-gcc -Os, simavr at 16 MHz, {len(rows)} texts: flash {flash:,} bytes, data {ram}, RAM for the caller's "
          f"probabilities {room}, stack {int(re.search('s([0-9a-f]{8})', printed)[1], 16)}; {statistics.median(ticks):.1f} ms a text "
          f"({min(ticks):.1f} to {max(ticks):.1f}); {(found[:, 0] != expected.argmax(axis=1)).sum()} other labels than Python, "
          f"largest difference {np.abs(probabilities - expected).max():.0e}")


if __name__ == "__main__":
    main()
