"""The admin HTTP API: what `datastore.service.app` puts together.

Endpoints call the functions of the control plane that the command line calls, and add who may, how it is asked, and
how errors are told. No behaviour of the store itself lives here.
"""
