/* Does nothing but classify, so that avr-size says what that takes. */
#include "tinymodel.h"
static volatile float p[TINYMODEL_CLASSES];
int main(void) { return tinymodel_classify((const char *)p, 4, (float *)p); }
