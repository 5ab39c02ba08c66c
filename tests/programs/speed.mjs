// Prints how many texts a second a tinymodel.js classifies: its PATH, and a JSON list of texts on standard input.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const { predict } = await import(pathToFileURL(process.argv[2]));
const texts = JSON.parse(readFileSync(0, "utf8"));
let best = Infinity;
for (let run = 0; run < 5; run++) {
  const started = performance.now();
  for (const text of texts) predict(text);
  best = Math.min(best, performance.now() - started);
}
console.log(texts.length / best * 1000);
