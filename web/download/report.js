// What a node of this pack says about its run stands under it, in two lines unless the node grows. Let it grow.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { nodesOn } from "./nodes.js"

const REPORT = "$$node-text-preview" // the page's name for a widget with such a text
const LINE = 17 // pixels of a line in the page's text
const MARGINS = 26 // above and below the text
const SIDES = 44 // left and right of it

function linesOf(text, width) {
  const pen = document.createElement("canvas").getContext("2d")
  pen.font = "12px Inter, Arial, sans-serif"
  const lines = text.split("\n").map(line => Math.ceil(pen.measureText(line).width / width) || 1)
  return lines.reduce((sum, count) => sum + count, 0)
}

function makeSpace(node, text) {
  const report = node.widgets?.find(widget => widget.name === REPORT)
  if (!report || !node.constructor.nodeData?.category?.startsWith("ipadapter")) return
  const height = MARGINS + LINE * linesOf(text, node.size[0] - SIDES)
  const least = report.options.getMinHeight?.() ?? 0
  report.options.getMinHeight = () => Math.max(least, height)
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])])
}

app.registerExtension({
  name: "ipadapter_atelier.report",
  setup() {
    api.addEventListener("progress_text", ({ detail }) => {
      const node = nodesOn(detail.nodeId).at(-1)
      if (node) requestAnimationFrame(() => makeSpace(node, detail.text)) // by then the page has added the text
    })
  },
})
