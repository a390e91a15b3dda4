"""`mw.EditPanel`: edit an answer, watch what else changes, and undo it exactly.

What each module knows, from the bottom up: `view` (what is applied, as one value), `applied` (bringing the model to that), `session` (from one view to the next,
undo), `probes` (which questions are watched), `baseline` and `measure` (what is known of the model and of an edit), `work` (the thread that finds it out),
`traits` and `plain` (all that as the front end takes it), `drawn` (as the picture
takes it), `messages` (what the browser asks for), `code` (the calls that give the same), `panel` (what a user touches).
"""

from .panel import EditPanel

__all__ = ["EditPanel"]
