EXCHANGE = VECTORS = "deribit"
REPLAYS = ("deribit_btc-24sep21-8000-p",)


def test_every_published_row_becomes_what_it_means(check_row, row):
    check_row(row)


def test_a_recorded_session_ends_in_the_venues_book(check_replay, session):
    check_replay(session)
