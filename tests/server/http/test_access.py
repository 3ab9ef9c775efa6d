"""Keys and rate limits."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from polylens.errors import InputError, RateLimitError, UnauthorizedError
from polylens.server.http.access import MAX_SESSIONS, SESSION_SECONDS, Keys, Sessions, add_key, hashed, read_keys
from polylens.server.http.rates import RateLimits


class TestKeys:
    def test_made_kept_hashed_and_known_again(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "keys"
        key, other = add_key(path, "alice"), add_key(path, "bob")
        assert key not in path.read_text() and other not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        keys = Keys(read_keys(path))
        assert keys.owner(f"Bearer {key}") == "alice"
        assert keys.owner(f"bearer  {other} ") == "bob"

    @pytest.mark.parametrize(
        ("header", "code"),
        [
            (None, "AUTH_MISSING_API_KEY"),
            ("", "AUTH_MISSING_API_KEY"),
            ("Basic abc", "AUTH_INVALID_FORMAT"),
            ("Bearer", "AUTH_INVALID_FORMAT"),
            ("Bearer  ", "AUTH_INVALID_FORMAT"),
            ("Bearer wrong", "AUTH_INVALID_API_KEY"),
            ("Bearer \udce9", "AUTH_INVALID_API_KEY"),
        ],
    )
    def test_refused(self, header: str | None, code: str) -> None:
        with pytest.raises(UnauthorizedError) as refused:
            Keys({hashed("right"): "alice"}).owner(header)
        assert refused.value.code == code

    def test_its_hash_is_no_key(self) -> None:
        with pytest.raises(UnauthorizedError):
            Keys({hashed("right"): "alice"}).owner(f"Bearer {hashed('right')}")

    def test_without_a_file_anyone_may_ask(self) -> None:
        assert Keys(None).owner(None) == Keys(None).owner("Bearer whatever") == "anyone"

    @pytest.mark.parametrize("content", ["key alice", "a" * 64, f"{'a' * 64} two names", f"{'A' * 64} alice"])
    def test_a_broken_file_names_its_line(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "keys"
        path.write_text(f"# made by hand\n\n{content}\n")
        with pytest.raises(InputError, match="line 3"):
            read_keys(path)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"keys cannot be read: No such file or directory$"):
            read_keys(tmp_path / "keys")
        (tmp_path / "keys").write_bytes(b"\xff")
        with pytest.raises(InputError, match=r"keys is not UTF-8 text; make keys with `polylens key`$"):
            read_keys(tmp_path / "keys")

    def test_a_name_is_taken_once(self, tmp_path: Path) -> None:
        add_key(tmp_path / "keys", "alice")
        with pytest.raises(InputError, match="already"):
            add_key(tmp_path / "keys", "alice")
        with pytest.raises(InputError, match="without blanks"):
            add_key(tmp_path / "keys", "a b")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class TestSessions:
    def test_one_is_its_owners_until_it_ends(self) -> None:
        clock = Clock()
        sessions = Sessions(clock)
        alice, bob = sessions.open("alice"), sessions.open("bob")
        assert (sessions.owner(alice), sessions.owner(bob)) == ("alice", "bob")
        assert sessions.owner("guessed") is sessions.owner("") is sessions.owner(None) is None
        clock.now += SESSION_SECONDS - 1
        assert sessions.owner(alice) == "alice"  # which makes it last longer
        clock.now += SESSION_SECONDS - 1
        assert (sessions.owner(alice), sessions.owner(bob)) == ("alice", None)

    def test_there_are_only_so_many(self) -> None:
        sessions = Sessions(Clock())
        tokens = [sessions.open("alice") for _ in range(MAX_SESSIONS + 1)]
        assert [sessions.owner(token) for token in tokens[:2]] == [None, "alice"]


class TestRateLimits:
    def test_requests(self) -> None:
        clock = Clock()
        limits = RateLimits(2, None, clock)
        limits.take_request("a")
        limits.take_request("a")
        with pytest.raises(RateLimitError) as refused:
            limits.take_request("a")
        assert (refused.value.code, refused.value.retry_after) == ("RATE_REQUEST_LIMIT_EXCEEDED", pytest.approx(30))
        limits.take_request("b")  # another key
        clock.now += refused.value.retry_after
        limits.take_request("a")

    def test_tokens_are_counted_when_they_are_known(self) -> None:
        clock = Clock()
        limits = RateLimits(None, 600, clock)
        limits.take_request("a")
        limits.take_tokens("a", 700)
        with pytest.raises(RateLimitError) as refused:
            limits.take_request("a")
        assert refused.value.code == "RATE_TOKEN_LIMIT_EXCEEDED"
        clock.now += refused.value.retry_after + 0.01
        limits.take_request("a")

    def test_a_refused_request_costs_nothing(self) -> None:
        clock = Clock()
        limits = RateLimits(1, None, clock)
        limits.take_request("a")
        for _ in range(5):
            with pytest.raises(RateLimitError):
                limits.take_request("a")
        clock.now += 60
        limits.take_request("a")

    def test_headers(self) -> None:
        limits = RateLimits(10, 1_000, Clock())
        limits.take_request("a")
        limits.take_tokens("a", 250)
        assert limits.headers("a") == {"X-RateLimit-Remaining-Requests": "9", "X-RateLimit-Remaining-Tokens": "750"}
        assert RateLimits(None, None).headers("a") == {}
