"""The rules for adding, changing and removing devices."""

from typing import NamedTuple

import pytest

from gateway.core import enrolment
from gateway.core.enrolment import EnrolmentError
from gateway.core.facts import DeviceAccess, DeviceAdded, DeviceRemoved


class Device(NamedTuple):
    id: int = 3
    name: str = "sn-1"
    token_hash: str | None = "old"
    disabled: bool = False
    removed: bool = False


def add(found, name="sn-1"):
    return enrolment.add(
        found, name=name, number=7, hashed="new", speaks_for_others=False, now_ms=5
    )


def test_a_new_device_takes_the_next_number():
    assert add(None) == DeviceAdded(7, "sn-1", "new", False, 5)


def test_a_removed_device_comes_back_under_its_number():
    assert add(Device(removed=True)) == DeviceAdded(3, "sn-1", "new", False, 5)


def test_a_device_that_came_without_token_may_get_one():
    assert add(Device(token_hash=None)).id == 3


def test_a_device_with_a_token_is_not_added_again():
    with pytest.raises(EnrolmentError, match="gateway device rotate"):
        add(Device())


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a\n", "é", "x" * 65, "+", "#"])
def test_bad_names_are_refused(name):
    with pytest.raises(EnrolmentError, match="no device id"):
        add(None, name)


@pytest.mark.parametrize("name", ["a", "A.b_c:d-9", "x" * 64])
def test_good_names_are_taken(name):
    assert add(None, name).name == name


def test_changes_keep_what_they_are_not_about():
    shut = Device(disabled=True)
    assert enrolment.rotate(shut, name="sn-1", hashed="new") == DeviceAccess("new", True, 3)
    assert enrolment.disable(shut, name="sn-1", disabled=False) == DeviceAccess("old", False, 3)
    assert enrolment.remove(shut, name="sn-1") == DeviceRemoved(3)


@pytest.mark.parametrize("found", [None, Device(removed=True)])
def test_only_devices_that_exist_are_changed(found):
    with pytest.raises(EnrolmentError, match="no device sn-1"):
        enrolment.rotate(found, name="sn-1", hashed="new")
    with pytest.raises(EnrolmentError, match="no device sn-1"):
        enrolment.disable(found, name="sn-1", disabled=True)
    with pytest.raises(EnrolmentError, match="no device sn-1"):
        enrolment.remove(found, name="sn-1")


def test_the_hash_of_a_token():
    assert enrolment.token_hash("abc").startswith("ba7816bf8f01cfea")
