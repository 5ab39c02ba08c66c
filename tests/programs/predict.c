/* The header of two classes as one function of an object, whose code is measured. */
#include "tinymodel.h"
float predict(const char *text, size_t length) { return tinymodel_predict(text, length); }
