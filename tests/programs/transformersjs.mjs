// Print what @huggingface/transformers makes of texts: FOLDER DTYPE, and a JSON list of texts on standard input.
import { readFileSync } from "node:fs"
import { basename, dirname } from "node:path"
import { env, pipeline } from "@huggingface/transformers"

const [folder, dtype] = process.argv.slice(2)
env.allowRemoteModels = false
env.localModelPath = dirname(folder)
const classify = await pipeline("text-classification", basename(folder), { dtype })
const scores = []
for (const text of JSON.parse(readFileSync(0, "utf8"))) scores.push(await classify(text, { top_k: null }))
console.log(JSON.stringify(scores))
