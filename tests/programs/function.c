/* The header as one function of an object, included twice as in a large program. */
#include "tinymodel.h"
#include "tinymodel.h"
int f(const char *t, size_t n, float *p);
int f(const char *t, size_t n, float *p) { return tinymodel_classify(t, n, p); }
