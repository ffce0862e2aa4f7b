"""One detector on each of several nodes: who they are, what they are asked, and what becomes of a node that is lost.

Only `ray_cluster.py` knows Ray. What a node does with its detector is in `node.py` and needs no Ray.
"""
