// Messages that a node displays in place of a drawing.

import { app } from "../../../scripts/app.js"

const WORDS = {
  en: {
    connect: name => `Connect ${name} to see what it makes.`,
    linked: name => `${name} comes from another node: drawn when the graph has run.`,
    later: name => `${name} is known when the graph runs.`,
    large: () => "Too many nodes to be drawn here.",
    reading: () => "Reading the picture…",
    unread: () => "The picture could not be read.",
    heavy: () => "Pictures of over 8 MB are not drawn here. Run the graph to see the regions.",
    gone: () => "The drawing did not arrive. Is ComfyUI running?",
    family: () => "Click: layers of another family of models",
    fetch: () => "Get the missing files",
    run: () => "Press Run: IPAdapter Model Download then fetches the files.",
    inside: name => `Files are missing for a node in the subgraph ${name}. Open it: that node has a button to get them.`,
  },
  zh: {
    connect: name => `连接 ${name} 以查看结果。`,
    linked: name => `${name} 来自其他节点：运行后显示。`,
    later: name => `${name} 在运行时才知道。`,
    large: () => "节点过多，无法在此绘制。",
    reading: () => "正在读取图像…",
    unread: () => "无法读取图像。",
    heavy: () => "超过 8 MB 的图像不在此绘制。运行后可查看区域。",
    gone: () => "未收到绘图。ComfyUI 是否在运行？",
    family: () => "点击：显示另一类模型的层",
    fetch: () => "获取缺少的文件",
    run: () => "点击运行：“IPAdapter 模型下载”会下载这些文件。",
    inside: name => `子图 ${name} 里的节点缺少文件。打开子图：该节点上有获取文件的按钮。`,
  },
}

export function say(what, name = "") {
  const language = app.ui?.settings?.getSettingValue?.("Comfy.Locale") ?? "en"
  return (WORDS[language] ?? WORDS.en)[what](name)
}
