"""A running server, metered from outside: this machine's sensors beside the server's own counts: `wattvlm watch`."""

from wattvlm.watching.served import Served, served
from wattvlm.watching.server import MetricsPage, NotAnswering
from wattvlm.watching.session import Watched, watch

__all__ = ["MetricsPage", "NotAnswering", "Served", "Watched", "served", "watch"]
