EXCHANGE = VECTORS = "gateio_perpetuals_usd"
REPLAYS = ("gateio_futures_quick_usdt",)


def test_every_published_row_becomes_what_it_means(check_row, row):
    check_row(row)


def test_a_recorded_session_ends_in_the_venues_book(check_replay, session):
    check_replay(session)
