"""Claims as a page tells them."""

from minitl.pages.claims import Claim, Verdict, all_or_some, claim_list


def test_a_rule_that_claims_share_is_told_once() -> None:
    claims = [Claim(f"claim {i}", "seen <here>", Verdict.HOLDS, rule) for i, rule in enumerate(("A", "A", "B", "A"))]
    page = claim_list(claims)
    assert [part.split("</p>")[0] for part in page.split("<b>Rule</b> ")[1:]] == ["A", "B", "A"]
    assert page.count("<li>") == page.count("seen &lt;here&gt;") == 4


def test_some_cases_hold_in_part() -> None:
    cases = ([True, True], [True, False], [False, False])
    assert [all_or_some(iter(one)) for one in cases] == [Verdict.HOLDS, Verdict.IN_PART, Verdict.FAILS]
    assert all_or_some([]) is Verdict.UNKNOWN
