import pytest

from integration.errors import SubscribeError
from integration.validator import Validator


class Ack:
    def __init__(self, success):
        self.success = success

    def validate(self):
        if not self.success:
            raise SubscribeError("unknown topic")
        return self


def test_an_answer_that_can_judge_itself_is_recognised():
    assert isinstance(Ack(True), Validator)
    assert not isinstance(object(), Validator)


def test_a_refusal_is_an_error_and_success_is_the_value():
    ack = Ack(True)

    assert ack.validate() is ack
    with pytest.raises(SubscribeError, match="unknown topic"):
        Ack(False).validate()
