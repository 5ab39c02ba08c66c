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

MAIN = """\
#include "tinymodel.h"
#include "texts.h"

extern uint32_t stack_low[], stack_top[];
int main(void);
void reset(void) { main(); }
__attribute__((section(".vectors"), used)) static void *const vectors[] = {stack_top, (void *)reset};

static void semihosting(int operation, const void *argument) {
  register int r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print_hex(uint32_t value) {
  char line[10];
  int i;
  for (i = 7; i >= 0; i--, value >>= 4) line[i] = "0123456789abcdef"[value & 15];
  line[8] = '\\n';
  line[9] = 0;
  semihosting(4, line);
}

__attribute__((noinline)) static float run(const char *text, size_t length) {
  return tinymodel_predict(text, length);
}

int main(void) {
  volatile uint32_t *word;
  uint32_t here, i;
  size_t at = 0;
  for (word = stack_low; word < &here - 16; word++) *word = 0xa5a5a5a5u;
  for (i = 0; i < sizeof lengths / sizeof lengths[0]; at += lengths[i++]) {
    union { float value; uint32_t bits; } probability;
    probability.value = run(texts + at, lengths[i]);
    print_hex(probability.bits);
  }
  for (word = stack_low; *word == 0xa5a5a5a5u; word++) {}
  print_hex((uint32_t)((char *)&here - (char *)word));
  semihosting(0x18, (void *)0x20026);
  for (;;) {}
}
"""
LINKER = """\
MEMORY { FLASH (rx) : ORIGIN = 0, LENGTH = 4M  RAM (rw) : ORIGIN = 0x20000000, LENGTH = 64K }
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > FLASH
  .data : { *(.data*) } > RAM AT > FLASH
  .bss (NOLOAD) : { *(.bss*) *(COMMON) } > RAM
  .ARM.exidx : { *(.ARM.exidx*) } > FLASH
  stack_low = ORIGIN(RAM); stack_top = ORIGIN(RAM) + LENGTH(RAM);
}
"""


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
        shutil.copy(os.path.join(output_dir, "tinymodel.h"), folder)
        content = ",".join(str(byte) for byte in b"".join(texts)) or "0"
        sources = {
            "main.c": MAIN, "board.ld": LINKER,
            "texts.h": f"static const char texts[] __attribute__((section(\".rodata.input\"))) = {{{content}}};\n"
                       f"static const uint32_t lengths[] = {{{','.join(str(len(text)) for text in texts)}}};\n",
            "size.c": '#include "tinymodel.h"\nfloat predict(const char *text, size_t length) { return tinymodel_predict(text, length); }\n',
        }
        for name, source in sources.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(source)
        flags = ["-mcpu=cortex-m3", "-mthumb", "-Os", "-std=c99", "-ffreestanding", "-nostdlib", "-fno-common", "-Wno-overflow", "-funsigned-char", "-ffunction-sections"]
        link = ["-T", "board.ld", "-Wl,-Map=board.map", "-Wl,--gc-sections", "-Wl,--entry=reset"]
        subprocess.run([COMPILER, *flags, "-c", "main.c", "-o", "main.o"], cwd=folder, check=True)
        subprocess.run([COMPILER, *flags, *link, "main.o", "-lgcc", "-o", "board.elf"], cwd=folder, check=True)
        subprocess.run([COMPILER, *flags, "-c", "size.c", "-o", "size.o"], cwd=folder, check=True)
        subprocess.run([COMPILER, *flags, *link[:1], "board.ld", "-Wl,-Map=size.map", "-Wl,--entry=predict", "-Wl,--undefined=predict", "size.o", "-lgcc", "-o", "size.elf"], cwd=folder, check=True)
        run = subprocess.run([EMULATOR, "-M", "mps2-an385", "-nographic", "-semihosting-config", "enable=on,target=native", "-kernel", "board.elf"], cwd=folder, capture_output=True, text=True, timeout=300)
        words = [int(line, 16) for line in (run.stdout + run.stderr).split() if re.fullmatch(r"[0-9a-f]{8}", line)]
        with open(os.path.join(folder, "size.map"), encoding="utf-8") as file:
            sections = {name: int(size, 16) for name, size in re.findall(r"^\.(text|data|bss)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)", file.read(), re.MULTILINE)}
    if len(words) != len(texts) + 1:
        raise RuntimeError(f"the board printed {len(words)} lines for {len(texts)} texts: {run.stdout[:200]} {run.stderr[:200]}")
    probabilities = np.frombuffer(struct.pack(f"<{len(texts)}I", *words[:-1]), np.float32)
    return probabilities, {"flash": sections["text"] + sections.get("data", 0), "static_ram": sections.get("data", 0) + sections.get("bss", 0), "stack": words[-1]}


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
        code = used["flash"] - model.table.size - model.steps.size
        print(f"{folder}: flash {used['flash']:,} bytes (model {model.table.size + model.steps.size:,}, code and tables with float arithmetic {code:,}), static RAM {used['static_ram']} bytes, stack {used['stack']} bytes, largest difference from Python {np.abs(probabilities - expected).max():.1e}")


if __name__ == "__main__":
    main()
