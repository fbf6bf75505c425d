"""Are the results of an issue whole: each file, and that the newest ones are the ones that the history has."""

import hashlib
import os

import msgspec
from attrs import define, field, frozen

from cco_sidecar.backends.placing import read_regular
from cco_sidecar.backends.resultform import ResultHead
from cco_sidecar.backends.storekeeping.findings import Findings
from cco_sidecar.backends.storekeeping.layout import OPEN_DIRECTORY, Kind, Parts, kind_of

_decode = msgspec.json.Decoder(ResultHead).decode
_BRING_BACK = "move it away, or bring it back from a backup; the other results are not touched"


@frozen
class _Newest:
    id: str
    digest: bytes


def check_issue(directory: int, parts: Parts, findings: Findings, *, is_live: bool) -> int:
    """Look at every result of an issue's open directory, and give how many its history has.

    The newest are read before the history, so that a sidecar that runs has put there already what they name.
    """
    check = _IssueCheck(parts, findings)
    check.newest_of(directory)
    try:
        history = os.open("history", OPEN_DIRECTORY, dir_fd=directory)
    except OSError:
        return 0  # it was not made yet; what else is in the way is told by whoever walks through
    try:
        count = check.history_of(history)
    finally:
        os.close(history)
    check.compare(is_live=is_live)
    return count


@define
class _IssueCheck:
    _parts: Parts
    _findings: Findings
    _newest: dict[str, _Newest] = field(factory=dict)
    _last: dict[str, str] = field(factory=dict)  # by agent type, the id that the history has last
    _seen: set[str] = field(factory=set)  # of the newest, those that the history has, too
    _unreadable: set[str] = field(factory=set)

    def newest_of(self, directory: int) -> None:
        """Read the newest result of each type."""
        for name in sorted(os.listdir(directory)):
            parts = (*self._parts, name)
            if kind_of(parts) is not Kind.NEWEST:
                continue
            agent_type = name.removesuffix(".json")
            found = self._read(directory, parts)
            if found is None:
                self._unreadable.add(agent_type)
                continue
            head, digest = found
            if head.agent_type != agent_type:
                problem = f"is the result of a '{head.agent_type}', not of the type that it is named after"
                self._findings.damage(parts, problem, _BRING_BACK)
            self._newest[agent_type] = _Newest(head.id, digest)

    def history_of(self, directory: int) -> int:
        """Read all results; give how many there are."""
        count = 0
        for name in sorted(os.listdir(directory)):
            parts = (*self._parts, "history", name)
            if kind_of(parts) is not Kind.RESULT:
                continue
            count += 1
            found = self._read(directory, parts)
            if found is None:
                continue
            head, digest = found
            if f"{head.id}.json" != name:
                self._findings.damage(
                    parts, f"holds the result '{head.id}', not the one it is named after", _BRING_BACK
                )
            self._last[head.agent_type] = max(self._last.get(head.agent_type, ""), head.id)
            for agent_type, newest in self._newest.items():
                if f"{newest.id}.json" == name:
                    self._seen.add(newest.id)
                    self._check_same(parts, agent_type, is_same=newest.digest == digest)
        return count

    def _check_same(self, parts: Parts, agent_type: str, *, is_same: bool) -> None:
        if not is_same:
            problem = f"is not what {agent_type}.json holds under the same id: one of them has changed"
            self._findings.damage(parts, problem, "compare the two, and bring the right one back from a backup")

    def compare(self, *, is_live: bool) -> None:
        """Tell where the newest and the history disagree."""
        for agent_type, last in self._last.items():
            parts = (*self._parts, f"{agent_type}.json")
            newest = self._newest.get(agent_type)
            if newest is not None and newest.id not in self._seen:
                # Pruning takes the oldest first, and so leaves none of a type when it has taken the newest.
                problem = f"is the result '{newest.id}', which the history does not have"
                self._findings.damage(parts, problem, "copy it into history/, or bring both back from a backup")
            elif is_live or agent_type in self._unreadable:
                continue
            elif newest is None or _moment(newest.id) < _moment(last):
                # A write was cut short between the two, before it was acknowledged.
                problem = f"the history has a newer result of this type, '{last}'"
                advice = f"nothing, or copy history/{last}.json over it: 'cco results list' shows both"
                self._findings.note(parts, problem, advice)

    def _read(self, directory: int, parts: Parts) -> tuple[ResultHead, bytes] | None:
        try:
            text = read_regular(directory, parts[-1])
            head = _decode(text)
        except FileNotFoundError:
            return None  # pruned meanwhile
        except OSError as error:
            self._findings.damage(parts, f"cannot be read: {error.strerror}", _BRING_BACK)
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._findings.damage(parts, f"is no result: {error}", _BRING_BACK)
            return None
        if (head.project_id, head.issue_id) != self._parts[1:3]:
            problem = f"is a result of '{head.issue_id}' in '{head.project_id}', and does not belong here"
            self._findings.damage(parts, problem, _BRING_BACK)
        return head, hashlib.sha256(text).digest()


def _moment(result_id: str) -> str:
    """Give the part of an id that says when it was made."""
    return result_id.rpartition("-")[0]
