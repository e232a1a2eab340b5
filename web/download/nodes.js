// Nodes of the open workflow, inside of subgraphs too.

import { app } from "../../../scripts/app.js"

// The outermost graph; in older pages, app.graph is the subgraph that is open.
export function root() {
  return app.rootGraph ?? app.graph.rootGraph ?? app.graph
}

// All nodes of a graph and of the subgraphs in it.
export function nodesOf(graph) {
  return graph.nodes.flatMap(node => [node, ...(node.subgraph ? nodesOf(node.subgraph) : [])])
}

// The nodes on the way to a node with an id such as "5:3": the subgraph node 5, then node 3 inside of it.
export function nodesOn(id) {
  const found = []
  let graph = root()
  for (const part of `${id}`.split(":")) {
    const node = graph?.getNodeById(Number(part))
    if (!node) return [] // another workflow is open by now
    found.push(node)
    graph = node.subgraph
  }
  return found
}
