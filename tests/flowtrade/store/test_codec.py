"""How values become columns."""

from hypothesis import given
from hypothesis import strategies as st

from flowtrade.store.codec import id_from_blob, id_to_blob, ids_to_blobs

ids = st.uuids().map(str)


@given(st.lists(ids))
def test_many_ids_become_what_each_becomes(keys):
    blobs = ids_to_blobs(keys)

    assert blobs == [id_to_blob(key) for key in keys]
    assert [id_from_blob(blob) for blob in blobs] == keys


@given(st.lists(st.one_of(ids, ids.map(lambda key: key.replace("-", "")), st.just(""))))
def test_ids_that_are_not_written_in_full_become_what_they_are(keys):
    assert ids_to_blobs(keys) == [id_to_blob(key) for key in keys]
