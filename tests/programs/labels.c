/* Writes the labels of tinymodel.h, each with what fills it up. */
#include <stdio.h>
#include "tinymodel.h"
int main(void) {
  int i;
  for (i = 0; i < TINYMODEL_CLASSES; i++) fwrite(tinymodel_labels[i], 1, sizeof tinymodel_labels[i], stdout);
  return 0;
}
