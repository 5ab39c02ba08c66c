// What axe-core, a keyboard and a ruler find of a page: node page.mjs PAGE TYPED [CHROMIUM]. Prints JSON: where (the browser, or
// jsdom and why), found ({width, scheme, when, violations, overflow}, before and after TYPED was typed), and of the browser
// focused, outline and typed: what has the focus after loading, its outline, and the text after typing at once.
import { readFileSync } from "node:fs"
import { pathToFileURL } from "node:url"

const [path, typed, installed] = process.argv.slice(2)
const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8")
const check = (rules) => `axe.run({ rules: ${JSON.stringify(rules)} }).then(({ violations }) =>
  violations.flatMap(({ id, nodes }) => nodes.map((node) => id + ": " + node.html + " " + node.failureSummary)))`

async function launch() {
  const { default: chromium } = await import("@sparticuz/chromium")
  const { default: puppeteer } = await import("puppeteer-core")
  const executablePath = installed || await chromium.executablePath()
  return puppeteer.launch({ executablePath, args: installed ? ["--no-sandbox"] : chromium.args, headless: "shell" })
}

async function inBrowser(browser) {
  const page = await browser.newPage(), found = []
  const errors = []
  page.on("pageerror", (error) => errors.push(error.message))
  for (const width of [375, 1280]) {
    for (const scheme of ["light", "dark"]) {
      await page.setViewport({ width, height: 800 })
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }])
      await page.goto(pathToFileURL(path))
      for (const when of ["before", "after"]) {
        if (when === "after") await page.keyboard.type(typed)
        await page.evaluate(axe)
        const violations = await page.evaluate(check({}))
        const overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found.push({ width, scheme, when, violations, overflow })
      }
    }
  }
  const [focused, outline, text, label] = await page.evaluate(`[document.activeElement.id,
    getComputedStyle(document.activeElement).outlineStyle, document.activeElement.value,
    document.getElementById("label").textContent]`)
  return { where: await browser.version(), found, errors, focused, outline, text, label }
}

// Without a layout: no contrast, no widths, no focus
async function inJsdom(reason) {
  const { JSDOM } = await import("jsdom")
  const beforeParse = (window) => Object.assign(window, { TextEncoder })
  const { window } = new JSDOM(readFileSync(path, "utf8"), { runScripts: "dangerously", pretendToBeVisual: true, beforeParse })
  const area = window.document.querySelector("textarea"), found = []
  window.eval(axe)
  for (const when of ["before", "after"]) {
    if (when === "after") area.value = typed, area.dispatchEvent(new window.Event("input"))
    found.push({ when, violations: await window.eval(check({ "color-contrast": { enabled: false } })) })
  }
  return { where: `jsdom: ${reason}`, found, errors: [], label: window.document.getElementById("label").textContent }
}

const browser = await launch().catch((error) => error)
const result = browser instanceof Error ? await inJsdom(browser.message.slice(0, 300)) : await inBrowser(browser)
console.log(JSON.stringify(result))
process.exit()
