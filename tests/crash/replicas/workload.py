"""Clients of a service that check every answer, and what is stored at the end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

DEADLINE_S = 5.0
"""The deadline that a client gives to each call."""
_LATE_S = 15.0
"""What a call may take longer: the way through the balancer, on a machine that starts servers meanwhile."""
_GIVE_UP_S = 60.0
_RETRIED = frozenset({409, 429, 502, 503, 504})


@dataclass
class Findings:
    """Collect what clients found wrong, and when they succeeded.

    Attributes:
        wrong: what should not have happened.
        outcomes: the number of calls by their outcome.
        successes: the times of successful calls.
        longest_s: the longest time of one call.
    """

    wrong: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    successes: list[float] = field(default_factory=list)
    longest_s: float = 0.0

    def recovery_s(self, since: float) -> float:
        """Return the seconds from a time until the next successful call."""
        return min((at for at in list(self.successes) if at > since), default=time.monotonic()) - since


class Client(threading.Thread):
    """Add, change, delete and search the memories of its own, one call after the other, until it is told to stop.

    Each write is repeated with its `Idempotency-Key` until it is acknowledged, so that the client knows at every moment
    what must be stored. It reads what it wrote last.

    Args:
        url: the URL of the service.
        key: the API key of the tenant.
        tenant: the tenant, which every text names.
        number: distinguishes the clients of a tenant.
        findings: collects what it finds.
    """

    def __init__(self, url: str, key: str, tenant: str, number: int, findings: Findings) -> None:
        super().__init__(name=f"client {tenant} {number}")
        self.stopping = threading.Event()
        self.stored: dict[str, int] = {}  # uid -> version
        self._url, self._tenant, self._number, self._findings = url, tenant, number, findings
        self._headers = {"Authorization": f"Bearer {key}", "Request-Timeout": f"{DEADLINE_S:g}"}
        self._random = random.Random(f"{tenant} {number}")  # not for secrets
        self._calls = 0
        self._added = 0
        self._http = httpx2.Client(base_url=url, timeout=DEADLINE_S + 2 * _LATE_S)

    def run(self) -> None:
        """Call until told to stop."""
        try:
            with self._http:
                while not self.stopping.is_set():
                    self._step()
        except BaseException as exc:
            self._findings.wrong.append(f"{self.name} ended: {exc!r}")
            raise

    def _step(self) -> None:
        chosen = self._random.random()
        if chosen < 0.4 or not self.stored:
            self._add()
        elif chosen < 0.6:
            self._change(self._random.choice(sorted(self.stored)))
        elif chosen < 0.7:
            self._remove(self._random.choice(sorted(self.stored)))
        else:
            self._search()

    def _add(self) -> None:
        self._added += 1
        uid = f"{self._tenant}-{self._number}-{self._added}"
        answer = self._call(
            "POST", "/v1/agents/team/memories", {"text": self._text(uid), "uid": uid, "extra": {"v": 0}}
        )
        if answer is not None:
            if answer.get("uids") != [uid]:
                self._wrong(f"an add of {uid} was answered with {answer}")
            self.stored[uid] = 0
            self._read(uid)

    def _change(self, uid: str) -> None:
        version = self.stored[uid] + 1
        answer = self._call("PATCH", f"/v1/agents/team/memories/{uid}", {"extra": {"v": version}})
        if answer is not None:
            self.stored[uid] = version
            self._read(uid)

    def _remove(self, uid: str) -> None:
        if self._call("DELETE", f"/v1/agents/team/memories/{uid}") is not None:
            del self.stored[uid]
            self._read(uid)

    def _read(self, uid: str) -> None:
        # Another replica answers it, and it sees the write that was acknowledged before.
        found = self._call("GET", f"/v1/agents/team/memories/{uid}", missing=True)
        if found is None:
            return
        version = found["metadata"].get("v") if "metadata" in found else None
        if version != self.stored.get(uid):
            self._wrong(f"{uid} has the version {version} where {self.stored.get(uid)} was acknowledged")

    def _search(self) -> None:
        uid = self._random.choice(sorted(self.stored))
        found = self._call("POST", "/v1/agents/team/search", {"query": self._text(uid), "top_k": 3})
        if found is None:
            return
        matches = found["results"]
        if not any(match["uid"] == uid for match in matches):
            self._wrong(f"a search for {uid} did not find it")
        for match in matches:
            if not match["text"].startswith(f"{self._tenant} "):
                self._wrong(f"{self._tenant} was shown {match['text']!r}")

    def _text(self, uid: str) -> str:
        return f"{self._tenant} remembers {uid}"

    def _call(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> dict[str, Any] | None:
        """Send a call until it is answered; a write is the same one each time. None if the client stops."""
        self._calls += 1
        headers = dict(self._headers)
        if method != "GET" and not path.endswith("search"):
            headers["Idempotency-Key"] = f"{self._tenant}-{self._number}-{self._calls}"
        give_up_at = time.monotonic() + _GIVE_UP_S
        while True:
            began = time.monotonic()
            outcome, answer = self._send(method, path, body, headers, missing=missing)
            took_s = time.monotonic() - began
            self._findings.outcomes[outcome] += 1
            self._findings.longest_s = max(self._findings.longest_s, took_s)
            if took_s > DEADLINE_S + _LATE_S:
                self._wrong(f"{method} took {took_s:.1f} s: {outcome}")
            if answer is not None:
                self._findings.successes.append(time.monotonic())
                return answer
            if time.monotonic() > give_up_at:
                self._wrong(f"{method} {path} was not answered for {_GIVE_UP_S:g} s: {outcome}")
                return None
            time.sleep(self._random.uniform(0.02, 0.1))

    def _send(
        self, method: str, path: str, body: Any, headers: dict[str, str], *, missing: bool
    ) -> tuple[str, dict[str, Any] | None]:
        try:
            response = self._http.request(method, path, json=body, headers=headers)
        except httpx2.HTTPError as exc:
            return type(exc).__name__, None
        status = response.status_code
        if status in {200, 201}:
            answer: dict[str, Any] = response.json()
            return "done", answer
        if status == 204 or (status == 404 and missing):
            return "done", {}
        is_json = "json" in response.headers.get("content-type", "")
        error = str(response.json().get("error") or response.json().get("type")) if is_json else "by the balancer"
        if status not in _RETRIED or (not is_json and status not in {502, 503, 504}):
            self._wrong(f"{method} {path} was answered {status} {response.text[:400]}")
        return f"{status} {error}", None

    def _wrong(self, finding: str) -> None:
        self._findings.wrong.append(finding)


def check_stored(url: str, key: str, clients: list[Client], findings: Findings) -> None:
    """Compare what a tenant has stored with what its clients know: nothing is lost, doubled or another tenant's."""
    expected = {uid: version for client in clients for uid, version in client.stored.items()}
    found: dict[str, int] = {}
    after: str | None = None
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as http:
        while True:
            answer = http.post("/v1/agents/team/memories:scan", json={"limit": 500, "after": after})
            answer.raise_for_status()
            page = answer.json()
            for memory in page["memories"]:
                if memory["uid"] in found:
                    findings.wrong.append(f"{memory['uid']} is stored twice")
                found[memory["uid"]] = memory["metadata"].get("v")
            after = page["next"]
            if after is None:
                break
        count = http.get("/v1/agents/team/memories:count").json()["count"]
    if found != expected:
        lost = sorted(expected.keys() - found.keys())
        extra = sorted(found.keys() - expected.keys())
        changed = [uid for uid in expected.keys() & found.keys() if expected[uid] != found[uid]]
        findings.wrong.append(f"lost {lost[:5]}, not deleted or foreign {extra[:5]}, of another version {changed[:5]}")
    if count != len(expected):
        findings.wrong.append(f"{count} memories are counted, and {len(expected)} are stored")
