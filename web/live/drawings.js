// Nodes that show what they make while they are edited. The server draws, with the code that makes it when the graph
// runs; here the page only says what the node holds, and shows the picture.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { DRAWN, Unknown, describe } from "./description.js"
import { withPictures } from "./pictures.js"
import { themeOf } from "./theme.js"
import { say } from "./words.js"

const SCHEDULES = ["IPAdapterWeightSchedule", "IPAdapterCombineSchedules"]
const FIRST_FAMILY = "SD1.5" // whose layers are drawn until somebody clicks
const EVERY = 200 // milliseconds between looks at what has changed
const HEIGHT = { schedule: 210, mask: 130 } // least heights of drawings, in pixels of the canvas
const MARGIN = 6
const STYLE = `
.atelier-drawing { display: flex; flex-direction: column; align-items: center; justify-content: center; overflow: hidden;
  box-sizing: border-box; width: 100%; height: 100%; min-height: ${HEIGHT.mask - 2 * MARGIN}px; }
.atelier-drawing img { max-width: 100%; max-height: min(100%, 340px); min-height: 0; object-fit: contain; border-radius: 4px; }
.atelier-drawing p { margin: 4px 8px; font: 12px sans-serif; text-align: center; color: var(--input-text, #888);
  overflow-wrap: anywhere; white-space: pre-wrap; }
.atelier-drawing [hidden] { display: none; }
`

const drawings = new Set()

// The families of models whose layers the server knows: the options of the preview node.
function families() {
  return globalThis.LiteGraph.registered_node_types.IPAdapterSchedulePreview.nodeData.input.required.family[0]
}

class Drawing {
  constructor(node) {
    this.node = node
    this.image = document.createElement("img")
    this.words = document.createElement("p")
    this.element = document.createElement("div")
    this.element.className = "atelier-drawing"
    this.element.append(this.image, this.words)
    this.image.alt = ""
    this.image.draggable = false
    this.image.hidden = true
    const schedule = SCHEDULES.includes(node.comfyClass)
    const height = schedule ? HEIGHT.schedule : HEIGHT.mask
    const options = { serialize: false, hideOnZoom: false, getMinHeight: () => height, margin: MARGIN }
    this.widget = node.addDOMWidget("atelier drawing", "atelier-drawing", this.element, options)
    this.widget.serialize = false // or its place would count among the values of a saved workflow
    if (schedule) this.offerFamilies()
  }

  offerFamilies() {
    this.element.title = say("family")
    this.element.style.cursor = "pointer"
    this.element.addEventListener("click", () => {
      const known = families()
      const at = known.indexOf(this.node.properties.drawn_for ?? FIRST_FAMILY)
      this.node.properties.drawn_for = known[(at + 1) % known.length]
    })
  }

  say(words) {
    this.words.textContent = words
    this.words.hidden = !words
    this.image.hidden = true
    this.node.hideOutputImages = false
  }

  async show(blob) {
    const address = URL.createObjectURL(blob)
    const before = this.image.src
    this.image.src = address
    await this.image.decode().catch(() => {})
    if (before) URL.revokeObjectURL(before)
    this.image.hidden = false
    this.words.hidden = true
    this.node.hideOutputImages = true // the picture of the last run says the same, or what no longer holds
  }

  // One look: what the node holds is asked for once it has stayed the same from one look to the next.
  look() {
    let wanted
    try {
      wanted = { draw: describe(this.node), family: this.node.properties?.drawn_for ?? FIRST_FAMILY, theme: themeOf(this.words) }
    } catch (error) {
      if (!(error instanceof Unknown)) throw error
      this.asked?.abort()
      this.seen = this.drawn = null
      if (this.words.textContent !== error.message || this.words.hidden) this.say(error.message)
      return
    }
    const text = JSON.stringify(wanted)
    const steady = text === this.seen
    this.seen = text
    if (!steady || text === this.drawn) return
    this.drawn = text
    this.ask(wanted)
  }

  async ask(wanted) {
    this.asked?.abort()
    const { signal } = (this.asked = new AbortController())
    try {
      const body = JSON.stringify(withPictures(wanted))
      const headers = { "Content-Type": "application/json" }
      const answer = await api.fetchApi("/ipadapter_atelier/draw", { method: "POST", body, headers, signal })
      const png = answer.headers.get("Content-Type")?.startsWith("image/png")
      const found = png ? await answer.blob() : await answer.json()
      if (signal.aborted) return
      if (png) await this.show(found)
      else this.say(found.message)
    } catch (error) {
      if (!signal.aborted) this.say(say("gone"))
    }
  }

  remove() {
    this.asked?.abort()
    if (this.image.src) URL.revokeObjectURL(this.image.src)
    drawings.delete(this)
  }
}

// Looking regularly sees every way in which a node or what it is connected to may change: typing in either renderer,
// undo, pasting, other extensions. A look costs some microseconds and asks nothing of the server.
function lookAtAll() {
  if (document.visibilityState !== "visible") return
  for (const drawing of drawings) if (drawing.node.graph && drawing.node.graph === app.canvas?.graph) drawing.look()
}

// The canvas renderer paints a node's output pictures in its background; the other one asks hideOutputImages itself.
function hideOutputPictures(node) {
  const paint = node.onDrawBackground
  node.onDrawBackground = function (...given) {
    if (!this.hideOutputImages) return paint?.apply(this, given)
  }
}

app.registerExtension({
  name: "IPAdapterAtelier.Drawings",
  setup() {
    document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }))
    setInterval(lookAtAll, EVERY)
  },
  nodeCreated(node) {
    if (!DRAWN.includes(node.comfyClass)) return
    const drawing = new Drawing(node)
    hideOutputPictures(node)
    const [added, removed] = [node.onAdded, node.onRemoved]
    node.onAdded = function (...given) {
      drawings.add(drawing)
      return added?.apply(this, given)
    }
    node.onRemoved = function (...given) {
      drawing.remove()
      return removed?.apply(this, given)
    }
  },
})
