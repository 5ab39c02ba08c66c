/* Classifies texts.h on a Cortex-M3 board of QEMU: a line a text, its probability in hexadecimal; last the stack. */
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
  line[8] = '\n';
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
