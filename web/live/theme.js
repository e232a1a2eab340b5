// Whether the page is light or dark, by the colour of its text: there are many palettes, and class names change.

const MIDDLE = 128 // of 255
const known = new Map() // a colour as CSS has it -> theme

/** "light" or "dark", for an element of the page. */
export function themeOf(element) {
  const colour = getComputedStyle(element).color
  if (!known.has(colour)) known.set(colour, brightness(colour) < MIDDLE ? "light" : "dark")
  return known.get(colour)
}

/** 0 to 255, of any colour that CSS can write: a canvas paints one pixel of it. */
function brightness(colour) {
  const canvas = document.createElement("canvas")
  canvas.width = canvas.height = 1
  const context = canvas.getContext("2d")
  context.fillStyle = colour
  context.fillRect(0, 0, 1, 1)
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data
  return 0.299 * red + 0.587 * green + 0.114 * blue // ITU-R BT.601
}
