"""Who may look: signing in, tokens, and streams that end with the leave, at a real gateway."""

import http.client
import json
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import PATIENCE_S, GatewayProcess

PASSWORD = "correct horse battery"
ORIGIN = "http://pi.local:3000"


def run(gateway: GatewayProcess, *arguments: str, given: str = "") -> str:
    """A command of the gateway's; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--config", str(gateway.config)],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def add_user(gateway: GatewayProcess, name: str, password: str = PASSWORD) -> None:
    run(gateway, "user", "add", name, given=f"{password}\n")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with the user ada; clients on loopback must sign in, too."""
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("gateway"), more=f'[access]\norigins = ["{ORIGIN}"]\n'
    )
    add_user(gateway, "ada")
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway of the test's own, not started."""
    gateway = GatewayProcess(tmp_path)
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway without users."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("nobody"))
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S) as client:
        yield client


def sign_in(client: httpx.Client, user: str = "ada", password: str = PASSWORD, **headers: str):
    return client.post("/login", data={"user": user, "password": password}, headers=headers)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


class Stream:
    """An open `/events`, read line by line."""

    def __init__(self, gateway: GatewayProcess, headers: dict[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
        self._connection.request("GET", "/events", headers=headers or {})
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200

    def until(self, name: str) -> Any:
        """The payload of the next event of that name; None if the stream ends before it."""
        event = None
        while line := self._answer.readline().decode():
            if line.startswith("event: "):
                event = line[7:].strip()
            elif line.startswith("data: ") and event == name:
                return json.loads(line[6:])
        return None

    @property
    def ended(self) -> bool:
        return self._answer.read() in (b"", b"\n")


def cookie_of(client: httpx.Client) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}


# -- the way in -----------------------------------------------------------------------------


def test_a_browser_is_shown_the_form_and_a_script_is_told(client: httpx.Client) -> None:
    page = client.get("/", headers={"Accept": "text/html,*/*"})
    assert page.status_code == 401
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"  # else forms come with Origin: null
    assert "unsafe" not in page.headers["content-security-policy"]
    assert '<form method="post" action="login">' in page.text
    assert 'role="alert"' not in page.text
    assert "{{" not in page.text
    for path in ("/", "/api/latest", "/events", "/metrics", "/api/session", "/app.js", "/none"):
        answer = client.get(path)
        assert code(answer) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/login", "/style.css", "/login.js", "/theme.js", "/favicon.svg", "/readyz"):
        assert client.get(path).status_code == 200, path
    assert client.get("/login.html").status_code == 401


def test_in_and_out(client: httpx.Client) -> None:
    answer = sign_in(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    assert re.match(r"gateway-[0-9a-f]{8}=[\w-]{43}; ", cookie)
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43"):
        assert part in cookie
    assert "Secure" not in cookie
    assert "board" in client.get("/", headers={"Accept": "text/html"}).text
    session = client.get("/api/session").json()
    assert session["user"] == "ada"
    assert 0 < session["expires"] - time.time() * 1000 < 12.1 * 3_600_000
    kept = cookie_of(client)
    out = client.post("/logout")
    assert (out.status_code, out.headers["location"]) == (303, "login")
    assert not client.cookies
    assert client.get("/api/session", headers=kept).status_code == 401
    assert client.post("/logout", headers=kept).status_code == 303


def test_scripts_may_sign_in_with_json(client: httpx.Client) -> None:
    answer = client.post("/login", json={"user": "ada", "password": PASSWORD})
    assert answer.json() == {"v": 1, "user": "ada"}
    assert client.get("/api/latest").status_code == 200
    wrong = client.post("/login", json={"user": "ada", "password": "wrong horse"})
    assert code(wrong) == (401, "wrong_credentials")


def test_the_cookie_is_secure_under_tls(client: httpx.Client) -> None:
    headers = {"X-Forwarded-Proto": "https", "Origin": "https://127.0.0.1"}
    headers["Host"] = "127.0.0.1"
    assert "; Secure" in sign_in(client, **headers).headers["set-cookie"]


@pytest.mark.parametrize(
    ("user", "password"),
    [("ada", "wrong horse"), ("nobody", PASSWORD), ("ada", ""), ("", ""), ("ada", "é" * 300)],
)
def test_a_wrong_name_and_a_wrong_password_look_alike(
    client: httpx.Client, user: str, password: str
) -> None:
    answer = sign_in(client, user, password, **{"X-Forwarded-For": f"198.51.100.{len(password)}"})
    assert answer.status_code == 401
    assert '<p class="notice" role="alert" id="problem">The name or the password' in answer.text
    assert f'value="{user}"' in answer.text
    assert "set-cookie" not in answer.headers


def test_what_was_typed_is_never_markup(client: httpx.Client) -> None:
    answer = sign_in(client, '"><script>x</script>', **{"X-Forwarded-For": "198.51.100.9"})
    assert "<script>x" not in answer.text
    assert "&quot;&gt;&lt;script&gt;" in answer.text


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b"[" * 60_000, 400),
        ("application/json", b"[]", 400),
        ("application/json", b'{"user":"ada","password":5}', 400),
        (
            "application/json",
            b'{"user":"\\ud800","password":"\\ud800\\ud800\\ud800\\ud800 x y"}',
            401,
        ),
        ("application/json; charset=nothing", b"{}", 400),
        ("application/x-www-form-urlencoded", b"user=ada", 400),
        ("application/x-www-form-urlencoded", b"user=\xff&password=\xff", 400),
        ("application/x-www-form-urlencoded; charset=nothing", b"user=ada&password=x", 400),
        ("application/x-www-form-urlencoded", b"user=ada&password=" + b"x" * 70_000, 413),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("text/plain", b"user=ada&password=x", 415),
    ],
)
def test_odd_requests_are_refused(
    client: httpx.Client, kind: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": kind, "X-Forwarded-For": "198.51.100.10"}
    answer = client.post("/login", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "header", [b"Authorization: Bearer \xff\xfe", b"Cookie: gateway-00000000=\xff", b"Cookie: \xff"]
)
def test_headers_that_are_no_text_open_nothing(gateway: GatewayProcess, header: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), PATIENCE_S) as sock:
        sock.sendall(b"GET /api/latest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
        sock.sendall(header + b"\r\n\r\n")
        assert sock.makefile("rb").readline().split()[1] in (b"401", b"400")


def test_other_sites_sign_nobody_in_or_out(client: httpx.Client) -> None:
    assert code(sign_in(client, Origin="http://evil.example")) == (403, "origin")
    sign_in(client)
    assert code(client.post("/logout", headers={"Origin": "null"})) == (403, "origin")
    assert client.get("/api/session").status_code == 200


# -- attempts -------------------------------------------------------------------------------


def test_attempts_are_bounded_by_address(client: httpx.Client) -> None:
    there = {"X-Forwarded-For": "10.0.0.1, 198.51.100.20"}
    answers = [sign_in(client, f"name-{n}", **there) for n in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 10
    assert "too many attempts: try again in" in answers[-1].text.lower()
    assert sign_in(client, **there).status_code == 429
    assert sign_in(client, **{"X-Forwarded-For": "198.51.100.21"}).status_code == 303


def test_attempts_are_bounded_by_user_but_not_where_he_signed_in_before(
    gateway: GatewayProcess, client: httpx.Client
) -> None:
    add_user(gateway, "eve")
    home = {"X-Forwarded-For": "198.51.100.50"}
    assert sign_in(client, "eve", **home).status_code == 303
    for n in range(10):
        answer = sign_in(client, "eve", "wrong horse", **{"X-Forwarded-For": f"203.0.113.{n}"})
        assert answer.status_code == 401
    answer = sign_in(client, "eve", **{"X-Forwarded-For": "203.0.113.99"})
    assert answer.status_code == 429
    assert sign_in(client, "eve", **home).status_code == 303


def test_refusals_are_logged_without_what_was_typed(
    gateway: GatewayProcess, client: httpx.Client
) -> None:
    sign_in(client, "my-secret-password", "typed wrong", **{"X-Forwarded-For": "198.51.100.30"})
    log = (gateway.folder / "log").read_text()
    assert "sign-in refused user=(unknown) address=198.51.100.30" in log
    assert "my-secret" not in log
    assert PASSWORD not in log


# -- tokens ---------------------------------------------------------------------------------


def test_a_script_shows_its_token_until_it_is_revoked(
    gateway: GatewayProcess, client: httpx.Client
) -> None:
    token = run(gateway, "token", "add", "grafana")
    shown = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/latest", headers=shown).status_code == 200
    assert client.get("/metrics", headers=shown).status_code == 200
    assert client.get("/api/session", headers=shown).json()["user"] is None
    stream = Stream(gateway, shown)
    assert stream.until("snapshot")
    run(gateway, "token", "revoke", "grafana")
    assert stream.until("bye") == {"v": 1, "reason": "auth"}
    assert stream.ended
    refused = client.get("/api/latest", headers=shown)
    assert code(refused) == (401, "unauthenticated")
    assert "gateway token add" in refused.json()["error"]["message"]


def test_a_wrong_token_is_not_saved_by_a_cookie(client: httpx.Client) -> None:
    sign_in(client)
    assert client.get("/api/latest", headers={"Authorization": "Bearer no"}).status_code == 401


def test_a_device_token_opens_nothing_here(gateway: GatewayProcess, client: httpx.Client) -> None:
    token = run(gateway, "device", "add", "sn-1")
    shown = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/latest", headers=shown).status_code == 401


def test_tail_is_let_in_by_the_control_socket(gateway: GatewayProcess) -> None:
    command = [sys.executable, "-m", "gateway", "tail", "--config", str(gateway.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tail:
        try:
            deadline = time.monotonic() + PATIENCE_S
            token = run(gateway, "token", "add", f"t{time.monotonic_ns()}")
            shown = {"Authorization": f"Bearer {token}"}
            while time.monotonic() < deadline:
                metrics = httpx.get(f"{gateway.url}/metrics", headers=shown).text
                if "gateway_subscribers 1.0" in metrics:
                    break
                assert tail.poll() is None
                time.sleep(0.05)
            else:
                raise AssertionError("tail never came")
        finally:
            tail.terminate()


# -- other origins --------------------------------------------------------------------------


def test_a_listed_origin_may_read_and_no_other(client: httpx.Client) -> None:
    sign_in(client)
    answer = client.get("/api/latest", headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]
    other = client.get("/api/latest", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    assert "Origin" in other.headers["vary"]
    asked = {"Access-Control-Request-Method": "GET"}
    preflight = client.options("/events", headers={"Origin": ORIGIN, **asked})
    assert preflight.status_code == 204
    assert "Last-Event-ID" in preflight.headers["access-control-allow-headers"]
    refused = client.options("/events", headers={"Origin": "http://evil.example", **asked})
    assert "access-control-allow-origin" not in refused.headers


# -- streams, restarts, and the end ---------------------------------------------------------


def test_a_stream_ends_with_its_sign_in(gateway: GatewayProcess, client: httpx.Client) -> None:
    sign_in(client)
    stream = Stream(gateway, cookie_of(client))
    assert stream.until("snapshot")
    client.post("/logout")
    assert stream.until("bye") == {"v": 1, "reason": "auth"}
    assert stream.ended


@pytest.mark.parametrize(
    ("change", "given"), [("sign-out", ""), ("password", "another password\n"), ("remove", "")]
)
def test_what_an_administrator_ends_is_over_at_once(
    gateway: GatewayProcess, client: httpx.Client, change: str, given: str
) -> None:
    user = f"user-{change}"
    add_user(gateway, user)
    sign_in(client, user)
    stream = Stream(gateway, cookie_of(client))
    assert stream.until("snapshot")
    run(gateway, "user", change, user, given=given)
    assert stream.until("bye") == {"v": 1, "reason": "auth"}
    assert client.get("/api/latest").status_code == 401


def test_a_sign_in_expires_also_within_a_stream(alone: GatewayProcess) -> None:
    alone.config.write_text(alone.config.read_text() + '[access]\nsession = "2s"\n')
    add_user(alone, "ada")
    alone.start()
    with httpx.Client(base_url=alone.url) as client:
        sign_in(client)
        kept = cookie_of(client)
        stream = Stream(alone, kept)
        assert stream.until("snapshot")
        assert stream.until("bye") == {"v": 1, "reason": "auth"}
        assert client.get("/api/session", headers=kept).status_code == 401


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_signs_nobody_out(alone: GatewayProcess, how: str) -> None:
    add_user(alone, "ada")
    add_user(alone, "bob")
    alone.start()
    with httpx.Client(base_url=alone.url, timeout=PATIENCE_S) as client:
        sign_in(client)
        gone = httpx.Client(base_url=alone.url, timeout=PATIENCE_S)
        sign_in(gone)
        kept = cookie_of(gone)
        gone.post("/logout")  # durable when it is answered, and so is what was before
        getattr(alone, how)()
        run(alone, "user", "sign-out", "bob")
        alone.start()
        assert client.get("/api/session").json()["user"] == "ada"
        assert gone.get("/api/session", headers=kept).status_code == 401
        alone.stop()
        run(alone, "user", "sign-out", "ada")
        alone.start()
        assert client.get("/api/session").status_code == 401


def test_the_first_user_closes_what_was_open(alone: GatewayProcess) -> None:
    alone.start()
    assert alone.get("/api/session") == {"v": 1, "user": None, "expires": None}
    token = run(alone, "token", "add", "prometheus")
    assert httpx.get(f"{alone.url}/api/latest").status_code == 200
    stream = Stream(alone)
    assert stream.until("snapshot")
    add_user(alone, "ada")
    assert stream.until("bye") == {"v": 1, "reason": "auth"}
    assert httpx.get(f"{alone.url}/api/latest").status_code == 401
    shown = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{alone.url}/api/latest", headers=shown).status_code == 200


def test_loopback_can_stay_open(alone: GatewayProcess) -> None:
    alone.config.write_text(alone.config.read_text() + "[access]\ntrust_loopback = true\n")
    add_user(alone, "ada")
    alone.start()
    assert alone.get("/api/session")["user"] is None


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"X-Forwarded-For": "127.0.0.1"}, 200),
        ({"X-Forwarded-For": "198.51.100.7"}, 401),
        ({"X-Forwarded-For": "198.51.100.7, ::1"}, 401),
        ({"X-Forwarded-For": ""}, 401),
        ({"X-Real-IP": "198.51.100.7"}, 401),
        ({"Forwarded": "for=127.0.0.1"}, 401),
    ],
)
def test_whom_a_proxy_asks_for_is_not_on_this_machine(
    nobody: GatewayProcess, told: dict[str, str], status: int
) -> None:
    """Not even before the first user, when everybody on this machine is let in."""
    assert httpx.get(f"{nobody.url}/api/latest", headers=told).status_code == status


def test_no_secret_is_on_the_disk(gateway: GatewayProcess, client: httpx.Client) -> None:
    sign_in(client)
    client.get("/api/latest")
    secrets = [PASSWORD.encode(), *(value.encode() for value in client.cookies.values())]
    for path in (gateway.folder / "data").iterdir():
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path
    conn = sqlite3.connect(f"file:{gateway.folder}/data/gateway.db?mode=ro", uri=True)
    (stored,) = conn.execute("SELECT password FROM user WHERE name = 'ada'").fetchone()
    conn.close()
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
