/* Prints how many texts a second tinymodel.h classifies, the best of RUNS, and how many are positive: FILE of classify.c. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "tinymodel.h"
int main(int argc, char **argv) {
  FILE *file = fopen(argv[1], "rb");
  uint32_t n = 0, i, length, run, positive = 0;
  char **texts = NULL; uint32_t *lengths = NULL; double best = 1e9;
  (void)argc;
  while (fread(&length, 4, 1, file) == 1) {
    texts = realloc(texts, (n + 1) * sizeof *texts); lengths = realloc(lengths, (n + 1) * sizeof *lengths);
    texts[n] = malloc(length + 1); lengths[n] = length;
    if (fread(texts[n++], 1, length, file) != length) return 1;
  }
  for (run = 0; run < RUNS; run++) {
    struct timespec a, b; double seconds;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (i = 0; i < n; i++) positive += tinymodel_predict(texts[i], lengths[i]) > 0.5f;
    clock_gettime(CLOCK_MONOTONIC, &b);
    seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
    if (seconds < best) best = seconds;
  }
  printf("%f %u\n", n / best, positive);
  return 0;
}
