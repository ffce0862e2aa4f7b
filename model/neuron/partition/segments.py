"""Forms segments: candidates merge along data edges as long as no path leaves a segment and returns.

Source: aws-neuron-tensorflow, grappler/convert/segment.cc. A set of nodes is the bits of an integer, because
reachability is needed thousands of times in a graph of thousands of nodes.
"""
from __future__ import annotations

from model.neuron.partition.graph import Graph


def contracted(graph: Graph, candidates) -> list[frozenset]:
    """Disjoint segments that hold all candidates (indexes of nodes); they grow from outputs to inputs."""
    contraction = _Contraction(graph, candidates)
    for index in _post_order(graph):
        if index in candidates and contraction.head(index) == index:
            contraction.absorb_successors(index)
    return contraction.segments()


def _reachable(graph: Graph) -> list[int]:
    """For each node the bits of all nodes after it."""
    found = [0] * len(graph.nodes)
    changed = True
    while changed:  # two passes, more only for the back edges of loops
        changed = False
        for index in range(len(found) - 1, -1, -1):
            bits = found[index]
            for successor in graph.successors[index]:
                bits |= found[successor] | 1 << successor
            changed |= bits != found[index]
            found[index] = bits
    return found


def _post_order(graph: Graph) -> list[int]:
    """Each node after all its successors; of several neighbours the last by name comes first."""
    def by_name(indexes):
        return sorted(indexes, key=lambda index: graph.nodes[index].name)

    order, visited = [], set()
    stack = [(index, False) for index in by_name(i for i, node in enumerate(graph.nodes) if not node.sources)]
    while stack:
        index, is_done = stack.pop()
        if is_done:
            order.append(index)
        elif index not in visited:
            visited.add(index)
            stack.append((index, True))
            stack.extend((successor, False) for successor in by_name(graph.successors[index] - visited))
    return order


class _Contraction:
    """The graph while its candidates merge; the head of a segment is the node that has absorbed the others."""

    def __init__(self, graph: Graph, candidates):
        count = len(graph.nodes)
        self._candidates = candidates
        self._waiting = set(candidates)
        self._heads = list(range(count))
        self._members = [1 << index for index in range(count)]
        self._reached = _reachable(graph)
        self._consumers = [{consumer for consumer, _ in graph.consumers[index]} for index in range(count)]
        self._successors = [_bits(successors) for successors in graph.successors]
        self._sources = [_bits(node.sources) for node in graph.nodes]

    def head(self, index: int) -> int:
        while self._heads[index] != index:
            self._heads[index] = index = self._heads[self._heads[index]]
        return index

    def absorb_successors(self, head: int) -> None:
        self._waiting.discard(head)
        # An absorbed node has successors, and may have been the obstacle.
        while ready := [node for node in self._consuming(head) if not self._is_path_beside(head, node)]:
            for consumer in ready:
                self._merge(head, consumer)

    def _consuming(self, head) -> set:
        """The other segments that read data of this one."""
        self._consumers[head] = {self.head(consumer) for consumer in self._consumers[head]} - {head}
        return self._consumers[head] & self._candidates

    def _is_path_beside(self, head, consumer) -> bool:
        """Whether another path than the direct edge leads from a segment to its consumer."""
        beside = self._sources[consumer] & ~(self._members[head] | self._members[consumer])
        return bool(beside & self._reached[head])

    def _merge(self, head, consumer) -> None:
        leads_elsewhere = self._successors[head] & ~(self._members[head] | self._members[consumer])
        self._heads[consumer] = head
        self._consumers[head] |= self._consumers[consumer]
        for bits in (self._members, self._successors, self._sources):
            bits[head] |= bits[consumer]
        if leads_elsewhere:  # nodes before the consumer now also reach everything after the head
            reached = self._members[head] | self._reached[head]
            for index in self._waiting:
                if self._reached[index] & self._members[head]:
                    self._reached[index] |= reached

    def segments(self) -> list[frozenset]:
        found: dict = {}
        for index in sorted(self._candidates):
            found.setdefault(self.head(index), []).append(index)
        return [frozenset(indexes) for indexes in found.values()]


def _bits(indexes) -> int:
    return sum(1 << index for index in indexes)


def driven_out(graph: Graph, segment, may_enter, may_leave) -> dict:
    """{node: edge at fault} of the nodes that must leave a segment until only legal tensors cross its boundary.

    A reader of an illegal tensor leaves with all nodes before it, a producer with all nodes after it, a constant alone.
    `may_enter` and `may_leave` judge an edge (node's index, port).
    """
    def entering(index):
        return (edge for edge in graph.nodes[index].inputs if edge[0] not in inside and not may_enter(edge))

    def leaving(index):
        return ((index, port) for consumer, port in graph.consumers[index]
                if consumer not in inside and not may_leave((index, port)))

    def after(index):
        node = graph.nodes[index]
        return node.sources if node.type == "Const" else graph.successors[index]

    inside, out = set(segment), {}
    while True:
        readers = _first_of_each(inside, entering)
        givers = _first_of_each(inside - readers.keys(), leaving)
        if not readers and not givers:
            return out
        out.update(_swept(readers, lambda index: graph.nodes[index].sources, inside))
        out.update(_swept(givers, after, inside))


def _first_of_each(indexes, edges) -> dict:
    found = ((index, next(edges(index), None)) for index in sorted(indexes))
    return {index: edge for index, edge in found if edge}


def _swept(faults: dict, neighbours, inside: set) -> dict:
    """Removes the nodes at fault and everything connected to them from `inside`; returns {node: edge at fault}."""
    out: dict = {}
    waiting = list(faults.items())
    while waiting:
        index, edge = waiting.pop()
        if index not in out:
            out[index] = edge
            inside.discard(index)
            waiting.extend((neighbour, edge) for neighbour in neighbours(index) if neighbour in inside)
    return out
