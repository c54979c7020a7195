"""Alembic's environment and the released migrations, in the package so that an installed wheel can migrate."""
