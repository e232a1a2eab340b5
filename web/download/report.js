// Make a node of this pack as high as the report under it needs: the page itself gives a report two lines. Take the report away
// when the node runs again, and the height with it. Draw a node again that grew while it was drawn: the page leaves the picture of the last node of a
// run outside of the node until the mouse moves.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { nodesOn } from "./nodes.js"

const REPORT = "$$node-text-preview" // the page's name for a widget with such a text
const MARGINS = 36 // above and below the text
const MOST = 220 // the page shows 200 pixels of a report and scrolls the rest; 20 are around them
const SIDES = 52 // left and right of it
const CATEGORY = /^(ipadapter|InstantID|pulid)/ // of this pack's nodes

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

function isOurs(node) {
  return CATEGORY.test(node.constructor.nodeData?.category ?? "")
}

function reportOf(node) {
  return isOurs(node) ? node.widgets?.find(widget => widget.name === REPORT) : undefined
}

// Take away what a node said in its last run: the page keeps it, and it need not hold any more.
function removeReport(id) {
  const node = nodesOn(id).at(-1)
  const report = node && reportOf(node)
  if (!report) return
  const { before, after } = report
  node.removeWidget(report)
  if (node.size[1] === after) node.setSize([node.size[0], Math.max(before, node.computeSize()[1])]) // nobody resized it
}

function makeSpace(node, text, before) {
  const report = reportOf(node)
  if (!report) return
  const height = Math.min(MARGINS + heightOf(text, node.size[0] - SIDES), MOST)
  const least = report.options.getMinHeight?.() ?? 0
  report.options.getMinHeight = () => Math.max(least, height)
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])])
  report.before ??= before
  report.after = node.size[1]
}

app.registerExtension({
  name: "ipadapter_atelier.report",
  nodeCreated(node) {
    if (!isOurs(node)) return
    const resized = node.onResize
    node.onResize = function (...given) {
      this.graph?.setDirtyCanvas(true, true)
      return resized?.apply(this, given)
    }
  },
  setup() {
    let failed = null // the id of the node that ended the last run; its next result may come from ComfyUI's cache
    api.addEventListener("execution_error", ({ detail }) => {
      failed = detail.node_id
    })
    api.addEventListener("execution_start", () => removeReport(failed))
    api.addEventListener("executing", ({ detail }) => removeReport(detail))
    api.addEventListener("progress_text", ({ detail }) => {
      const node = nodesOn(detail.nodeId).at(-1)
      const before = node?.size[1]
      if (node) requestAnimationFrame(() => makeSpace(node, detail.text, before)) // by then the page has added the text
    })
  },
})
