"""Settings of a file: values of every type, and what is refused."""

from pathlib import Path

import pytest

from dynatomic.cli import sources
from dynatomic.errors import ConfigError


def write(path: Path, text: str) -> Path:
    file = path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_gives_values_of_every_type(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        topic = "name"
        window_ms = 2_000
        tables = ["one", "two"]
        writer_schema = "v2.avsc"
        group_protocol = "consumer"
        [librdkafka]
        "sasl.username" = "é=,#"
        linger.ms = 5
        enable.random.seed = false
        """,
    )
    assert sources.read_file(file) == {
        "topic": "name",
        "window_ms": 2000,
        "tables": ("one", "two"),
        "writer_schema": Path("v2.avsc"),
        "group_protocol": "consumer",
        "librdkafka": {
            "sasl.username": "é=,#",
            "linger.ms": "5",
            "enable.random.seed": "false",
        },
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("window_mss = 1", ("'window_mss'", "did you mean 'window_ms'?")),
        ("window-ms = 1", ("did you mean 'window_ms'?",)),
        ("table = []", ("did you mean 'tables'?",)),
        ("[dynatomic]\ntopic = 'x'", ("'dynatomic'", "the settings are bootstrap_servers")),
        ("window_ms = '1000'", ("window_ms: '1000'", "whole number")),
        ("window_ms = 1000.0", ("window_ms: 1000.0",)),
        ("window_ms = true", ("window_ms: True",)),
        ("window_ms = 1", ("window_ms: 1 ", "from 10")),
        ("topic = 5", ("topic: 5 ",)),
        ("tables = 'x'", ("tables: 'x' ", "list")),
        ("tables = ['abc', 5]", ("tables: 5 ",)),
        ("writer_schema = ['x']", ("writer_schema: ['x']",)),
        ("librdkafka = 'a=b'", ("librdkafka: 'a=b'",)),
        ("[librdkafka]\n'a' = []", ("librdkafka: ", "'a'")),
        ("topic = 'x'\nwindow_ms = = 1", ("not valid TOML", "line 2")),
        ("topic = 'x'\ntopic = 'y'", ("not valid TOML", "overwrite")),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_and_key(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        sources.read_file(file)
    for word in (str(file), *words):
        assert word in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        sources.read_file(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        sources.read_file(tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"topic = '\xe9'")
    with pytest.raises(ConfigError, match=r"latin\.toml is not valid TOML"):
        sources.read_file(latin)
