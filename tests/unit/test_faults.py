"""The list of faults that `python -m tests.mutants` tries: each can be put into the code as it is now."""

from pathlib import Path

import pytest

from tests.mutants.faults import FAULTS, Fault

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}-{fault.before}")
def test_every_mutant_changes_the_code_and_names_existing_tests(fault: Fault) -> None:
    assert fault.before in (ROOT / fault.file).read_text(encoding="utf-8")
    assert fault.before != fault.after
    assert [test for test in fault.tests if not (ROOT / test.partition("::")[0]).exists()] == []
