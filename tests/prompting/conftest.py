import pytest

from minitl.tokenization import Tokenizer
from tests.prompting.made import DECODERS, ENCODER_DECODERS, ENCODERS, KINDS, Made, train_tokenizers


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    return train_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Made:
    """Each kind of model."""
    return Made(request.param, tokenizers)


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Made:
    return Made(request.param, tokenizers)


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Made:
    return Made(request.param, tokenizers)


@pytest.fixture(params=ENCODER_DECODERS)
def encoder_decoder(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Made:
    return Made(request.param, tokenizers)


@pytest.fixture
def gpt2(tokenizers: dict[str, Tokenizer]) -> Made:
    return Made("gpt2", tokenizers)


@pytest.fixture
def bert(tokenizers: dict[str, Tokenizer]) -> Made:
    return Made("bert", tokenizers)


@pytest.fixture
def t5(tokenizers: dict[str, Tokenizer]) -> Made:
    return Made("t5", tokenizers)


@pytest.fixture
def nli(tokenizers: dict[str, Tokenizer]) -> Made:
    return Made("bert-nli", tokenizers)
