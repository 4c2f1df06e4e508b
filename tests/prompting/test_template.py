from hypothesis import given
from hypothesis import strategies as st

from minitl.prompting.template import Template

EITHER = st.text(alphabet="{}mask text\n")


@given(text=EITHER, word=EITHER)
def test_what_looks_like_a_slot_in_a_text_stays(text: str, word: str):
    template = Template("a { brace, {text} and {mask}!", "{text}", "{mask}")
    values = {"{text}": text, "{mask}": word}
    assert template.fill(values) == "a { brace, " + text + " and " + word + "!"
    assert template.before("{mask}", values) == "a { brace, " + text + " and "
    assert template.before("{text}", values) == "a { brace, "
