"""The commands of `datastore`, in a module for each subject; `datastore.cli` imports them."""
