/* Classifies texts.h on an ATmega328P: a line a text, its label, probabilities and ticks in hexadecimal; last the stack. */
#include <avr/io.h>
#include <avr/interrupt.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
#include "tinymodel.h"
#include "texts.h"

static void send(char c) {
  while (!(UCSR0A & (1 << UDRE0))) {}
  UDR0 = c;
}

static void send_hex(uint32_t value) {
  int8_t i;
  for (i = 28; i >= 0; i -= 4) send("0123456789abcdef"[value >> i & 15]);
}

__attribute__((noinline)) static int run(const char *text, size_t length, float *probabilities) {
  return tinymodel_classify(text, length, probabilities);
}

extern uint8_t __heap_start;

int main(void) {
  static char text[640];
  static float probabilities[TINYMODEL_CLASSES];
  uint8_t *byte, *top = (uint8_t *)SP;
  uint32_t at = 0;
  uint16_t i, k, n, begin, end, deepest = 0;
  UCSR0B = 1 << TXEN0;
  TCCR1B = 1 << CS11 | 1 << CS10; /* a tick is 64 cycles */
  for (i = 0; i < TEXTS; i++, at += n) {
    int label;
    n = pgm_read_word(lengths + i);
    for (k = 0; k < n; k++) text[k] = (char)pgm_read_byte(texts + at + k);
    for (byte = &__heap_start; byte < top - 2; byte++) *byte = 0xa5;
    begin = TCNT1;
    label = run(text, n, probabilities);
    end = TCNT1;
    for (byte = &__heap_start; *byte == 0xa5; byte++) {}
    if ((uint16_t)(top - byte) > deepest) deepest = (uint16_t)(top - byte);
    send_hex((uint32_t)label);
    for (k = 0; k < TINYMODEL_CLASSES; k++) {
      union { float value; uint32_t bits; } both;
      both.value = probabilities[k];
      send_hex(both.bits);
    }
    send_hex((uint16_t)(end - begin));
    send('\n');
  }
  send('s');
  send_hex(deepest);
  send('\n');
  while (!(UCSR0A & (1 << UDRE0))) {}
  cli();
  sleep_mode();
  for (;;) {}
}
