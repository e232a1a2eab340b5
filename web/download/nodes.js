// Nodes of the open workflow, inside of subgraphs too.

import { app } from "../../../scripts/app.js"

// The graph that a run begins with; app.graph is another where an older page has opened a subgraph.
export function root() {
  return app.rootGraph ?? app.graph.rootGraph ?? app.graph
}

// All nodes of a graph and of the subgraphs in it.
export function nodesOf(graph) {
  return graph.nodes.flatMap(node => [node, ...(node.subgraph ? nodesOf(node.subgraph) : [])])
}

// The nodes from the outermost subgraph to the node that a run calls "5:3": node 3 inside of the subgraph node 5.
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
