// Make a node of this pack as high as the report under it needs: the page itself gives a report two lines.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { nodesOn } from "./nodes.js"

const REPORT = "$$node-text-preview" // the page's name for a widget with such a text
const MARGINS = 36 // above and below the text
const SIDES = 52 // left and right of it

// The height of a text of this width in the page, in pixels of the canvas.
function heightOf(text, width) {
  const box = document.createElement("div")
  box.style.cssText = `position: absolute; visibility: hidden; width: ${width}px; font-size: 12px; line-height: 16px;
    white-space: pre-wrap; word-break: break-all`
  box.textContent = text
  document.body.append(box)
  const height = box.offsetHeight
  box.remove()
  return height
}

function makeSpace(node, text) {
  const report = node.widgets?.find(widget => widget.name === REPORT)
  if (!report || !node.constructor.nodeData?.category?.startsWith("ipadapter")) return
  const height = MARGINS + heightOf(text, node.size[0] - SIDES)
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
