"""Planning of an import: parse the files, and compare them with what earlier imports stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace

from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.formats import (
    UNDERSTOOD,
    FileFormat,
    Item,
    NotUnderstoodError,
    Part,
    PassedOver,
    Problem,
    UnreadableError,
    detect,
    format_named,
)
from super_advanced_agents.stores.validation import checked_uid
from super_advanced_agents.tenancy.importing.absent import AbsentFiles
from super_advanced_agents.tenancy.importing.files import Input, Inputs, is_zip, without_unpacked
from super_advanced_agents.tenancy.importing.locations import Locations
from super_advanced_agents.tenancy.importing.matching import Matching, PartKey, match_parts
from super_advanced_agents.tenancy.importing.memories import PLACE_FIELDS, MemoryMaker, NewPart, stable_uid
from super_advanced_agents.tenancy.importing.plan import Delete, Plan, Relocate, Reorder, Spool, Store
from super_advanced_agents.tenancy.importing.stored import StoredFiles, StoredPart, place_of
from super_advanced_agents.tenancy.importing.summary import RejectedLine, SourceLocation, Summary
from super_advanced_agents.tenancy.importing.target import Scans
from super_advanced_agents.types import Memory


@dataclass(slots=True)
class _FileParts:
    # The parts of one file: their texts on disk, and in memory only what matching needs.
    spool: Spool
    keys: list[PartKey] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    uids: dict[str, int] = field(default_factory=dict)  # with hashes of the texts
    global_uids: dict[int, str] = field(default_factory=dict)  # by position
    problems: int = 0
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """Plan an import with its options.

    Attributes:
        inputs: finds the files.
        locations: the paths of files that were imported on this machine.
        memory_type: the label of memories from documents.
        forced: the name of the format of all files; None to recognize each.
        sync: delete also the memories of files that have vanished, and entries that are gone from their files.
        summary: counts what is known, kept, passed over and rejected.
        on_rejected: called with each line that cannot be imported.
    """

    inputs: Inputs
    locations: Locations
    memory_type: str
    forced: str | None
    sync: bool
    summary: Summary
    on_rejected: Callable[[RejectedLine], None]
    read: Callable[[Input, FileFormat], Iterator[Item]] = lambda file, format_: format_.read(file.content)
    max_parts: int | None = None

    def plan(self, files: Iterable[Input], memories: Scans) -> Plan:
        """Parse the files, and return the steps that make an agent's memories hold what they do."""
        plan = Plan()
        try:
            _Planner(self, StoredFiles(memories), plan).add(files)
        except BaseException:
            plan.close()
            raise
        return plan

    def preview(self, files: Iterable[Input], memories: Scans) -> None:
        """Count what an import would store, and change nothing."""
        with closing(self.plan(files, memories)) as plan:
            for step in plan:
                if isinstance(step, Store):
                    self.summary.stored += 1
                    self.summary.replaced += step.replaces
                elif isinstance(step, Delete):
                    self.summary.deleted += 1


class _Planner:
    def __init__(self, options: Planning, stored: StoredFiles, plan: Plan) -> None:
        self._options = options
        self._inputs = options.inputs
        self._summary = options.summary
        self._stored = stored
        self._plan = plan
        self._present: set[str] = set()
        self._planned: set[str] = set()  # ids of the files that were planned so far
        self._claimed: set[str] = set()  # uids of memories that may stand in several files
        self._deleted: set[str] = set()
        self._absent: AbsentFiles | None = None

    def add(self, files: Iterable[Input]) -> None:
        found = [each for file in files for each in self._unpacked(file)]
        unpacked = without_unpacked(found)
        if len(unpacked) < len(found):
            self._inputs.passed_over["unpacked beside the zip file"] += len(found) - len(unpacked)
        self._present.update(file.file_id for file in unpacked)
        forced = self._options.forced
        for file in unpacked:
            try:
                format_ = format_named(forced) if forced else detect(file.content)
                if format_ is None:
                    raise NotUnderstoodError("it is of no known format")
                self._add(file, format_)
            except NotUnderstoodError as exc:
                self._pass_over(file, exc)
            self._planned.add(file.file_id)
        self._add_vanished()

    def _unpacked(self, file: Input) -> list[Input]:
        try:
            if not is_zip(file):
                return [file]
            members = list(self._inputs.members(file))
        except NotUnderstoodError as exc:
            self._pass_over(file, exc)
            return []
        if not members:
            self._inputs.passed_over["empty"] += 1
        return [member for member in members if not self._is_inner_zip(member)]

    def _is_inner_zip(self, member: Input) -> bool:
        try:
            inner = is_zip(member)
        except NotUnderstoodError:  # reported when the member is read
            return False
        if inner:
            self._inputs.passed_over["zip file in a zip file"] += 1
        return inner

    def _pass_over(self, file: Input, exc: NotUnderstoodError) -> None:
        # A file that the caller named must be importable; a folder may hold files of any kind.
        if file.content.named or isinstance(exc, UnreadableError):
            self._reject(file, 0, f"{exc.message}; {exc.hint or f'understood are {UNDERSTOOD}'}")
        else:
            self._inputs.passed_over[file.content.ending or "no ending"] += 1
            self._summary.pass_over(file.source)

    def _reject(self, file: Input, line: int, why: str) -> None:
        rejected = RejectedLine(SourceLocation(file.source, line), why)
        self._summary.reject(rejected)
        self._options.on_rejected(rejected)

    def _add(self, file: Input, format_: FileFormat) -> None:
        with closing(Spool()) as spool:
            parts = self._parse(file, format_, _FileParts(spool))
            if not parts.keys and not parts.problems and not parts.left_out:
                self._inputs.passed_over["empty"] += 1
            self._compare(file, format_, parts)
        self._options.locations.add(file.file_id, file.location)
        self._summary.files += 1

    def _parse(self, file: Input, format_: FileFormat, parts: _FileParts) -> _FileParts:
        known = self._stored.sources().get(file.file_id, "")
        # A file that was imported with a larger folder before keeps the longer source.
        source = known if known.endswith(f"/{file.source}") else file.source
        maker = MemoryMaker(file, source, self._options.memory_type)
        for item in self._options.read(file, format_):
            if self._options.max_parts is not None and len(parts.keys) >= self._options.max_parts:
                parts.problems += 1
                self._reject(file, 0, f"it has more than {self._options.max_parts:,} entries; split it")
                break
            if isinstance(item, PassedOver):
                self._summary.left_out[item.what] += 1
                parts.left_out += 1
            elif isinstance(item, Problem) or not item.text.strip():
                parts.problems += 1
                self._reject(file, item.line, item.why if isinstance(item, Problem) else "its text is empty")
            else:
                new = maker.make(item)
                if item.uid is not None and (why := _invalid_uid(item.uid)):
                    self._reject(file, item.line, why)
                    continue
                if self._is_repeated(new, item, file, parts):
                    parts.left_out += 1
                    continue
                uid = new.memory.uid
                if uid in parts.uids:  # another text of this file has the same key
                    uid = None
                if uid is not None:
                    parts.uids[uid] = hash(new.memory.text)
                    if new.is_global:
                        parts.global_uids[len(parts.keys)] = uid
                parts.keys.append(PartKey(new.digest, uid))
                parts.bodies.append(new.body)
                parts.spool.append("", {"line": new.line, "memory": asdict(new.memory)})
        return parts

    def _is_repeated(self, new: NewPart, item: Part, file: Input, parts: _FileParts) -> bool:
        # Exports overlap: a checkpoint repeats the messages before it, and next month's export those of this month.
        uid = new.memory.uid
        if uid is None:
            return False
        in_file = uid in parts.uids
        if not in_file and not (new.is_global and uid in self._claimed):
            return False
        if item.uid is not None:
            self._reject(file, item.line, f"{'a line' if in_file else 'a file'} before it has the same uid")
        elif not in_file or parts.uids[uid] == hash(new.memory.text):
            self._summary.left_out["repeated messages"] += 1
        else:
            return False
        return True

    def _compare(self, file: Input, format_: FileFormat, parts: _FileParts) -> None:
        stored = self._stored.parts_of(file.file_id)
        if not stored and parts.keys:
            stored = self._absent_files().adopt(file, (key.digest for key in parts.keys))
        of_file = {part.uid for part in stored}
        elsewhere = [uid for uid in parts.global_uids.values() if uid not in of_file]
        stored += self._stored.with_uids(elsewhere)
        self._claimed.update(parts.global_uids.values())
        matching = match_parts(parts.keys, stored, edited=bool(file.location))
        uids = _Uids(file.file_id, {part.uid for part in stored} | parts.uids.keys())
        turns = _TurnOrder()
        for position, (_, value) in enumerate(parts.spool):
            memory = Memory(**value["memory"])
            same, replaced = matching.same[position], matching.replaces[position]
            if self._is_of_other_file(stored, same, replaced, of_file):
                self._summary.known += 1
                continue
            if same is not None and stored[same].uid not in self._deleted:
                self._keep(memory, stored[same], value["line"], file)
                turns.see(memory.session, same)
                continue
            old = None if replaced is None else stored[replaced].uid
            if old is None and memory.uid is None and not (old := self._claim(parts.bodies[position], memory)):
                turns.see(memory.session, None)
            uid = memory.uid if memory.uid and old is None else old or uids.fresh(parts.keys[position].digest)
            self._store(replace(memory, uid=uid), file.source, value["line"], replaces=old is not None)
        self._remove_gone(file, format_, parts, stored, matching)
        for session in turns.disordered:
            self._plan.append(Reorder(file.file_id, session))

    def _is_of_other_file(
        self, stored: list[StoredPart], same: int | None, replaced: int | None, of_file: set[str]
    ) -> bool:
        # True for a message in several files that belongs to the file which stored it first, while that file exists.
        index = same if same is not None else replaced
        if index is None or stored[index].uid in of_file:
            return False
        owner = stored[index].file_id
        if owner in self._present:
            return owner not in self._planned
        return same is not None and not self._absent_files().vanished(owner)

    def _keep(self, memory: Memory, old: StoredPart, line: int, file: Input) -> None:
        if memory.expires_in_s is not None:  # its lifetime begins again
            self._store(replace(memory, uid=old.uid), file.source, line, replaces=True)
            return
        self._summary.known += 1
        place = place_of(memory.extra, memory.source, memory.session)
        if place != old.place:
            fields = {name: value for name, value in memory.extra.items() if name in PLACE_FIELDS}
            self._plan.append(Relocate(old.uid, fields, memory.source, memory.session))

    def _remove_gone(
        self, file: Input, format_: FileFormat, parts: _FileParts, stored: list[StoredPart], matching: Matching
    ) -> None:
        for index in matching.removed:
            self._delete(stored[index].uid, file.source)
        # What a document lacks was deleted. What a list of entries lacks may only be too old for the service's export.
        follows = (format_.is_document or self._options.sync) and not parts.problems
        for index in matching.gone:
            if stored[index].uid in self._claimed:
                continue
            if follows:
                self._delete(stored[index].uid, file.source)
            else:
                self._summary.kept += 1

    def _store(self, memory: Memory, source: str, line: int, *, replaces: bool) -> None:
        self._plan.append(Store(memory, source, line, replaces=replaces))
        self._summary.change(source, "replaced" if replaces else "added")

    def _delete(self, uid: str, source: str) -> None:
        if uid not in self._claimed:
            self._summary.change(source, "deleted")
            self._plan.append(Delete(uid))
            self._deleted.add(uid)

    def _claim(self, body: bytes, memory: Memory) -> str | None:
        # A text of a vanished file has moved here: its memory takes the new place.
        return None if memory.session is not None else self._absent_files().claim(body)

    def _absent_files(self) -> AbsentFiles:
        if self._absent is None:
            self._absent = AbsentFiles(
                self._stored, self._stored.absent(self._inputs, self._present, self._options.locations)
            )
        return self._absent

    def _add_vanished(self) -> None:
        for file, parts, has_moved in self._absent_files().left():
            left = [part for part in parts if part.uid not in self._claimed]
            in_given = any(file.location.startswith(f"{folder.rstrip('/')}/") for folder in self._inputs.complete)
            if left and not has_moved and in_given:
                self._summary.vanished.append(file.source)
            for part in left:
                if has_moved or (self._options.sync and in_given):
                    self._delete(part.uid, file.source)
                elif in_given:
                    self._summary.kept += 1


def _invalid_uid(uid: str) -> str:
    try:
        checked_uid(uid, field="its uid", limits=LIMITS)
    except InvalidInputError as exc:
        return exc.message
    return ""


class _Uids:
    # Makes uids of new memories from hashes of their texts: equal at every import, different for equal texts of a file.

    def __init__(self, file_id: str, used: set[str]) -> None:
        self._file_id = file_id
        self._used = used

    def fresh(self, digest: bytes) -> str:
        number = 0
        while (uid := stable_uid(self._file_id, digest.hex(), str(number))) in self._used:
            number += 1
        self._used.add(uid)
        return uid


class _TurnOrder:
    # Finds sessions whose stored turns are not in the order of the file.

    def __init__(self) -> None:
        self.disordered: set[str] = set()
        self._last: dict[str, int] = {}
        self._after_new: set[str] = set()

    def see(self, session: str | None, stored: int | None) -> None:
        if session is None:
            return
        if stored is None:
            self._after_new.add(session)
            return
        if session in self._after_new or stored < self._last.get(session, -1):
            self.disordered.add(session)
        self._last[session] = stored
