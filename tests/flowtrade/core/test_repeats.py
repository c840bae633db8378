from flowtrade.core.operations import Once
from flowtrade.testing.bench import open_bench

ONCE = Once(scope="who", key="k", fingerprint=b"one")
DAY = 86_400


async def test_the_end_of_a_key_is_known_when_it_is_used_again():
    async with open_bench() as bench:
        begun = await bench.service.begin(ONCE, ("a",))
        assert await bench.service.finished(ONCE, begun) is None
        await bench.service.finish(ONCE, begun, ("b",))

        again = await bench.service.begin(ONCE, ("c",))

        assert (again.at, again.before.ids) == (begun.at, ("a",))
        assert (await bench.service.finished(ONCE, again)).ids == ("b",)


async def test_who_begins_anew_is_not_told_the_end_of_before():
    async with open_bench() as bench:
        begun = await bench.service.begin(ONCE, ())
        bench.clock.advance(60)
        await bench.service.finish(ONCE, begun, ("b",))
        bench.clock.advance(DAY - 30)  # the beginning is forgotten, the end is not

        again = await bench.service.begin(ONCE, ())

        assert again.before is None
        assert again.at > begun.at
        assert await bench.service.finished(ONCE, begun) is not None
        assert await bench.service.finished(ONCE, again) is None
