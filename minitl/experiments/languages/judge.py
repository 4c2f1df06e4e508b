"""What the guide says of languages, and the rules by which it is judged."""

from statistics import fmean

from minitl.experiments.experiment import Results, Statement
from minitl.experiments.languages.run import ENGLISH, MULTILINGUAL, TWIN
from minitl.experiments.statistics import Measured, interval, noise
from minitl.pages.claims import Verdict, all_or_some
from minitl.pages.formats import percent, points

LANGUAGES = {
    "en": "English", "de": "German", "es": "Spanish", "fr": "French", "hi": "Hindi", "ar": "Arabic", "tr": "Turkish",
    "ru": "Russian", "zh": "Chinese",
}  # fmt: skip
WORKS = 0.8  # of the accuracy in English
NEARBY = 0.5
GUIDES = ("hi", "ar")  # of the three languages that the guide names, those with data here
LARGE = "XLM-R"


def accuracy(results: Results, model: str, language: str) -> Measured:
    """Of each seed, the share of words that are tagged right."""
    lines = results["tagging"]["lines"]
    return Measured(tuple(line["accuracy"][language] for line in lines if line["model"] == model))


def _zero_shot(results: Results) -> tuple[str, Verdict]:
    told, works, ahead = [], [], []
    english = accuracy(results, MULTILINGUAL, ENGLISH).mean
    elsewhere = fmean(_ahead(results, language) for language in results["unseen"])
    for language in results["seen"]:
        ours, twin = (accuracy(results, model, language) for model in (MULTILINGUAL, TWIN))
        margin = noise(ours, twin, results["tagging"]["floor"][language]["words"], len(results["seen"]))
        ahead.append(_ahead(results, language) > max(margin, elsewhere))
        works.append(ahead[-1] and ours.mean >= WORKS * english)
        told.append(
            f"{LANGUAGES[language]} {percent(ours.mean)}, the monolingual twin {percent(twin.mean)} "
            f"({points(ours.mean - twin.mean)}, noise ±{margin * 100:.1f})"
        )
    verdict = Verdict.HOLDS if all(works) else Verdict.IN_PART if any(ahead) else Verdict.FAILS
    told.append(f"in languages that neither read {points(elsewhere)}")
    return f"English {percent(english)}; {'; '.join(told)}.", verdict


def _ahead(results: Results, language: str) -> float:
    """How much better the multilingual model tags it than the monolingual twin."""
    return accuracy(results, MULTILINGUAL, language).mean - accuracy(results, TWIN, language).mean


def _hindi_and_arabic(results: Results) -> tuple[str, Verdict]:
    """Of the model that the guide means; ours never saw these languages, and is the control."""
    asked = [language for language in GUIDES if language in results["unseen"]]
    control = "; ".join(
        f"{LANGUAGES[language]} {percent(accuracy(results, MULTILINGUAL, language).mean)} (the commonest tag alone "
        f"{percent(results['tagging']['floor'][language]['share'])})"
        for language in results["unseen"]
    )
    told = f"Our model, which never read them: {control}."
    if LARGE in results["absent"]:
        return f"{LARGE} is not at hand: {results['absent'][LARGE]}. {told}", Verdict.UNKNOWN
    english = accuracy(results, LARGE, ENGLISH).mean
    found = {language: accuracy(results, LARGE, language).mean for language in asked}
    works = [one >= WORKS * english for one in found.values()]
    listed = ", ".join(f"{LANGUAGES[language]} {percent(one)}" for language, one in found.items())
    return f"{LARGE}: English {percent(english)}, {listed}. {told}", all_or_some(works)


def share(results: Results, model: str, what: str, language: str, which: str) -> Measured:
    """How many words or sentences have their own nearest ("first") or among the few nearest ("among")."""
    one = results["near"][model][what][language]
    return Measured((one[which] / one["of"],))


def _words(results: Results) -> tuple[str, Verdict]:
    return _nearby(results, "words", "among")


def _sentences(results: Results) -> tuple[str, Verdict]:
    return _nearby(results, "sentences", "first")


def _nearby(results: Results, what: str, which: str) -> tuple[str, Verdict]:
    """Whether enough find their own, and more than in the monolingual twin and by chance."""
    told, near, ahead = [], [], []
    for language in results["seen"]:
        one = results["near"][MULTILINGUAL][what][language]
        ours, twin = (share(results, model, what, language, which) for model in (MULTILINGUAL, TWIN))
        chance = (one["most"] if which == "among" else 1) / one["of"]
        margin = noise(ours, twin, one["of"], len(results["seen"]))
        ahead.append(ours.mean - twin.mean > margin and interval(ours.mean, one["of"])[0] > chance)
        near.append(ahead[-1] and ours.mean >= NEARBY)
        first = percent(share(results, MULTILINGUAL, what, language, "first").mean)
        nearest = f" (nearest of all {first})" if which == "among" else ""
        told.append(
            f"{LANGUAGES[language]} {percent(ours.mean)} of {one['of']}{nearest}, the twin "
            f"{percent(twin.mean)}, chance {percent(chance)} (noise ±{margin * 100:.1f})"
        )
    verdict = Verdict.HOLDS if all(near) else Verdict.IN_PART if any(ahead) else Verdict.FAILS
    return "; ".join(told) + ".", verdict


def tell(results: Results) -> str:
    """The results in a paragraph."""
    english = {model: percent(accuracy(results, model, ENGLISH).mean) for model in (MULTILINGUAL, TWIN)}
    layer = results["near"][MULTILINGUAL]["layer"]
    absent = "; ".join(f"{name}: {why}" for name, why in results["absent"].items())
    return (
        f"Taught English tags alone, the multilingual model is right on {english[MULTILINGUAL]} of English words, its "
        f"monolingual twin on {english[TWIN]}. The twin is the control for what needs no second language in "
        "pretraining: names, numbers, punctuation, the order of words, and spelling that languages share; the "
        f"languages that neither read are the control for the rest. Words and sentences are compared in layer {layer}, "
        f"less the mean of their language; words that are spelt alike are left out. Not at hand: {absent or 'nothing'}."
    )


STATEMENTS = (
    Statement(
        "Fine-tune a multilingual model on English labelled data, and it immediately works in other languages, without "
        "a single labelled example in them.",
        f"Of languages that pretraining read. Holds when in each the model is ahead of its monolingual twin by more "
        f"than the noise, and by more than where neither read the language, and keeps at least {WORKS:.0%} of its "
        "accuracy in English; in part when it is ahead in some. The noise takes words for independent, and is that of "
        "so many comparisons as there are languages.",
        _zero_shot,
    ),
    Statement(
        "It works in Hindi, Swahili, or Arabic.",
        f"Said of {LARGE}, and judged of it alone, where its weights are at hand: holds when Hindi and Arabic keep at "
        f"least {WORKS:.0%} of the accuracy in English, in part when one does. There is no Swahili here.",
        _hindi_and_arabic,
    ),
    Statement(
        "“Cat”, “gato”, “chat” all map to nearby points in one space.",
        f"Words without context, in a middle layer, by cosine. Holds when in every language that was read at least "
        f"{NEARBY:.0%} have their English word among the five nearest, more than in the monolingual twin by more than "
        "the noise, of so many comparisons, and surely more than by chance; in part when in some there are more.",
        _words,
    ),
    Statement(
        "Multilingual models learn a shared multilingual representation space.",
        f"Sentences that mean the same, by the mean of their tokens in a middle layer. Holds when in every language "
        f"that was read at least {NEARBY:.0%} are nearest to their own English sentence, more than in the twin by more "
        "than the noise, of so many comparisons, and surely more than by chance; in part when in some there are more.",
        _sentences,
    ),
)
