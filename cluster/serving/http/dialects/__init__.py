"""Wire dialects: what trainers' and other servers' clients post, answered as they read it.

One module a dialect: its paths and, for each, a pure `parse` (body -> conversations) and a pure
`render` (scores -> body). `table` lists them, `answer` runs any of them; no dialect has an endpoint
body of its own.
"""
