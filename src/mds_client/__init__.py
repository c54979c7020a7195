"""The client library of market-data-store: write market data idempotently and read it fast, as one of many tenants.

`__init__.pyi` lists the exports. Each name is imported when it is first used: a command that only needs a declaration
does not load the driver, and a program that only needs a model does not load the clients.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
