// Describe a node for POST /ipadapter_atelier/draw: its inputs, and the nodes that are connected to them.

import { pictureOf } from "./pictures.js"
import { say } from "./words.js"

export const DRAWN = [
  "IPAdapterWeightSchedule", "IPAdapterCombineSchedules", "IPAdapterSolidMask", "IPAdapterMaskComposite",
  "IPAdapterSplitCanvas", "IPAdapterRegionsByColour",
]
const OURS = [...DRAWN, "IPAdapterScheduleFromText"]
const EMPTY = ["EmptyLatentImage", "EmptySD3LatentImage", "EmptyImage"]
const LEFT_OUT = ["frame_weights"] // a drawing of layers and steps does not use them
const MOST_NODES = 64 // the route's own limit: a schedule combined with itself doubles with each combination

export class Unknown extends Error {} // the node cannot be described; its message is displayed in place of a drawing

function sourceOf(node, slot) {
  const link = node.getInputLink?.(slot)
  const from = link && node.graph?.getNodeById?.(link.origin_id)
  if (!from) return null
  if (from.type === "Reroute") return sourceOf(from, 0)
  return { from, output: link.origin_slot }
}

function required(node) {
  return Object.keys(node.constructor.nodeData?.input?.required ?? {})
}

function known(node) {
  return [...required(node), ...Object.keys(node.constructor.nodeData?.input?.optional ?? {})]
}

function typed(node, name) {
  const widget = node.widgets?.find(one => one.name === name)
  return widget && (typeof widget.value === "string" ? widget.value : Number(widget.value))
}

function linkedValue(node, input, slot) {
  const source = sourceOf(node, slot)
  if (!source) throw new Unknown(say("linked", input.name))
  const { from } = source
  if (!from.type?.startsWith("Primitive") || !from.widgets?.length) throw new Unknown(say("linked", input.name))
  return from.widgets[0].value
}

function socketValue(node, input, slot, count) {
  const source = sourceOf(node, slot)
  if (!source) throw new Unknown(say("later", input.name))
  const { from, output } = source
  if (from.mode === 2 || from.mode === 4) throw new Unknown(say("later", from.title))
  if (OURS.includes(from.type)) return describe(from, output, count)
  if (EMPTY.includes(from.type)) {
    const inputs = {}
    for (const side of ["width", "height"]) {
      const at = from.inputs?.findIndex(one => one.name === side) ?? -1
      inputs[side] = at >= 0 && from.inputs[at].link != null
        ? linkedValue(from, from.inputs[at], at) : typed(from, side)
    }
    return { node: from.type, inputs }
  }
  if (from.type === "LoadImage" && output === 0) {
    const picture = pictureOf(typed(from, "image"))
    if (picture.words) throw new Unknown(picture.words)
    if (input.name === "drawing") return { picture: picture.name }
    return { node: "LoadImage", inputs: { width: picture.width, height: picture.height } }
  }
  throw new Unknown(say("later", from.title))
}

// The description of a node's output. Pictures are given by name; throws Unknown.
export function describe(node, output = 0, count = { nodes: 0 }) {
  if (++count.nodes > MOST_NODES) throw new Unknown(say("large"))
  const inputs = {}
  for (const name of known(node)) {
    const slot = node.inputs?.findIndex(one => one.name === name) ?? -1
    const input = node.inputs?.[slot]
    const linked = input && input.link != null
    const widget = node.widgets?.some(one => one.name === name)
    if (LEFT_OUT.includes(name)) continue
    if (widget) inputs[name] = linked ? linkedValue(node, input, slot) : typed(node, name)
    else if (linked) inputs[name] = socketValue(node, input, slot, count)
    else if (required(node).includes(name)) throw new Unknown(say("connect", name))
  }
  return { node: node.type, inputs, output }
}
