"""Downloads against a local server that does all that servers and networks do."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT
from published import serving

from mmaavi.download import CHUNK, download
from mmaavi.errors import InputError

CONTENT = bytes(range(256)) * 1600
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT_BLOB = hashlib.sha1(b"blob 409600\0" + CONTENT).hexdigest()
HALF = 3 * CHUNK


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("mmaavi.download.PAUSE", 0)


def breaks_off(handler):
    handler.answer(CONTENT, sent=HALF)
    return True


def fails(handler):
    handler.send_error(500)
    return True


def sleeps(handler):
    time.sleep(1.5)
    return True


def loops(handler):
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()
    return True


def ignores_ranges(handler):
    del handler.headers["Range"]
    handler.answer(CONTENT)
    return True


def is_another_version(handler):
    """The content changed after the first half was sent: an If-Range that does not match gets the whole."""
    assert handler.headers["If-Range"] == '"v1"'
    return ignores_ranges(handler)


def shows_a_page(handler):
    handler.answer(b"<html>too large to scan for viruses</html>", Content_Type="text/html; charset=utf-8")
    return True


def has_no_length(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT)
    return True


def then(*answers):
    """One answer after the other, then as usual."""
    left = list(answers)
    return lambda handler: bool(left) and left.pop(0)(handler)


def fetch(folder: Path, *answers, content: bytes = CONTENT, **options) -> list[str | None]:
    """Download '/f' as set/file.bin, answered as said, then as usual; returns the ranges that were asked for."""
    asked = []
    with serving({"/f": content}, {"/f": then(*answers)}) as (address, requests):
        try:
            path = download("set/file.bin", folder, url=f"{address}/f", **({"sha256": SHA256} | options))
        finally:
            asked += [ranged for _, ranged in requests]
    assert path == folder / "set/file.bin"
    return asked


def refuse(folder: Path, message: str, *answers, **options) -> str:
    """The same, but it must fail: with the message, and with nothing under the file's name."""
    with pytest.raises(InputError, match=message) as caught:
        fetch(folder, *answers, **options)
    assert not (folder / "set/file.bin").exists()
    assert "set/file.bin" in str(caught.value)
    return str(caught.value)


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


REST = f"bytes={HALF}-"
WAYS = {
    "sound": ([], [None]),
    "resumed": ([breaks_off], [None, REST]),
    "without ranges": ([breaks_off, ignores_ranges], [None, REST]),
    "changed on the way": ([breaks_off, is_another_version], [None, REST]),
    "500 twice": ([fails, fails], [None, None, None]),
    "broken, then 500": ([breaks_off, fails], [None, REST, REST]),
    "time-out": ([sleeps], [None, None]),
    "without length": ([has_no_length], [None]),
}


@pytest.mark.parametrize(("answers", "ranges"), WAYS.values(), ids=WAYS)
def test_a_file_arrives_whole_after_some_tries(tmp_path, answers, ranges):
    assert fetch(tmp_path, *answers, timeout=0.5) == ranges
    assert (tmp_path / "set/file.bin").read_bytes() == CONTENT
    assert files(tmp_path) == ["set/file.bin"]


def test_a_git_blob_id_is_a_checksum_too(tmp_path):
    fetch(tmp_path, sha256=None, git_blob=GIT_BLOB)
    refuse(tmp_path / "other", "another checksum", sha256=None, git_blob="0" * 40)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([breaks_off, fails, fails], "could not be downloaded .*500.*3 times"),
        ([fails, fails, fails], "could not be downloaded .*500"),
        ([sleeps, sleeps, sleeps], "could not be downloaded .*timed out"),
        ([loops] * 30, "could not be downloaded .*[Rr]edirect"),
        ([shows_a_page], "could not be downloaded .*a web page"),
        ([lambda handler: handler.send_error(404) or True], "could not be downloaded .*404"),
        ([lambda handler: handler.send_error(403) or True], "could not be downloaded .*403"),
    ],
)
def test_a_file_that_cannot_be_had_leaves_nothing_under_its_name(tmp_path, answers, message):
    refuse(tmp_path, message, *answers, retries=2, timeout=0.5)


def test_a_missing_file_is_not_asked_for_again(tmp_path):
    with serving({}) as (address, requests), pytest.raises(InputError, match="404"):
        download("file.bin", tmp_path, SHA256, url=f"{address}/f")
    assert len(requests) == 1


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT[:-1], CONTENT + b"x", b""])
def test_another_content_is_refused_and_removed(tmp_path, content):
    refuse(tmp_path, "another checksum", content=content)
    assert files(tmp_path) == []


def test_a_later_call_goes_on_where_an_earlier_one_stopped(tmp_path):
    refuse(tmp_path, "could not be downloaded", breaks_off, retries=0)
    assert files(tmp_path) == ["set/.file.bin.partial"]
    assert fetch(tmp_path) == [REST]
    assert files(tmp_path) == ["set/file.bin"]


def test_what_an_earlier_call_left_of_another_file_is_thrown_away(tmp_path):
    (tmp_path / "set").mkdir()
    for left in (b"something else", CONTENT + b"longer"):
        (tmp_path / "set/.file.bin.partial").write_bytes(left)
        fetch(tmp_path)
        assert (tmp_path / "set/file.bin").read_bytes() == CONTENT
        (tmp_path / "set/file.bin").unlink()


def test_the_first_download_without_a_checksum_records_one(tmp_path):
    fetch(tmp_path, sha256=None)
    record = tmp_path / "set/file.bin.sha256"
    assert record.read_text() == f"{SHA256}  file.bin\n"
    (tmp_path / "set/file.bin").unlink()
    fetch(tmp_path, sha256=None)
    (tmp_path / "set/file.bin").unlink()
    refuse(tmp_path, f"another checksum than file.bin.sha256 says .{SHA256}", content=CONTENT[:-1], sha256=None)
    assert record.read_text().startswith(SHA256)


def test_without_a_checksum_nothing_of_an_earlier_call_is_used(tmp_path):
    refuse(tmp_path, "could not be downloaded", breaks_off, retries=0, sha256=None)
    assert not (tmp_path / "set/file.bin.sha256").exists()
    assert fetch(tmp_path, sha256=None) == [None]


def test_two_jobs_that_want_one_file_fetch_it_once(tmp_path):
    def slowly(handler):
        time.sleep(0.3)
        handler.answer(CONTENT)
        return True

    failures = []

    def job(address):
        try:
            download("set/file.bin", tmp_path, SHA256, url=f"{address}/f")
        except Exception as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    with serving({"/f": CONTENT}, {"/f": slowly}) as (address, requests):
        jobs = [threading.Thread(target=job, args=[address]) for _ in range(4)]
        for thread in jobs:
            thread.start()
        for thread in jobs:
            thread.join()
    assert not failures
    assert len(requests) == 1
    assert files(tmp_path) == ["set/file.bin"]


def test_a_killed_download_goes_on(tmp_path):
    """Not an exception but a kill: what is there afterwards is part of the file, under another name."""
    stop = threading.Event()

    def stalls(handler):
        handler.answer(CONTENT, sent=HALF)
        handler.wfile.flush()
        stop.wait(20)
        return True

    code = "import sys; from mmaavi.download import download; download('set/file.bin', *sys.argv[1:3], url=sys.argv[3])"
    with serving({"/f": CONTENT}, {"/f": then(stalls)}) as (address, _):
        command = [sys.executable, "-c", code, str(tmp_path), SHA256, f"{address}/f"]
        child = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
        partial = tmp_path / "set/.file.bin.partial"
        deadline = time.monotonic() + 20
        while not partial.exists() and time.monotonic() < deadline:
            stop.wait(0.05)
        child.kill()
        child.wait()
        stop.set()
    assert not (tmp_path / "set/file.bin").exists()
    fetch(tmp_path)
    assert (tmp_path / "set/file.bin").read_bytes() == CONTENT


def test_a_file_larger_than_the_free_space_is_refused_before_it_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("mmaavi.download.shutil.disk_usage", lambda _path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    refuse(tmp_path, "no space for set/file.bin .*409,600 bytes, 1,000 free")
    assert files(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs to be root")
    try:
        refuse(small, "no space for set/file.bin", has_no_length)
        assert files(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_server_that_is_not_there_says_how_to_use_a_mirror(tmp_path):
    with pytest.raises(InputError, match="--config mirror="):
        download("file.bin", tmp_path, SHA256, url="http://127.0.0.1:9/file.bin", retries=0)


def test_a_mirror_folder_replaces_the_address(tmp_path):
    (tmp_path / "mirror/set").mkdir(parents=True)
    (tmp_path / "mirror/set/file.bin").write_bytes(CONTENT)
    path = download("set/file.bin", tmp_path / "to", SHA256, url="http://127.0.0.1:9/x", mirror=str(tmp_path / "mirror"))
    assert path.read_bytes() == CONTENT


def test_a_mirror_is_tested_by_the_same_checksum(tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match="another checksum"):
        download("file.bin", tmp_path / "to", SHA256, mirror=str(tmp_path / "mirror"))
    assert files(tmp_path / "to") == []


def test_a_mirror_address_serves_the_same_paths(tmp_path):
    with serving({"/copy/set/file.bin": CONTENT}) as (address, requests):
        download("set/file.bin", tmp_path, SHA256, url="http://127.0.0.1:9/x", mirror=f"{address}/copy/")
    assert requests == [("/copy/set/file.bin", None)]


def test_a_file_that_a_mirror_lacks_is_named(tmp_path):
    with pytest.raises(InputError, match="set/file.bin is not in the mirror folder .* public address is http://example"):
        download("set/file.bin", tmp_path, SHA256, url="http://example.org/f", mirror=str(tmp_path))
    with pytest.raises(InputError, match="no public address"):
        download("set/file.bin", tmp_path, SHA256)
