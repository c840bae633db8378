import msgspec

from flowtrade.hub import Hub
from flowtrade.models.update import ReferenceUpdate
from netcore.clock import ManualClock

MARKET = ("market", "")


def numbered(number):
    return ReferenceUpdate(time="2026-01-01T00:00:00Z", mids={"p": float(number)})


async def received(subscription):
    data = await subscription.receive()
    lines = [line for line in data.decode().splitlines() if line.startswith("data: ")]
    return [msgspec.json.decode(line[6:])["mids"]["p"] for line in lines]


async def test_a_new_client_may_begin_with_the_topics_recent_events():
    hub = Hub(clock=ManualClock(), replay=100, queue=100)
    for number in range(5):
        hub.publish(MARKET, numbered(number))
        hub.publish(("product", "p"), numbered(100 + number))

    with hub.subscribe(MARKET, recent=3) as subscription:
        seen = await received(subscription)

    assert seen == [2.0, 3.0, 4.0]


async def test_recent_events_never_overfill_a_clients_queue():
    hub = Hub(clock=ManualClock(), replay=100, queue=4)
    for number in range(50):
        hub.publish(MARKET, numbered(number))

    with hub.subscribe(MARKET, recent=1000) as subscription:
        seen = await received(subscription)
        hub.publish(MARKET, numbered(50))
        seen += await received(subscription)

    assert seen == [47.0, 48.0, 49.0, 50.0]
    assert hub.dropped == 0


async def test_a_resuming_client_gets_what_it_missed_whatever_it_calls_recent():
    hub = Hub(clock=ManualClock(), replay=100, queue=100)
    hub.publish(MARKET, numbered(1))
    with hub.subscribe(MARKET) as subscription:
        first = (await subscription.receive()).decode()
    last_id = int(first.split("id: ")[1].split("\n")[0])
    hub.publish(MARKET, numbered(2))

    with hub.subscribe(MARKET, last_id=last_id, recent=50) as subscription:
        seen = await received(subscription)

    assert seen == [2.0]
