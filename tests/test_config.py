"""The configuration: what is accepted, and what the error says about what is not."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from gateway.config import SECTIONS, Config, Duration, Secret, load, locate
from gateway.errors import ConfigError

SHIPPED = Path(__file__).parents[1] / "config" / "gateway.toml"


@pytest.fixture
def write(tmp_path):
    def _write(text: str) -> Path:
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return path

    return _write


def refusal(path: Path | None, **env: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, env=env)
    return caught.value


def test_defaults_are_those_of_the_shipped_file():
    shipped, default = load(SHIPPED, env={}), load(None, env={})
    same = msgspec.structs.replace(shipped, gateway=default.gateway)
    assert same == default
    assert shipped.gateway.data_dir == SHIPPED.parent / "data"
    assert default.gateway.data_dir == Path.cwd() / "data"


def test_the_shipped_file_assigns_every_key_that_has_a_default():
    document = tomllib.loads(SHIPPED.read_text())
    for section, keys in SECTIONS.items():
        given = {f.name for f in msgspec.structs.fields(keys) if f.default is not None}
        assert set(document[section]) == given, section


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[listen]\nprot = 1", "listen.prot", "did you mean port? "),
        ("[listen]\nprot = 1", "listen.prot", "line 2"),
        ("[lisen]\nport = 1", "lisen", "did you mean [listen]?"),
        ("port = 1", "port", "belongs below [listen]"),
        ("[devices]\nport = 1", "devices.port", "belongs to [listen]"),
        ("[listen]\nqqq = 1", "listen.qqq", "it has host, port"),
        ("listen = 1", "listen", "is a section"),
        ("[[listen]]\nport = 1", "listen", "is a section"),
        ('[gateway]\nid = "a/b"', "gateway.id", "1 to 64 letters"),
        ('[gateway]\nid = ""', "gateway.id", "1 to 64 letters"),
        ('[gateway]\nid = "a\\n"', "gateway.id", "1 to 64 letters"),
        ("[gateway]\ndata_dir = 3", "gateway.data_dir", "a text that is not empty; it is 3"),
        ("[listen]\nport = 65536", "listen.port", "at most 65535; it is 65536"),
        ("[listen]\nport = -1", "listen.port", "at least 0"),
        ('[listen]\nport = "80"', "listen.port", "expected a whole number; it is '80'"),
        ("[listen]\nport = true", "listen.port", "expected a whole number"),
        ('[listen]\nhosts = ["http://x"]', "listen.hosts", "not a host name"),
        ("[devices]\nwindow = 0", "devices.window", "at least 1;"),
        ("[devices]\nwindow = 1025", "devices.window", "at most 1024;"),
        ("[devices]\nmax_message = 1023", "devices.max_message", "at least 1024"),
        ("[devices]\nmax_message = 65536", "devices.max_message", "at most 65535"),
        ('[devices]\nauth = "opn"', "devices.auth", '"token", "open"; it is \'opn\''),
        ('[devices]\nmax_skew = "1 h"', "devices.max_skew", "a whole number and a unit"),
        ('[devices]\nmax_skew = "-1h"', "devices.max_skew", "a whole number and a unit"),
        ("[devices]\nmax_skew = 5", "devices.max_skew", "a whole number and a unit"),
        ('[store]\ndurability = "none"', "store.durability", '"full", "relaxed"'),
        ("[store]\ncommit_interval_ms = 0", "store.commit_interval_ms", "at least 1"),
        ("[summaries]\nwindows = []", "summaries.windows", "a list of at least 1"),
        ('[summaries]\nwindows = ["0s"]', "summaries.windows", "not a length"),
        ('[summaries]\nwindows = ["500ms"]', "summaries.windows", "not a length"),
        ('[summaries]\nwindows = ["60s", "1m"]', "summaries.windows", "60s and 1m are the same"),
        ('[summaries]\nwindows = ["367d"]', "summaries.windows", "longer than 366d"),
        ('[summaries]\nlateness = "2d"', "summaries.lateness", "longer than 1d"),
        ("[events]\nmax_clients = 0", "events.max_clients", "at least 1"),
        ('[mqtt]\nurl = "http://x"', "mqtt.url", "is not like"),
        ('[mqtt]\nurl = "mqtt://"', "mqtt.url", "is not like"),
        ('[mqtt]\nurl = "mqtt://x:99999"', "mqtt.url", "is not a URL"),
        ('[mqtt]\nurl = "mqtt://x/a"', "mqtt.url", "has a path"),
        ('[mqtt]\nroot = "a/#"', "mqtt.root", "no + or #"),
        ('[mqtt]\nroot = "/a"', "mqtt.root", "no slash at its ends"),
        ('[mqtt]\npassword = "x"', "mqtt.password", "use password_file"),
        ('[mqtt]\nca_file = "none.pem"', "mqtt.ca_file", "No such file"),
        ('[mqtt]\ncert_file = "none.pem"', "mqtt.key_file", "go together"),
        ('[listen]\ntls_key = "none.pem"', "listen.tls_cert", "go together"),
        ("[mqtt]\nbacklog_share = 1.0", "mqtt.backlog_share", "below 1.0"),
        ("[mqtt]\nversion = 5", "mqtt.version", "a text in quotes"),
    ],
)
def test_refusals_name_the_key_and_the_problem(write, text, key, words):
    error = refusal(write(text))
    assert error.key == key
    assert words in str(error)
    assert "gateway.toml" in str(error)


def test_a_syntax_error_has_its_line(write):
    assert "line 2" in str(refusal(write("[listen]\nport = \n")))


def test_a_missing_file_is_said(tmp_path):
    assert "does not exist" in str(refusal(tmp_path / "none.toml"))


def test_a_file_that_is_not_text_is_said(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in str(refusal(path))


def test_a_password_in_the_url_is_refused_and_not_shown(write):
    error = refusal(write('[mqtt]\nurl = "mqtt://me:hunter2@x"'))
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.local"])
def test_open_devices_need_loopback_or_permission(write, host):
    text = f'[listen]\nhost = "{host}"\n[devices]\nauth = "open"\n'
    error = refusal(write(text))
    assert error.key == "devices.auth"
    assert "line 4" in str(error)
    allowed = load(write(text + "allow_open_network = true\n"), env={})
    assert allowed.listen.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_open_devices_are_fine_on_loopback(write, host):
    text = f'[listen]\nhost = "{host}"\n[devices]\nauth = "open"\n'
    assert load(write(text), env={}).devices.auth == "open"


def test_durations_are_nanoseconds(write):
    config = load(write('[devices]\nmax_skew = "2m"\n[summaries]\nlateness = "0s"'), env={})
    assert config.devices.max_skew == 120 * 10**9
    assert config.summaries.lateness == 0
    assert Duration.parse("250ms") == 250 * 10**6
    assert Duration.parse("1d") == 86_400 * 10**9


def test_relative_paths_start_at_the_file(write, tmp_path):
    (tmp_path / "ca.pem").touch()
    config = load(write('[gateway]\ndata_dir = "../x"\n[mqtt]\nca_file = "ca.pem"'), env={})
    assert config.gateway.data_dir == tmp_path.parent / "x"
    assert config.mqtt.ca_file == tmp_path / "ca.pem"


def test_data_dir_may_not_be_a_file(write, tmp_path):
    (tmp_path / "data").touch()
    assert "is not a folder" in str(refusal(write('[gateway]\ndata_dir = "data"')))


def test_variables_override_keys(write):
    env = {
        "SENSOR_GATEWAY__GATEWAY__ID": "7",
        "SENSOR_GATEWAY__LISTEN__PORT": "81",
        "SENSOR_GATEWAY__MQTT__HOME_ASSISTANT": "true",
        "SENSOR_GATEWAY__MQTT__BACKLOG_SHARE": "0.25",
        "SENSOR_GATEWAY__SUMMARIES__WINDOWS": "1s, 1m",
        "SENSOR_GATEWAY__LISTEN__HOSTS": '["a.example"]',
        "SENSOR_GATEWAY__SUMMARIES__LATENESS": "7s",
    }
    config = load(write("[listen]\nport = 80"), env=env)
    assert (config.gateway.id, config.listen.port) == ("7", 81)
    assert (config.mqtt.home_assistant, config.mqtt.backlog_share) == (True, 0.25)
    assert config.summaries.windows == ("1s", "1m")
    assert config.listen.hosts == ("a.example",)
    assert config.summaries.lateness == 7 * 10**9


def test_a_wrong_variable_is_named():
    unknown = refusal(None, SENSOR_GATEWAY__LISTEN__PROT="1")
    assert "SENSOR_GATEWAY__LISTEN__PROT" in str(unknown)
    assert "did you mean port?" in str(unknown)
    value = refusal(None, SENSOR_GATEWAY__LISTEN__PORT="many")
    assert "(variable SENSOR_GATEWAY__LISTEN__PORT)" in str(value)


def test_the_password_comes_from_its_file_then_variable_then_credential(write, tmp_path):
    (tmp_path / "file").write_text("from file\n")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "mqtt_password").write_text("from credential\n")
    env = {"CREDENTIALS_DIRECTORY": str(credentials)}
    plain = write('[mqtt]\nurl = "mqtt://x"')
    assert load(plain, env=env).mqtt.password == "from credential"
    env["SENSOR_GATEWAY__MQTT__PASSWORD"] = "from variable"
    assert load(plain, env=env).mqtt.password == "from variable"
    filed = write('[mqtt]\nurl = "mqtt://x"\npassword_file = "file"')
    config = load(filed, env=env)
    assert config.mqtt.password == "from file"
    assert "from file" not in repr(config)


def test_an_empty_or_missing_password_file_is_said(write, tmp_path):
    path = write('[mqtt]\nurl = "mqtt://x"\npassword_file = "file"')
    assert "No such file" in str(refusal(path))
    (tmp_path / "file").write_text("\n")
    assert "is empty" in str(refusal(path))


def test_a_secret_does_not_show_itself():
    assert "hunter2" not in repr(Secret("hunter2"))


def test_the_file_asked_for_comes_before_the_one_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gateway.config.SYSTEM_PATH", tmp_path / "etc.toml")
    assert locate(None) is None
    (tmp_path / "etc.toml").touch()
    assert locate(None) == tmp_path / "etc.toml"
    (tmp_path / "gateway.toml").touch()
    assert locate(None) == Path("gateway.toml")
    assert locate(Path("asked.toml")) == Path("asked.toml")


def test_the_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        Config().listen.port = 1
