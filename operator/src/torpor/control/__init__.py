"""Control: from events to looks, from looks to writes.

The way of one look: `queue` hands out a key, `world` gathers what is known, `observe` turns it into the
arguments of `decide`, `plan` into the writes that are missing, `executor` makes them, and one status write
ends it. The same function serves a new object, a changed one, a child's event, a demand and a timer: the
world says what to do, never the event.
"""
