"""The commands of `datastore`, a module for each subject; `datastore.cli` puts them together."""
