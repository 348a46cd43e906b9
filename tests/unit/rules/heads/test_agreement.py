from rpcproxy.rules.heads.agreement import odd_ones


def test_who_differs_from_most() -> None:
    answers = [("a", "A", 1), ("b", "B", 1), ("c", "C", 2), ("d", "D", 1)]
    assert odd_ones(answers, 4) == {"c"}
    assert odd_ones(answers[:2] + answers[3:], 4) == set()


def test_until_enough_agree_nobody_is_odd() -> None:
    assert odd_ones([], 4) is None
    assert odd_ones([("a", "A", 1), ("b", "B", 1)], 4) is None
    assert odd_ones([("a", "A", 1), ("b", "B", 2)], 2) is None
    assert odd_ones([("a", "A", 1)], 1) is None


def test_one_company_is_one_voice() -> None:
    answers = [("a1", "A", 1), ("a2", "A", 1), ("a3", "A", 1), ("b", "B", 2)]
    assert odd_ones(answers, 4) is None
