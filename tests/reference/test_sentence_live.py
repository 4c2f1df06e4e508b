"""Sentence vectors against the sentence-transformers library, live: the published MiniLM and variants that it saves.

Runs where that library is installed beside minitl: `make test-reference`.
"""

from pathlib import Path

import pytest
import torch

from minitl.models.sentence import load_sentence_encoder
from minitl.tasks.similarity import sts_spearman

pytestmark = pytest.mark.reference
pytest.importorskip("sentence_transformers", reason="the peer library lives in an environment of its own")

import transformers  # noqa: E402 - both may be absent
from sentence_transformers import SentenceTransformer  # noqa: E402 - it may be absent
from sentence_transformers.sentence_transformer.modules import (  # noqa: E402
    Dense,
    Normalize,
    Pooling,
    Transformer,
)

TEXTS = [
    "A short text.",
    "",
    "Rivers carve their valleys over thousands of years, grain by grain.",
    "Naïve café 東京 🙂",
    "MIXED Case ΣΟΦΟΣ",
    "word " * 400,  # beyond max_seq_length
]
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def assert_same_vectors(folder: Path, peer: SentenceTransformer, **prompt: str) -> None:
    ours = load_sentence_encoder(folder).encode(TEXTS, batch_size=3, **prompt)
    theirs = peer.encode(TEXTS, batch_size=2, convert_to_tensor=True, **prompt)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-5 * max(1.0, float(theirs.abs().max()))


def test_the_published_minilm(minilm: Path) -> None:
    assert_same_vectors(minilm, SentenceTransformer(str(minilm), device="cpu"))


@pytest.mark.parametrize("mode", [*MODES, ("mean", "cls")], ids=str)
def test_every_pooling_as_the_peer_saves_it(minilm: Path, tmp_path: Path, mode: str | tuple[str, ...]) -> None:
    peer = SentenceTransformer(modules=[Transformer(str(minilm), max_seq_length=64), Pooling(384, mode)], device="cpu")
    peer.save(str(tmp_path))
    assert_same_vectors(tmp_path, peer)


@pytest.mark.parametrize("activation", [torch.nn.Tanh(), torch.nn.Identity(), torch.nn.GELU()], ids=repr)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_dense_and_normalise_as_the_peer_saves_them(
    minilm: Path, tmp_path: Path, activation: torch.nn.Module, bias: bool
) -> None:
    above = [Dense(384, 48, bias=bias, activation_function=activation), Normalize()]
    peer = SentenceTransformer(modules=[Transformer(str(minilm)), Pooling(384, "cls"), *above], device="cpu")
    peer.save(str(tmp_path))
    assert_same_vectors(tmp_path, peer)


def test_prompts_as_the_peer_saves_them(minilm: Path, tmp_path: Path) -> None:
    modules = [Transformer(str(minilm)), Pooling(384, "mean")]
    prompts = {"query": "query: ", "passage": "passage: "}
    peer = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name="query", device="cpu")
    peer.save(str(tmp_path))
    assert load_sentence_encoder(tmp_path).prompts["passage"] == "passage: "
    assert_same_vectors(tmp_path, peer)
    assert_same_vectors(tmp_path, peer, prompt="passage: ")


@pytest.mark.parametrize("whole", [False, True], ids=["encoder alone", "with the decoder"])
def test_sentence_t5_takes_its_vectors_from_the_encoder(assets: Path, tmp_path: Path, whole: bool) -> None:
    torch.manual_seed(0)
    config = transformers.T5Config(d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=3, decoder_start_token_id=0)
    kind = transformers.T5ForConditionalGeneration if whole else transformers.T5EncoderModel
    kind(config).save_pretrained(tmp_path / "t5")
    transformers.T5Tokenizer.from_pretrained(assets / "tokenizers" / "t5").save_pretrained(tmp_path / "t5")
    above = [Dense(24, 16, bias=False, activation_function=torch.nn.Identity()), Normalize()]
    transformer = Transformer(str(tmp_path / "t5"), max_seq_length=48)
    peer = SentenceTransformer(modules=[transformer, Pooling(24, "mean"), *above], device="cpu")
    peer.save(str(tmp_path / "encoder"))
    assert_same_vectors(tmp_path / "encoder", peer)


def test_both_libraries_rank_pairs_alike(minilm: Path) -> None:
    pairs = [(a, b) for a in TEXTS[:4] for b in TEXTS[2:5]]
    peer = SentenceTransformer(str(minilm), device="cpu")
    left, right = (peer.encode([pair[i] for pair in pairs], convert_to_tensor=True) for i in (0, 1))
    cosines = torch.cosine_similarity(left, right).tolist()
    assert sts_spearman(load_sentence_encoder(minilm), pairs, cosines) > 99
