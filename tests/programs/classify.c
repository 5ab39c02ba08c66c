/* Classifies texts with tinymodel.h: each comes as four bytes of length and its own; out go its label and probabilities. */
#include <stdio.h>
#include <stdlib.h>
#include "tinymodel.h"
int main(void) {
  uint32_t n;
  while (fread(&n, 4, 1, stdin) == 1) {
    char *text = (char *)malloc(n ? n : 1);
    float p[TINYMODEL_CLASSES];
    int32_t label;
    if (!text || (n && fread(text, 1, n, stdin) != n)) return 1;
    label = tinymodel_classify(text, n, p);
    fwrite(&label, 4, 1, stdout);
    fwrite(p, 4, TINYMODEL_CLASSES, stdout);
    free(text);
  }
  return 0;
}
