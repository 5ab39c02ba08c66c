// Prints how many texts a second a tinymodel.js classifies: its PATH, and a JSON list of texts on standard input.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const { predict } = await import(pathToFileURL(process.argv[2]));
const texts = JSON.parse(readFileSync(0, "utf8"));
for (const text of texts) predict(text);
const started = performance.now();
for (const text of texts) predict(text);
console.log(texts.length / (performance.now() - started) * 1000);
