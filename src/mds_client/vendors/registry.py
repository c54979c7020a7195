"""List the vendors, and make one with its options."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final

from pydantic import ValidationError

from mds_client.errors import ConfigurationError
from mds_client.vendors.base import Vendor

ENTRY_POINTS: Final = "mds_client.vendors"


@cache
def vendors() -> dict[str, type[Vendor]]:
    """Return the classes of all vendors by name. Their libraries are not imported.

    Raises ConfigurationError for an entry point of another package that is not a vendor.
    """
    found = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        made = entry.load()
        if not (isinstance(made, type) and issubclass(made, Vendor) and made.name == entry.name):
            raise ConfigurationError(f"the entry point {entry.name} ({entry.value}) is not a Vendor of that name")
        found[entry.name] = made
    return found


def make(name: str, options: Mapping[str, Any]) -> Vendor:
    """Make a vendor with its options.

    Args:
        name: The vendor's name, such as yfinance.
        options: The fields of its class. Values can be text.

    Raises:
        ConfigurationError: There is no such vendor, or an option is unknown, missing or wrong. The message does not
            repeat the options' values.
    """
    if name not in vendors():
        near = get_close_matches(name, vendors(), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigurationError(f"there is no vendor {name!r}{hint}; there are: {', '.join(vendors())}")
    kind = vendors()[name]
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        said = []
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            where, what = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                what = f"{name} has no such option; there are: {', '.join(kind.model_fields)}"
            elif problem["type"] == "missing":
                what = f"{name} needs this option: {kind.model_fields[where].description}"
            said.append(f"{where}: {what}")
        raise ConfigurationError("; ".join(said)) from None
