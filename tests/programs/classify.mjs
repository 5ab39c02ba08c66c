// Classifies texts with a tinymodel.js: PATH [explained], and a line of JSON a text on standard input, its code units or bytes.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
const [path, explained] = process.argv.slice(2);
const { predict, explain, labels } = await import(pathToFileURL(path));
for await (const line of createInterface({ input: process.stdin })) {
  const { units, bytes } = JSON.parse(line);
  const text = units ? units.reduce((text, unit) => text + String.fromCharCode(unit), "") : Uint8Array.from(bytes);
  const { label, probability, probabilities } = predict(text);
  if (probability !== Math.max(...probabilities)) throw new Error("probability");
  const tokens = explained ? explain(text, 1e9).map(({ token, weight }) => [token, weight]) : [];
  console.log(JSON.stringify([labels.indexOf(label), probabilities, tokens]));
}
