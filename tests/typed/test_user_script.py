"""The script that the type checkers read runs as well."""

from tests.typed import user_script


def test_the_script_runs(capsys):
    user_script.main()
    assert "Sigmoid" in capsys.readouterr().out
