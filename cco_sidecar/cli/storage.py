"""``cco storage``: is it whole, carry it away, bring it back; all without a sidecar, or beside one that runs."""

import errno
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from cco_sidecar import __version__
from cco_sidecar.cli.command import Group
from cco_sidecar.cli.output import chosen_format, emit, is_terminal, note, to_json
from cco_sidecar.cli.service_options import load_settings
from cco_sidecar.cli.sidecar import Failed

_T = TypeVar("_T")

_storage_option = click.option(
    "--storage", metavar="DIR", help="Where data is kept (/tmp/cco-sidecar; CCO_SIDECAR_STORAGE)."
)


@click.group(cls=Group)
def storage() -> None:
    """Check what is stored, carry it away, bring it back."""


@storage.command()
@_storage_option
@click.pass_context
def verify(ctx: click.Context, storage: str | None) -> None:
    """Check everything that is stored, and change nothing.

    A sidecar may run meanwhile. Ends with 1 if damage was found; a note is no damage.

    \b
    cco storage verify
    cco storage verify --storage ~/cco-data --format json
    """
    from cco_sidecar.backends.storekeeping.verifying import verify as look

    report = _checked(lambda: look(_directory(storage)))
    _show_findings(report, _as_data(report))
    note(_summary(report))
    if not report.sound:
        ctx.exit(1)


@storage.command()
@click.argument("file", metavar="FILE.tar[.gz|.zst]", type=click.Path(allow_dash=True))
@_storage_option
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.pass_context
def backup(ctx: click.Context, file: str, storage: str | None, force: bool) -> None:
    """Write all that is stored into an archive.

    A sidecar may go on meanwhile: every write that it acknowledged before is in there. FILE - is stdout. Ends with
    1 if something could not be read and was left out.

    \b
    cco storage backup sidecar.tar.gz
    cco storage backup - | ssh elsewhere 'cat > sidecar.tar'
    """
    from cco_sidecar.backends.storekeeping.backup import Maker, backup_into, backup_to

    maker = Maker(__version__, time.time())
    if file != "-":
        _check_name(file)
        manifest = _checked(lambda: backup_into(Path(file).absolute(), _directory(storage), maker, force=force))
        emit({"file": file, **_contents(manifest), "archive_bytes": Path(file).stat().st_size})
    else:
        if is_terminal():
            raise click.UsageError("A terminal is no place for an archive: name a file, or pipe it on.")
        manifest = _checked(lambda: backup_to(sys.stdout.buffer, _directory(storage), maker))
        note(to_json(_contents(manifest)))
    if manifest.left_out:
        names = ", ".join(manifest.left_out[:5])
        note(f"Left out, for it cannot be read: {names} ({len(manifest.left_out)} in all).")
        ctx.exit(1)


@storage.command()
@click.argument("file", metavar="FILE", type=click.Path())
@_storage_option
@click.option("--force", is_flag=True, help="Move a storage that is there aside, beside its place.")
@click.pass_context
def restore(ctx: click.Context, file: str, storage: str | None, force: bool) -> None:
    """Bring back what an archive holds.

    The sidecar must not run. FILE is a backup, or a tar of a storage; it is checked before anything changes.

    \b
    cco storage restore sidecar.tar.gz --storage ~/cco-data
    """
    from cco_sidecar.backends.storekeeping.restoring import restore as bring_back

    where = _directory(storage)
    found = _checked(lambda: bring_back(Path(file).absolute(), where, force=force, now=time.time()))
    manifest, report = found.manifest, found.report
    emit(
        {
            "storage": str(where),
            "version": manifest and manifest.version,
            "created_at": manifest and manifest.created_at,
            "moved_aside": found.moved_aside and str(found.moved_aside),
            "files": found.files,
            "size_bytes": found.size_bytes,
            **_as_data(report),
        }
    )
    if found.moved_aside:
        note(f"What was there lies in {found.moved_aside}.")
    note(f"Restored. {_summary(report)}")
    if not report.sound:
        ctx.exit(1)


def _directory(given: str | None) -> Path:
    return load_settings({"storage": given}).storage


def _checked(run: Callable[[], _T]) -> _T:
    from cco_sidecar.backends.storage import StorageError
    from cco_sidecar.backends.storekeeping.archive import ArchiveError

    try:
        return run()
    except (StorageError, ArchiveError) as error:
        text = str(error)
        raise Failed(f"{text[0].upper()}{text[1:]}.") from None
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # who reads has gone: click ends without a word
        raise Failed(f"{error.filename or 'The archive'}: {error.strerror}.") from None


def _check_name(file: str) -> None:
    from cco_sidecar.backends.storekeeping.archive import ArchiveError, compressor

    try:
        compressor(Path(file).name)
    except ArchiveError as error:
        raise click.UsageError(str(error)) from None


def _contents(manifest: Any) -> Mapping[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(manifest)
    members = found.pop("members")
    return {**found, "files": len(members), "size_bytes": sum(member["size"] for member in members)}


def _as_data(report: Any) -> Mapping[str, Any]:
    from attrs import asdict

    found: dict[str, Any] = asdict(report)
    return found


def _show_findings(report: Any, data: Mapping[str, Any]) -> None:
    lines = [f"{it.level}: {it.path} {it.problem}; {it.advice}" for it in report.findings]
    if report.findings or chosen_format() not in {"table", "text"}:
        emit(data, rows=data["findings"], columns=("level", "path", "problem", "advice"), text="\n".join(lines))
    if report.unlisted_findings:
        note(f"{report.unlisted_findings} findings more are not listed.")


def _summary(report: Any) -> str:
    facts = report.projects.values()
    segments, records = sum(it.segments for it in facts), sum(it.records for it in facts)
    verdict = "is sound" if report.sound else "is damaged"
    held = f", held by process {report.sidecar_pid}" if report.sidecar_pid else ""
    return (
        f"{report.storage} {verdict}{held}. Projects: {len(report.projects)}, segments: {segments}, "
        f"records: {records}, results: {report.results}, in quarantine: {len(report.quarantine)}."
    )
