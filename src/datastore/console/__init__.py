"""The console: pages for people, in the browser, of what the store holds, what is missing and what is running.

A page is a package in `datastore.console.pages` with a router and its templates. Pages call the same functions as the
command line and the HTTP API, and check scopes and tenants by the API's own dependencies.
"""

from datastore.console.app import create_app, with_sign_in_link

__all__ = ["create_app", "with_sign_in_link"]
