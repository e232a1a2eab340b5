// Draw the result of schedule and mask nodes while they are edited. The page sends a description of the node, the server
// draws it with the code of a run, and the page displays the picture.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { DRAWN, Unknown, describe } from "./description.js"
import { withPictures } from "./pictures.js"
import { themeOf } from "./theme.js"
import { say } from "./words.js"

const SCHEDULES = ["IPAdapterWeightSchedule", "IPAdapterCombineSchedules"]
const FIRST_FAMILY = "SD1.5" // whose layers are drawn until somebody clicks
const EVERY = 200 // milliseconds between two checks for changes
const HEIGHT = { schedule: 210, mask: 130 } // minimum heights of drawings, in pixels of the canvas
const MARGIN = 6
const OUTPUT_PICTURES = "$$canvas-image-preview" // the page's name for a widget with the pictures of a run
const STYLE = `
.atelier-drawing { display: flex; flex-direction: column; align-items: center; justify-content: center; overflow: hidden;
  box-sizing: border-box; width: 100%; height: 100%; min-height: ${HEIGHT.mask - 2 * MARGIN}px; }
.atelier-drawing img { max-width: 100%; max-height: min(100%, 340px); min-height: 0; object-fit: contain; border-radius: 4px; }
.atelier-drawing p { margin: 4px 8px; font: 12px sans-serif; text-align: center; color: var(--input-text, #888);
  overflow-wrap: anywhere; white-space: pre-wrap; }
.atelier-drawing [hidden] { display: none; }
[data-node-id]:has(.atelier-drawing img:not([hidden])) .image-preview { display: none; } /* until the next run, a Vue node
  does not see that hideOutputImages has changed */
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
    this.widget.serialize = false // otherwise saved workflows would hold a value for this widget
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
    this.node.setDirtyCanvas(true, true)
  }

  async show(blob) {
    const address = URL.createObjectURL(blob)
    const before = this.image.src
    this.image.src = address
    await this.image.decode().catch(() => {})
    if (before) URL.revokeObjectURL(before)
    this.image.hidden = false
    this.words.hidden = true
    this.node.hideOutputImages = true // the picture of the last run is the same, or outdated
    this.node.setDirtyCanvas(true, true)
  }

  // Request a drawing if the description has changed since the last drawing and is the same as at the last check.
  update() {
    let description
    try {
      description = {
        draw: describe(this.node), family: this.node.properties?.drawn_for ?? FIRST_FAMILY, theme: themeOf(this.words),
      }
    } catch (error) {
      if (!(error instanceof Unknown)) throw error
      this.request?.abort()
      this.last = this.drawn = null
      if (this.words.textContent !== error.message || this.words.hidden) this.say(error.message)
      return
    }
    const text = JSON.stringify(description)
    const steady = text === this.last
    this.last = text
    if (!steady || text === this.drawn) return
    this.drawn = text
    this.draw(description)
  }

  async draw(description) {
    this.request?.abort()
    const { signal } = (this.request = new AbortController())
    try {
      const body = JSON.stringify(withPictures(description))
      const headers = { "Content-Type": "application/json" }
      const response = await api.fetchApi("/ipadapter_atelier/draw", { method: "POST", body, headers, signal })
      const png = response.headers.get("Content-Type")?.startsWith("image/png")
      const result = png ? await response.blob() : await response.json()
      if (signal.aborted) return
      if (png) await this.show(result)
      else this.say(result.message)
    } catch (error) {
      if (!signal.aborted) this.say(say("gone"))
    }
  }

  remove() {
    this.request?.abort()
    if (this.image.src) URL.revokeObjectURL(this.image.src)
    drawings.delete(this)
  }
}

// A regular check notices every change of a node and of the nodes before it: typing in either renderer, undo, pasting,
// other extensions. A check takes microseconds and sends no request.
function updateAll() {
  if (document.visibilityState !== "visible") return
  for (const drawing of drawings) if (drawing.node.graph && drawing.node.graph === app.canvas?.graph) drawing.update()
}

// The canvas renderer shows a node's output pictures when it draws the background: today in a widget, which it would leave
// under the drawing. The Vue renderer reads hideOutputImages itself.
function hideOutputPictures(node) {
  const paint = node.onDrawBackground
  node.onDrawBackground = function (...given) {
    if (!this.hideOutputImages) return paint?.apply(this, given)
    const pictures = this.widgets.find(widget => widget.name === OUTPUT_PICTURES)
    if (!pictures) return
    this.removeWidget(pictures)
    this.setSize([this.size[0], Math.max(this.size[1] - pictures.computedHeight, this.computeSize()[1])])
  }
}

app.registerExtension({
  name: "IPAdapterAtelier.Drawings",
  setup() {
    document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }))
    setInterval(updateAll, EVERY)
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
