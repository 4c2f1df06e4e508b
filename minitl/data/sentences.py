"""Cutting paragraphs into sentences, by one simple rule."""

import re

# The mark that ends a sentence and what closes behind it, white space, and what the next one begins with.
END = re.compile(r"""[.!?…](?:["'”’»«)\]]|\s»)*(?P<space>\s+)(?=(?:["'“‘«»¿¡(\[—–-]\s*)*(?P<first>[^\W_]))""")
NO_END = re.compile(r"""(?:^|[\s("“‘«\[])(?:[A-ZÀ-Þ]|Mr|Mrs|Ms|Dr|St|Prof|Capt|Col|Gen|Mme|Mlle)\.$""")


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph; all but the white space between them is kept.

    One ends at . ! ? or …, and the quotation marks and brackets behind it, where white space follows and then a capital
    letter or a digit, maybe behind opening marks; but not behind a single capital ("J. Austen") or a title ("Mrs.").
    """
    sentences, begin = [], 0
    for end in END.finditer(paragraph):
        sentence = paragraph[begin : end.start("space")]
        if not end["first"].islower() and not NO_END.search(sentence):
            sentences.append(sentence.strip())
            begin = end.end()
    rest = paragraph[begin:].strip()
    return [*sentences, rest] if rest else sentences
