from integration.message import (
    FEED_ENDED,
    Admin,
    AdminKind,
    ApplicationAdmin,
    FeedEnded,
    Payload,
    ProtocolAdmin,
)


def test_data_and_traffic_about_it_are_told_apart_by_type():
    ping = ProtocolAdmin(AdminKind.PING, b"1")
    beat = ApplicationAdmin(AdminKind.HEARTBEAT)

    assert isinstance(ping, Admin)
    assert isinstance(beat, Admin)
    assert not isinstance(Payload(1), Admin)
    assert ping != ApplicationAdmin(AdminKind.PING, b"1")
    assert beat.payload == b""


def test_the_end_of_a_feed_is_a_value():
    assert FeedEnded() == FEED_ENDED
