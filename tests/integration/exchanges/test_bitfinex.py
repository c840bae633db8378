EXCHANGE = VECTORS = "bitfinex"


def test_every_published_row_becomes_what_it_means(check_row, row):
    check_row(row)
