"""Learning: what became of each verdict, and what is to be learned from what went wrong.

case            a verdict whose outcome is looked for, until it is known or too old
finding         what tells an outcome: a person, the truth, a later verdict, the end of a run, a score
retrospective   what an incident or a snapshot looks like afterwards
recommendation  a change that it speaks for; a person decides
"""
