// A page of build.py in headless Chromium; check.py calls it:  node check.mjs PAGE CASES PICTURE
// CASES: [{"pixels": [gray values, row after row], "logits": [...]}, ...]. CHROMIUM: the program.

import fs from "node:fs"
import path from "node:path"
import puppeteer from "puppeteer-core"

const [page_, images, picture] = process.argv.slice(2)
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--allow-file-access-from-files"],
})
const page = await browser.newPage()
page.on("pageerror", error => console.error(`page: ${error}`))
await page.setViewport({ width: 800, height: 520 })
await page.goto(`file://${path.resolve(page_)}`)
await page.waitForFunction(() => document.getElementById("state").textContent === "ready", { timeout: 300000 })

let furthest = 0, same = 0
const cases = JSON.parse(fs.readFileSync(images))
const argmax = values => values.indexOf(Math.max(...values))
for (const { pixels, logits } of cases) {
  const found = await page.evaluate(async given => Array.from(await classify(Uint8Array.from(given))), pixels)
  furthest = Math.max(furthest, ...found.map((value, k) => Math.abs(value - logits[k])))
  same += argmax(found) === argmax(logits)
}
console.log(`${cases.length} images: ${same} of the same class, logits within ${furthest.toExponential(1)}`)

// strokes on a canvas of 256 x 256
const arc = (x, y, across, down, from, to) => Array.from({ length: 25 }, (_, k) => {
  const angle = from + (to - from) * k / 24
  return [x + across * Math.cos(angle), y + down * Math.sin(angle)]
})
const DRAWN = {
  0: [arc(128, 128, 55, 90, -1.57, 4.72)],
  1: [[[90, 80], [135, 40], [135, 215]]],
  4: [[[120, 35], [70, 140], [190, 140]], [[155, 90], [150, 220]]],
  7: [[[70, 45], [185, 45], [115, 215]], [[95, 130], [175, 130]]],
}
const box = await (await page.$("#draw")).boundingBox()
let right = 0
for (const [name, strokes] of Object.entries(DRAWN)) {
  await page.click("#clear")
  for (const [first, ...others] of strokes) {
    await page.mouse.move(box.x + first[0], box.y + first[1])
    await page.mouse.down()
    for (const [x, y] of others) await page.mouse.move(box.x + x, box.y + y, { steps: 8 })
    await page.mouse.up()
    await new Promise(done => setTimeout(done, 500))
  }
  const said = await page.$eval("#state", state => state.textContent)
  console.log(`drawn ${name}: ${said}`)
  right += said === `class ${name}`
}
await page.screenshot({ path: picture })
await browser.close()
process.exit(same === cases.length && furthest < 1e-4 && right === Object.keys(DRAWN).length ? 0 : 1)
