"""What a session must not forget, in memory and over crashes."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.fix import FileStore, Fsync, MemoryStore, StoreDamaged, StoreError


@pytest.fixture(params=["memory", "file", "file with fsync"])
def store(request, tmp_path):
    if request.param == "memory":
        made = MemoryStore()
    else:
        fsync = Fsync.FLUSH if "fsync" in request.param else Fsync.NEVER
        made = FileStore(tmp_path / "session.fix", fsync=fsync)
    yield made
    made.close()


def contents(store):
    return (
        store.next_outgoing,
        store.next_expected,
        list(store.messages(1, store.next_outgoing)),
    )


class TestEveryStore:
    def test_it_begins_at_one(self, store):
        assert contents(store) == (1, 1, [])

    def test_it_remembers_numbers_and_application_messages(self, store):
        store.record(1, None)
        store.record(2, b"two")
        store.record(3, b"three")
        store.expect(9)
        store.flush()

        assert contents(store) == (4, 9, [(2, b"two"), (3, b"three")])
        assert list(store.messages(3, 99)) == [(3, b"three")]
        assert list(store.messages(1, 1)) == []

    def test_numbers_may_be_left_out_but_not_used_twice(self, store):
        store.record(5, b"five")
        with pytest.raises(StoreError, match="number 5 was used; the next is 6"):
            store.record(5, None)

        assert contents(store) == (6, 1, [(5, b"five")])

    def test_a_reset_begins_again(self, store):
        store.record(1, b"one")
        store.expect(3)
        store.reset()
        assert contents(store) == (1, 1, [])

        store.record(1, b"new")
        assert list(store.messages(1, 1)) == [(1, b"new")]

    def test_it_shows_its_numbers(self, store):
        store.record(1, b"one")

        assert "next outgoing 2, expected 1, 1 messages" in repr(store)


class TestMemoryStore:
    def test_only_the_latest_messages_are_kept_if_there_is_a_limit(self):
        store = MemoryStore(limit=2)
        for number in (1, 2, 3):
            store.record(number, b"%d" % number)

        assert contents(store) == (4, 1, [(2, b"2"), (3, b"3")])


class TestFileStore:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "session.fix"

    @given(
        st.lists(
            st.one_of(
                st.none(), st.binary(max_size=50), st.integers(1, 99), st.just("reset")
            ),
            max_size=20,
        )
    )
    def test_it_is_the_same_after_opening_it_again(self, tmp_path_factory, steps):
        path = tmp_path_factory.mktemp("store") / "session.fix"
        model, store = MemoryStore(), FileStore(path)
        for step in steps:
            for each in (model, store):
                if step == "reset":
                    each.reset()
                elif isinstance(step, int):
                    each.expect(step)
                else:
                    each.record(each.next_outgoing, step)
        store.close()

        again = FileStore(path)
        assert contents(again) == contents(model)
        again.close()

    def test_every_cut_leaves_a_store_of_what_was_whole(self, path):
        store = FileStore(path)
        sizes, states = [], []
        for number in range(1, 6):
            store.record(number, b"m%d" % number if number % 2 else None)
            store.expect(number * 10)
            store.flush()
            sizes.append(path.stat().st_size)
            states.append(contents(store))
        store.close()
        whole = path.read_bytes()

        for size in range(len(whole) + 1):
            path.write_bytes(whole[:size])
            reopened = FileStore(path)
            known = [s for end, s in zip(sizes, states, strict=True) if end <= size]
            found = contents(reopened)
            # Between two states a record may be there whose "expected" is not.
            assert found[0] >= (known[-1][0] if known else 1)
            assert found[0] <= len(known) + 2
            assert found in states or found[1] in {1, len(known) * 10}
            reopened.record(found[0], b"next")
            reopened.close()
            after = FileStore(path)
            assert after.next_outgoing == found[0] + 1
            assert list(after.messages(found[0], found[0])) == [(found[0], b"next")]
            after.close()

    def test_zeros_at_the_end_are_cut_off_like_a_torn_record(self, path):
        store = FileStore(path)
        store.record(1, b"one")
        store.close()
        path.write_bytes(path.read_bytes() + b"\0" * 4096)

        again = FileStore(path)
        assert contents(again) == (2, 1, [(1, b"one")])
        again.close()

    def test_damage_before_the_end_is_an_error_that_says_where(self, path):
        store = FileStore(path)
        store.record(1, b"one")
        store.record(2, b"two")
        store.close()
        data = bytearray(path.read_bytes())
        data[data.index(b"one")] ^= 1
        path.write_bytes(data)

        with pytest.raises(StoreDamaged, match="damaged at byte 8") as caught:
            FileStore(path)
        assert caught.value.offset == 8
        assert path.read_bytes() == data

    def test_another_kind_of_file_is_left_alone(self, path):
        path.write_bytes(b"dear diary, today I")
        with pytest.raises(StoreError, match="is no FIX store"):
            FileStore(path)

        assert path.read_bytes() == b"dear diary, today I"

    def test_records_of_a_later_version_are_refused(self, path):
        import struct
        import zlib

        FileStore(path).close()
        covered = struct.pack("<BQI", 77, 1, 0)
        with path.open("ab") as file:
            file.write(struct.pack("<I", zlib.crc32(covered)) + covered)

        with pytest.raises(StoreError, match="record of kind 77"):
            FileStore(path)

    def test_two_sessions_cannot_hold_one_file(self, path):
        first = FileStore(path)
        with pytest.raises(StoreError, match="in use"):
            FileStore(path)
        first.reset()
        with pytest.raises(StoreError, match="in use"):
            FileStore(path)

        first.close()
        FileStore(path).close()

    def test_what_was_flushed_survives_a_killed_process(self, path):
        program = (
            "import os, signal\n"
            "from netcore.fix import FileStore\n"
            f"store = FileStore({str(path)!r})\n"
            "store.record(1, b'sent'); store.expect(4); store.flush()\n"
            "store.record(2, b'never left')\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], check=False)  # noqa: S603 - our own program
        assert done.returncode == -9

        store = FileStore(path)
        assert store.next_outgoing in {2, 3}
        assert store.next_expected == 4
        assert list(store.messages(1, 1)) == [(1, b"sent")]
        store.close()

    def test_a_folder_that_is_not_there_is_an_error(self, tmp_path):
        with pytest.raises(StoreError, match="cannot open"):
            FileStore(tmp_path / "missing" / "session.fix")

    def test_a_closed_store_cannot_be_used(self, path):
        store = FileStore(path)
        store.close()
        store.close()
        with pytest.raises(StoreError, match="cannot write"):
            store.record(1, b"x")

    def test_a_file_that_was_cut_under_it_is_noticed(self, path):
        store = FileStore(path)
        store.record(1, b"some message")
        store.flush()
        with path.open("r+b") as file:
            file.truncate(12)
        with pytest.raises(StoreDamaged, match="the file was cut"):
            list(store.messages(1, 1))
        store.close()

    def test_many_received_messages_are_one_record(self, path):
        store = FileStore(path)
        before = path.stat().st_size
        for number in range(1000):
            store.expect(number)
        store.flush()

        assert path.stat().st_size == before + 17
        assert store.path == path
        store.close()
