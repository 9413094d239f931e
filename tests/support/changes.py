"""Changes and tables of the tests of statements and answers."""

from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import (
    Change,
)

ONE = Change("tab", "k", None, {"count": 5})

TWO = Change("tab", "k", None, {"hits": -1, "bytes": 10**30})

FENCE = Fence("fence_0123abcd_7", 10, 19)

ONE_FENCED, TWO_FENCED = ONE._replace(fence=FENCE), TWO._replace(fence=FENCE)
