import pytest

from netcore.errors import RecordingError
from netcore.info import ConnectionInfo
from netcore.stream import FileStream
from netcore.testing import check_source


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "captured"
    path.write_bytes(bytes(range(256)) * 5)
    return path


@pytest.mark.parametrize("chunk", [1, 256, 10_000])
def test_a_file_stream_conforms(path, chunk):
    check_source(lambda: FileStream(path, chunk), path.read_bytes())


def test_an_empty_file_is_an_end(tmp_path):
    (tmp_path / "empty").touch()

    check_source(lambda: FileStream(tmp_path / "empty"), b"")


def test_pieces_are_as_long_as_the_chunk(path):
    stream = FileStream(path, 100)

    assert [len(stream.receive()) for _ in range(14)] == [100] * 12 + [80, 0]
    stream.close()


def test_a_file_is_always_ready(path):
    stream = FileStream(path)

    assert stream.buffered
    assert stream.connected()
    assert stream.fileno() == -1
    stream.close()


def test_the_peer_can_be_claimed(path):
    info = ConnectionInfo("venue.example", 443)
    stream = FileStream(path, info=info)

    assert stream.info == info
    stream.close()


def test_a_missing_file_is_a_recording_error(tmp_path):
    with pytest.raises(RecordingError, match=r"cannot read .*gone: No such file"):
        FileStream(tmp_path / "gone")


def test_a_file_that_cannot_be_read_is_a_recording_error(path):
    class Broken:
        name = "broken"
        closed = False

        def read(self, size):
            raise OSError(5, "Input/output error")

        def close(self):
            pass

    stream = FileStream(path)
    stream.close()
    stream._file = Broken()

    with pytest.raises(RecordingError, match="cannot read broken: Input/output"):
        stream.receive()


def test_a_chunk_below_one_is_refused(path):
    with pytest.raises(ValueError, match="was 0"):
        FileStream(path, 0)
