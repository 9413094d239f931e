"""Rows for the tests of the emitter."""

from dynatomic.events.row import Row

ROWS = [
    Row("page-views", "home"),
    Row("page-views", "home", incr=5),
    Row("page-views", "a/b"),
    Row("page-views", "a", "b", "bytes", -7),
    Row("page-views", "žluťoučký kůň", "\N{SNOWMAN}"),
]
