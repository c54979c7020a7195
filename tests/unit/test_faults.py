"""The list of faults that `python -m tests.mutants` tries: each can be put into the code as it is now."""

from pathlib import Path

from tests.mutants.faults import FAULTS

ROOT = Path(__file__).parent.parent.parent


def test_every_mutant_changes_the_code_and_names_existing_tests() -> None:
    assert len(FAULTS) >= 60
    for fault in FAULTS:
        assert fault.before in (ROOT / fault.file).read_text(encoding="utf-8"), fault
        assert fault.before != fault.after, fault
        assert [test for test in fault.tests if not (ROOT / test.partition("::")[0]).exists()] == [], fault
