"""Alembic's environment and the released migrations, inside the package so that an installed wheel can migrate."""
