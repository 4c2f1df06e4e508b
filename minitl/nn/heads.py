"""Heads: what turns hidden states into an answer.

Each takes the backbone's Output and returns it with more fields set.
"""

import torch
from torch import Tensor, nn

from minitl.nn.activations import ACTIVATIONS
from minitl.nn.dropout import Dropout
from minitl.nn.output import Output
from minitl.nn.pooling import last_real_token


class NoHead(nn.Module):
    """The backbone alone."""

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        return output


class PooledClassifier(nn.Module):
    """classifier(dropout(pooled))  ->  logits [batch, labels]  (Devlin et al. 2019, section 4.1)."""

    reads_tokens = False  # the pooled output is enough for it

    def __init__(self, hidden: int, labels: int, dropout_p: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout_p)
        self.classifier = nn.Linear(hidden, labels)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        assert output.pooler_output is not None  # the family's registry entry says that this head needs the pooler
        return output.with_(logits=self.classifier(self.dropout(output.pooler_output)))


class FirstTokenClassifier(nn.Module):
    """out(dropout(act(dense(dropout(first token)))))  ->  logits [batch, labels]: where no pooler was pretrained."""

    def __init__(self, hidden: int, labels: int, dropout_p: float, act: str) -> None:
        super().__init__()
        self.dropout = Dropout(dropout_p)
        self.dense = nn.Linear(hidden, hidden)
        self.act = ACTIVATIONS[act]
        self.out = nn.Linear(hidden, labels)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        x = self.act(self.dense(self.dropout(output.last_hidden_state[:, 0])))  # [batch, hidden]
        return output.with_(logits=self.out(self.dropout(x)))


class EndTokenClassifier(nn.Module):
    """out(dropout(tanh(dense(dropout(x)))))  ->  logits [batch, labels], where x is a decoder's state at the source's
    last end token: there it has seen the whole text (Lewis et al. 2020, section 3.1)."""

    def __init__(self, hidden: int, labels: int, dropout_p: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout_p)
        self.dense = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, labels)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:
        x = self.dropout(last_real_token(attention_mask, output.last_hidden_state))  # [batch, hidden]
        return output.with_(logits=self.out(self.dropout(self.dense(x).tanh())))


class LastTokenClassifier(nn.Module):
    """classifier(last real token)  ->  logits [batch, labels]: what a causal model knows after the whole text."""

    def __init__(self, hidden: int, labels: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(hidden, labels, bias=False)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:
        last = last_real_token(attention_mask, output.last_hidden_state)
        return output.with_(logits=self.classifier(last))


class TokenClassifier(nn.Module):
    """classifier(dropout(hidden))  ->  logits [batch, length, labels]."""

    def __init__(self, hidden: int, labels: int, dropout_p: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout_p)
        self.classifier = nn.Linear(hidden, labels)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        return output.with_(logits=self.classifier(self.dropout(output.last_hidden_state)))


class SpanHead(nn.Module):
    """Two scores a token: where the answer starts and where it ends, each [batch, length] (Devlin et al. 2019, 4.2)."""

    def __init__(self, hidden: int, dropout_p: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout_p)
        self.span = nn.Linear(hidden, 2)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        start, end = self.span(self.dropout(output.last_hidden_state)).unbind(-1)
        return output.with_(start_logits=start, end_logits=end)


class CausalLMHead(nn.Module):
    """decoder(hidden)  ->  logits over the next token [batch, length, vocabulary]; often tied to the embedding."""

    def __init__(self, hidden: int, vocabulary: int) -> None:
        super().__init__()
        self.decoder = nn.Linear(hidden, vocabulary, bias=False)

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        return output.with_(logits=self.decoder(output.last_hidden_state))


class BiasedLMHead(CausalLMHead):
    """decoder(hidden) + bias  ->  logits over the next token [batch, length, vocabulary]; the bias [1, vocabulary] is a
    buffer: published ones are zeros, and were never trained."""

    bias: Tensor

    def __init__(self, hidden: int, vocabulary: int) -> None:
        super().__init__(hidden, vocabulary)
        self.register_buffer("bias", torch.zeros(1, vocabulary))

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        return output.with_(logits=self.decoder(output.last_hidden_state) + self.bias)


class ScaledLMHead(nn.Module):
    """decoder(scale · hidden)  ->  logits over the next token [batch, length, vocabulary]: T5's, where a tied output
    layer reads hidden / sqrt(hidden size)."""

    def __init__(self, hidden: int, vocabulary: int, scale: float) -> None:
        super().__init__()
        self.decoder = nn.Linear(hidden, vocabulary, bias=False)
        self.scale = scale

    def forward(self, output: Output, attention_mask: Tensor | None) -> Output:  # noqa: ARG002
        return output.with_(logits=self.decoder(output.last_hidden_state * self.scale))
