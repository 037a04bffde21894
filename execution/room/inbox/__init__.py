"""The inbox: everything that waits for a person, in one list.

Each app names in its module `room` what of its own waits, as WAITING: a list of sources. A source says by a bounded
query what waits, tells of each matter in a sentence, and offers decisions, which call the app's own verbs. The page and
the command show the same matters and call the same decisions.
"""
