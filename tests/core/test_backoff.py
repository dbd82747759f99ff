from gateway.core.backoff import Backoff


def longest() -> Backoff:
    return Backoff(lambda: 1.0)


def test_delays_double_from_one_second_to_a_minute() -> None:
    backoff = longest()
    assert [backoff.lost(0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_half_of_a_delay_is_random() -> None:
    assert Backoff(lambda: 0.0).lost(0.0) == 0.5
    assert Backoff(lambda: 0.5).lost(0.0) == 0.75


def test_a_connection_of_a_minute_forgives() -> None:
    backoff = longest()
    for _ in range(5):
        backoff.lost(0.0)
    backoff.connected(100.0)
    assert backoff.lost(160.0) == 1


def test_to_be_accepted_does_not_forgive() -> None:
    backoff = longest()
    for t in (0.0, 100.0, 200.0):
        backoff.connected(t)
        delay = backoff.lost(t + 59.0)
    assert delay == 4


def test_a_failure_to_connect_does_not_count_the_time_of_an_older_connection() -> None:
    backoff = longest()
    backoff.connected(0.0)
    assert backoff.lost(1.0) == 1
    assert backoff.lost(500.0) == 2


def test_years_of_failures_do_not_overflow() -> None:
    backoff = longest()
    backoff.failures = 10**6
    assert backoff.lost(0.0) == 60
