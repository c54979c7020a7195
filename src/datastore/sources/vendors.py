"""The sources `yfinance`, `ccxt`, `alpaca`, `massive`, `databento`, …: vendors' APIs, as in `mds fetch`.

The operator decides which vendors may be used (`DATASTORE_SOURCE_VENDORS`), because a request may cost money and uses
the credentials of the worker's environment.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, PrivateAttr

from datastore.config import Settings
from datastore.jobs import JobFailed
from datastore.sources.base import Batch, Malformed, SourceUnavailable, Span
from mds_client import Bar, vendors
from mds_client.errors import ConfigurationError

ALLOWED = "DATASTORE_SOURCE_VENDORS"

ROWS = 10_000
"""The number of rows of a batch."""


class FromVendor(BaseModel):
    """Bars from a vendor's API, through the vendor's own library.

    `type` is the vendor's name; the other settings are the vendor's options, such as `exchange` of ccxt. Credentials
    are environment variables of the worker, with the names of the vendor's own documentation. Bars that are not over
    are left out.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str

    _vendor: vendors.Vendor = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Check that the operator allows the vendor, and create it with its options."""
        if not isinstance(context, Settings) or self.type not in context.source_vendors:
            raise ValueError(f"{self.type} is not allowed: add it to {ALLOWED}")
        try:
            self._vendor = vendors.make(self.type, self.__pydantic_extra__ or {})
        except ConfigurationError as error:
            raise ValueError(str(error)) from None

    def needs(self) -> Sequence[str]:
        """Name the operator's permission, the library and each credential."""
        return [_allowed(self.type), _package(type(self._vendor)), *map(_named, self._vendor.variables)]

    @classmethod
    def offers(cls, settings: Settings) -> Sequence[str]:
        """Return which of these this machine has, for all vendors."""
        found = [_allowed(name) for name in settings.source_vendors]
        for vendor in vendors.vendors().values():
            found += [_package(vendor)] if vendor.installed() else []
            found += map(_named, vendor.variables_set())
        return found

    def fetch(self, spans: Sequence[Span]) -> Iterator[Batch]:
        """Yield each span's bars, in a batch for each page.

        A symbol that the vendor does not know does not stop the others. Raises JobFailed for errors that another
        attempt would not fix.
        """
        refused: list[str] = []
        for span in spans:
            try:
                yield from self._fetch(span)
            except vendors.NoBars:
                continue
            except vendors.SymbolRefused as error:
                refused.append(str(error))
            except vendors.VendorUnavailable as error:
                raise SourceUnavailable(str(error)) from None
            except (vendors.VendorRefused, ConfigurationError) as error:
                raise JobFailed(str(error)) from None
        if refused:
            more = f"; and {len(refused) - 3:,} more symbols" if len(refused) > 3 else ""
            raise JobFailed("; ".join(refused[:3]) + more)

    def _fetch(self, span: Span) -> Iterator[Batch]:
        malformed: list[Malformed] = []

        def reject(number: int, why: str, _text: str) -> None:
            malformed.append(Malformed(f"{span.symbol}, row {number}", self._vendor.hidden(why)))

        wanted = vendors.Wanted(span.symbol, span.timeframe, span.start, span.end)
        for part in vendors.Fetched(self._vendor, wanted, span.vendor).parts(ROWS, reject):
            yield [*malformed, *cast("list[Bar]", part.sifted(reject).rows)]
            malformed.clear()
        if malformed:
            yield list(malformed)


def _allowed(name: str) -> str:
    return f"{name} in {ALLOWED}"


def _package(vendor: type[vendors.Vendor]) -> str:
    return f"the package {vendor.package} (the extra {vendor.name})"


def _named(names: str) -> str:
    return names.replace("|", " or ")
