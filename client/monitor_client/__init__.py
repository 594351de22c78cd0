"""What runs inside a serving process: logging of predictions, signs of life, circuit and canary.

Shares nothing with the monitor but its tables.
"""

from monitor_client.circuit import Answer, Circuit, CircuitState
from monitor_client.context import Request, current
from monitor_client.logger import PredictionLogger
from monitor_client.middleware import AsgiMiddleware, WsgiMiddleware

__all__ = [
    "Answer",
    "AsgiMiddleware",
    "Circuit",
    "CircuitState",
    "PredictionLogger",
    "Request",
    "WsgiMiddleware",
    "current",
]
