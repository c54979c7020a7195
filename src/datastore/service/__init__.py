"""The admin HTTP API; `datastore.service.app` puts it together.

Endpoints call the same control-plane functions as the command line, and add authorisation, request models and error
responses. No behaviour of the store itself lives here.
"""
