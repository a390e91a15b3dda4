"""`mw.Explorer`: everything about one question at a time, linked.

What each module knows, from the bottom up: `view` (what is looked at, as one value), `history` (what undo goes back to), `findings` (what is known about a
question), `compute` (how a part of that is found), `work` (the thread that does it), the panels and `selection` (widgets), `views` (which of them there are),
`session` (from one view to the next), `messages` (what the browser asks for), `code` (the calls that give the same), `explorer` (what a user touches).
"""

from .explorer import Explorer

__all__ = ["Explorer"]
