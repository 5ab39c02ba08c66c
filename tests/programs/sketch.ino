// Answers what comes over the serial port: copy this and tinymodel.h into a sketch's folder.
#include "tinymodel.h"  // beside this sketch

char text[200];

void setup() {
  Serial.begin(9600);
  Serial.setTimeout(60000);
}

void loop() {
  size_t length = Serial.readBytesUntil('\n', text, sizeof text);
  if (length == 0) return;
  float probabilities[TINYMODEL_CLASSES];
  int label = tinymodel_classify(text, length, probabilities);
  Serial.print((const __FlashStringHelper *)tinymodel_labels[label]);  // the names stay in program memory
  Serial.print(' ');
  Serial.println(probabilities[label]);
}
