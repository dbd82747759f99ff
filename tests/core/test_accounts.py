"""Users, tokens and sign-ins: the rules, and that the facts tell all that memory knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.accounts import CHANGES, SIGN_INS, AccountError, Accounts, prepared
from gateway.core.clock import Now
from gateway.core.facts import (
    SignedIn,
    SignedOut,
    TokenRevoked,
    TokenSet,
    UserRemoved,
    UserSet,
)

S = 10**9
LENGTH = 100 * S
T0 = 1_700_000_000 * S


def at(seconds: float, *, wrong: float = 0) -> Now:
    """So long after the start; the system's clock is `wrong` by so many seconds."""
    return Now(T0 + int((seconds + wrong) * S), int(seconds * S))


def accounts() -> Accounts:
    found = Accounts(length=LENGTH)
    found.add_user("ada", "hash-a", now_ms=5)
    return found


def sign_in(found: Accounts, secret: str, now: Now = at(0), user: str = "ada"):  # noqa: B008
    return found.sign_in(secret, user=user, password=found.users[user].password, now=now)


def test_users_are_added_once():
    found = Accounts(length=LENGTH)
    assert found.add_user("ada", "hash-a", now_ms=5) == [UserSet("ada", "hash-a", 5)]
    with pytest.raises(AccountError, match=r"the user ada exists.*gateway user password"):
        found.add_user("ada", "other", now_ms=6)
    assert found.users["ada"].password == "hash-a"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "x" * 65, "a\n", "<b>"])
def test_bad_names_are_refused(name):
    with pytest.raises(AccountError, match="is no user name"):
        accounts().add_user(name, "h", now_ms=0)
    with pytest.raises(AccountError, match="is no token name"):
        accounts().add_token(name, "h", now_ms=0)


@pytest.mark.parametrize("what", ["user.password", "user.remove", "user.sign-out", "token.revoke"])
def test_only_what_exists_is_changed(what):
    with pytest.raises(AccountError, match=r"there is no (user|token) bob: `gateway"):
        CHANGES[what](accounts(), "bob", "h", 0)


@pytest.mark.parametrize("password", ["", "short", "x" * 257, "surrogate\ud800"])
def test_passwords_that_are_refused(password):
    with pytest.raises(AccountError, match="a password"):
        prepared(password)


def test_a_password_is_the_same_however_it_is_typed():
    assert prepared("cafe\u0301-con-leche") == prepared("caf\u00e9-con-leche")
    assert prepared(" spaces stay ") == " spaces stay "


def test_a_sign_in_lasts_its_time_and_no_longer():
    found = accounts()
    (fact,) = sign_in(found, "s1")
    assert fact == SignedIn("s1", "ada", at(0).ms, at(100).ms)
    assert found.signed_in("s1", at(99.9)).user == "ada"
    assert found.signed_in("s1", at(100)) is None
    assert found.signed_in("other", at(0)) is None


@pytest.mark.parametrize("wrong", [-1e9, -50, 50, 1e9])
def test_steps_of_the_clock_change_no_sign_in(wrong):
    found = accounts()
    sign_in(found, "s1")
    assert found.signed_in("s1", at(99, wrong=wrong)) is not None
    assert found.signed_in("s1", at(101, wrong=wrong)) is None


def test_a_password_that_changed_meanwhile_signs_nobody_in():
    found = accounts()
    assert found.sign_in("s1", user="ada", password="hash-before", now=at(0)) is None
    assert found.sign_in("s1", user="bob", password="hash-a", now=at(0)) is None
    assert found.sign_ins == {}


def test_a_new_password_ends_what_began_under_the_old_one():
    found = accounts()
    found.add_user("bob", "hash-b", now_ms=5)
    for secret, user in (("s1", "ada"), ("s2", "ada"), ("s3", "bob")):
        sign_in(found, secret, user=user)
    assert found.change_password("ada", "new") == [
        UserSet("ada", "new", 5),
        SignedOut("s1"),
        SignedOut("s2"),
    ]
    assert list(found.sign_ins) == ["s3"]


def test_a_removed_user_leaves_nothing():
    found = accounts()
    sign_in(found, "s1")
    assert found.remove_user("ada") == [SignedOut("s1"), UserRemoved("ada")]
    assert (found.users, found.sign_ins) == ({}, {})
    found.add_user("ada", "hash-a", now_ms=9)
    assert found.signed_in("s1", at(1)) is None


def test_one_sign_in_too_many_ends_the_oldest():
    found = accounts()
    for n in range(SIGN_INS):
        sign_in(found, f"s{n}", at(n))
    assert sign_in(found, "more", at(40))[0] == SignedOut("s0")
    assert len(found.sign_ins) == SIGN_INS


def test_what_is_over_is_forgotten_with_the_next_sign_in():
    found = accounts()
    sign_in(found, "s1")
    assert sign_in(found, "s2", at(200))[0] == SignedOut("s1")
    assert found.sign_out("s2") == [SignedOut("s2")]
    assert found.sign_out("s2") == []


def test_tokens_come_and_go():
    found = accounts()
    assert found.add_token("grafana", "h1", now_ms=7) == [TokenSet("grafana", "h1", 7)]
    with pytest.raises(AccountError, match=r"the token grafana exists.*gateway token revoke"):
        found.add_token("grafana", "h2", now_ms=8)
    assert found.token("h1").name == "grafana"
    assert found.revoke_token("grafana") == [TokenRevoked("grafana")]
    assert found.token("h1") is None


@pytest.mark.parametrize(
    ("left_s", "now"),
    [
        (60, at(40)),
        (100, at(-10_000)),  # the clock was set back: it is not longer than it ever was
        (0, at(200)),
    ],
)
def test_sign_ins_go_on_after_a_restart(left_s, now):
    before = accounts()
    (fact,) = sign_in(before, "s1")
    found = Accounts(length=LENGTH).restore(before.users.values(), [], [fact], now=now)
    moment = Now(now.unix, now.mono + max(0, left_s - 1) * S)
    assert (found.signed_in("s1", moment) is not None) == bool(left_s)
    assert found.signed_in("s1", Now(now.unix, now.mono + left_s * S)) is None


def test_a_shorter_configured_length_holds_for_what_was_stored():
    found = Accounts(length=10 * S)
    found.restore([UserSet("ada", "h", 5)], [], [SignedIn("s1", "ada", 0, at(90).ms)], now=at(0))
    assert found.signed_in("s1", at(9)) is not None
    assert found.signed_in("s1", at(10)) is None


NAMES = st.sampled_from(["ada", "bob", "c"])
STEPS = st.lists(st.tuples(st.sampled_from([*CHANGES, "in", "out"]), NAMES, NAMES), max_size=40)


@given(STEPS)
def test_facts_alone_rebuild_everything(steps):
    found, disk = Accounts(length=LENGTH), Disk()
    for number, (what, name, secret) in enumerate(steps):
        now = at(number * 7)
        try:
            if what == "in":
                user = found.users.get(name)
                facts = sign_in(found, f"s{number}", now, name) if user else []
            elif what == "out":
                facts = found.sign_out(next(iter(found.sign_ins), ""))
            else:
                facts = CHANGES[what](found, name, f"{secret}-{number}", now.ms)
        except AccountError:
            continue
        disk.apply(facts or [])
    again = Accounts(length=LENGTH).restore(
        disk.users.values(), disk.tokens.values(), disk.sign_ins.values(), now=at(len(steps) * 7)
    )
    assert (again.users, again.tokens) == (found.users, found.tokens)
    assert again.sign_ins.keys() == found.sign_ins.keys()
    assert {one.user for one in found.sign_ins.values()} <= found.users.keys()


class Disk:
    """What the facts leave behind."""

    def __init__(self):
        self.users, self.tokens, self.sign_ins = {}, {}, {}

    def apply(self, facts):
        tables = {UserSet: self.users, TokenSet: self.tokens, SignedIn: self.sign_ins}
        gone = {UserRemoved: self.users, TokenRevoked: self.tokens, SignedOut: self.sign_ins}
        for fact in facts:
            if type(fact) in tables:
                tables[type(fact)][fact[0]] = fact
            else:
                del gone[type(fact)][fact[0]]
