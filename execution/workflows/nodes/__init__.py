"""The skills that the shipped workflows are made of; importing this registers them.

Each is a plain function on JSON: called directly it works without a ledger. What a node needs beyond Celeriac's own
dependencies comes with `pip install 'celeriac[library]'` and is imported when the node is performed.

harvest     code blocks of Markdown documents, deployed as files
change      a rename in a locked tree, put back when it fails
audit       lint, types, tests and duplication of a folder
wiring      is a component imported, registered, configured, tested
inspection  what is in a tree
authoring   new workflow definitions
"""

from execution.workflows.nodes import audit, authoring, change, harvest, inspection, wiring

__all__ = ["audit", "authoring", "change", "harvest", "inspection", "wiring"]
