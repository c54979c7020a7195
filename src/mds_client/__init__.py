"""The client library of market-data-store: write market data idempotently, read it fast, as one tenant among many.

`__init__.pyi` lists what the package exports. Each name is imported when it is first used: a command that only needs a
declaration starts without the driver, and a program that only needs a model without the clients.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
