"""The topology: what depends on what, from what was declared, what workflows define and what was seen.

node          a service, skill, agent or workflow, named as in service:payments or skill:research.report
edge          the first needs, performs or calls the second; its sources say whence that is known
blast radius  how much stands to fail with a node: low, medium, high or critical
snapshot      the topology of a moment with its digest, kept as an assessment
"""

from execution.topology.graph import Blast, Topology, build
from execution.topology.snapshots import latest, take

__all__ = ["Blast", "Topology", "build", "latest", "take"]
