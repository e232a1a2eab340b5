// Give an IPAdapter Reference that stops because files are missing a button, which adds an IPAdapter Model Download with the
// settings that the message names. The files are fetched when that node runs. The node of a subgraph cannot show the button of a
// node inside, so a message says which subgraph to open.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { say } from "../live/words.js"
import { nodesOf, nodesOn, root } from "./nodes.js"

const NODE = "IPAdapterReference"
const WANTED = /IPAdapter Model Download: preset (.+), family (.+), download on/ // as nodes/loading/by_take.py says it
const BUTTON = "get the missing files"
const BELOW = 60 // pixels of the canvas between the two nodes

function removeButton(node) {
  const button = node.widgets?.find(widget => widget.name === BUTTON)
  if (button) node.removeWidget(button)
}

function addDownload(node, values) {
  const made = globalThis.LiteGraph.createNode("IPAdapterModelDownload")
  made.pos = [node.pos[0], node.pos[1] + node.size[1] + BELOW]
  node.graph.add(made)
  for (const [name, value] of Object.entries(values)) {
    const widget = made.widgets.find(one => one.name === name)
    widget.value = value
    widget.callback?.(value)
  }
  removeButtons()
  node.graph.setDirtyCanvas(true, true)
  showMessage(say("run"))
}

function addButton(node, values) {
  removeButton(node)
  const button = node.addWidget("button", BUTTON, null, () => addDownload(node, values), { serialize: false })
  button.label = say("fetch")
  button.serialize = false // otherwise saved workflows would hold a value for this widget
  const [width, height] = node.computeSize()
  node.setSize([Math.max(width, node.size[0]), Math.max(height, node.size[1])])
}

function removeButtons() {
  for (const node of nodesOf(root())) removeButton(node)
}

function showMessage(summary) {
  app.extensionManager?.toast?.add({ severity: "info", summary, life: 8000 })
}

app.registerExtension({
  name: "ipadapter_atelier.download",
  setup() {
    api.addEventListener("execution_error", ({ detail }) => {
      const found = detail.node_type === NODE && WANTED.exec(detail.exception_message)
      const nodes = found ? nodesOn(detail.node_id) : []
      if (!nodes.length) return
      addButton(nodes.at(-1), { preset: found[1], family: found[2], download: true })
      if (nodes.length > 1) showMessage(say("inside", nodes.slice(0, -1).map(node => node.title).join(" › ")))
    })
    api.addEventListener("execution_start", removeButtons)
  },
})
