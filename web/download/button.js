// Where an IPAdapter Reference stops because files are missing, give it a button. Pressed, it adds an IPAdapter Model Download
// with the settings that the message names; the files are fetched when that node runs.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { say } from "../live/words.js"

const NODE = "IPAdapterReference"
const WANTED = /IPAdapter Model Download: preset (.+), family (.+), download on/ // as nodes/loading/by_take.py says it
const BUTTON = "get the missing files"
const BELOW = 60 // pixels of the canvas between the two nodes

function removeButton(node) {
  const at = node.widgets?.findIndex(widget => widget.name === BUTTON) ?? -1
  if (at >= 0) node.widgets.splice(at, 1)
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
  removeButton(node)
  app.graph.setDirtyCanvas(true, true)
}

function addButton(node, values) {
  removeButton(node)
  const button = node.addWidget("button", BUTTON, null, () => addDownload(node, values), { serialize: false })
  button.label = say("fetch")
  button.serialize = false // otherwise saved workflows would hold a value for this widget
  node.setSize(node.computeSize())
}

app.registerExtension({
  name: "ipadapter_atelier.download",
  setup() {
    api.addEventListener("execution_error", ({ detail }) => {
      const found = detail.node_type === NODE && WANTED.exec(detail.exception_message)
      const node = found && app.graph.getNodeById(Number(detail.node_id)) // null for a node inside of a subgraph
      if (node) addButton(node, { preset: found[1], family: found[2], download: true })
    })
    api.addEventListener("execution_start", () => {
      for (const node of app.graph.nodes) if (node.comfyClass === NODE) removeButton(node)
    })
  },
})
