// The picture files of LoadImage nodes, fetched from the server once, at most 8 MB each.

import { api } from "../../../scripts/api.js"
import { say } from "./words.js"

const LARGEST = 8 << 20
const KEPT = 8
const pictures = new Map()

function address(name) {
  const [, path, type] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(name)
  const at = path.lastIndexOf("/")
  const parts = { filename: path.slice(at + 1), subfolder: path.slice(0, Math.max(at, 0)), type: type ?? "input" }
  return `/view?${new URLSearchParams(parts)}`
}

async function base64(blob) {
  const reader = new FileReader()
  const read = new Promise((resolve, reject) => {
    reader.onload = () => resolve(reader.result)
    reader.onerror = () => reject(reader.error)
  })
  reader.readAsDataURL(blob)
  return (await read).split(",")[1] ?? ""
}

async function read(name) {
  const answer = await api.fetchApi(address(name))
  if (!answer.ok) return { words: say("unread") }
  const blob = await answer.blob()
  if (blob.size > LARGEST) return { words: say("heavy") }
  const bitmap = await createImageBitmap(blob)
  const { width, height } = bitmap
  bitmap.close()
  return { name, width, height, data: await base64(blob) }
}

// The size and data of a picture, or a message (`words`) if they are not known yet.
export function pictureOf(name) {
  if (!name) return { words: say("unread") }
  if (!pictures.has(name)) {
    pictures.set(name, { words: say("reading") })
    read(name).catch(() => ({ words: say("unread") })).then(picture => pictures.set(name, picture))
    if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value)
  }
  return pictures.get(name)
}

// A description with the pictures' data in place of their names.
export function withPictures(value) {
  if (!value || typeof value !== "object") return value
  if (typeof value.picture === "string") return { picture: pictureOf(value.picture).data ?? "" }
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withPictures(part)]))
}
