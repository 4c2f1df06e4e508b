"""Code lengths by hand."""

import math

import pytest
import torch

from minitl.errors import InputError
from minitl.probing.description_length import block_ends, online_code, uniform_bits
from minitl.probing.material import gather
from minitl.probing.probes import Linear
from minitl.probing.regimen import Regimen
from minitl.probing.vectors import ROOM
from tests.probing.made import representations_of, word_task

LENGTHS = [5] * 80
N = sum(LENGTHS)
QUICK = Regimen(rounds=4, round_steps=8, batch_size=32, learning_rate=1e-2)


def code_of(representations, task, probe=None, room=ROOM, **options):
    probe = Linear() if probe is None else probe
    return online_code(gather(representations, task, probe.reads, room), probe, **options)


class Uniform:
    """A probe that finds every class equally likely, whatever it is shown."""

    reads = "pooled"

    def rows(self, layers):
        return layers

    def new(self, sizes, _):
        return {"out.bias": torch.zeros(sizes.outputs)}

    def __call__(self, parameters, x, _):
        batch = x.shape[2]
        return (0 * parameters["out.bias"])[..., None].expand(-1, -1, -1, -1, batch)


class Knowing(Uniform):
    """A probe that gives the class written in the first dimension's sign the odds 3 to 1, untaught."""

    def __call__(self, parameters, x, _):
        right = (x[..., 0] > 0).float()[None] * math.log(3)
        return torch.stack((math.log(3) - right, right), -2) + (0 * parameters["out.bias"])[..., None]


def test_blocks_end_at_the_papers_portions():
    assert block_ends(10_000) == (10, 20, 40, 80, 160, 320, 625, 1250, 2500, 5000, 10_000)
    assert block_ends(100) == (1, 2, 3, 6, 12, 25, 50, 100)
    assert block_ends(1) == (1,)


def test_who_knows_nothing_sends_the_uniform_code():
    labels = torch.randint(3, (N,))
    representations = representations_of(torch.randn(2, N, 4), LENGTHS)
    code = code_of(
        representations, word_task(representations.corpus, labels, ("a", "b", "c")), Uniform(), regimen=QUICK
    )
    n = 240  # the training part
    assert code.uniform == pytest.approx(n * math.log2(3))
    torch.testing.assert_close(code.bits, torch.full((2, 1), n * math.log2(3), dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(code.compression, torch.ones(2, 1, dtype=torch.float64), rtol=1e-6, atol=0)
    assert code.portions == block_ends(n)


def test_a_code_length_by_hand():
    """Odds of 3 to 1 for the true class cost log2(4/3) bits each, after a first block at one bit each."""
    labels = torch.arange(N) % 2
    words = torch.randn(1, N, 4)
    words[0, :, 0] = 2.0 * labels - 1
    representations = representations_of(words, LENGTHS)
    code = code_of(representations, word_task(representations.corpus, labels), Knowing(), regimen=QUICK, seeds=(0, 1))
    first = block_ends(240)[0]
    expected = first + (240 - first) * math.log2(4 / 3)
    torch.testing.assert_close(code.bits, torch.full((1, 2), expected, dtype=torch.float64), rtol=1e-5, atol=0)


@pytest.mark.slow
def test_what_is_easier_to_find_takes_fewer_bits_and_a_control_more():
    labels = torch.randint(2, (N,))
    words = torch.randn(3, N, 8)
    words[1, :, 0] += 2 * labels
    words[2, :, 0] += 8 * labels
    representations = representations_of(words, LENGTHS)
    task = word_task(representations.corpus, labels, kinds=torch.arange(N) % 50)
    regimen = Regimen(rounds=8, batch_size=32, learning_rate=3e-2)
    code = code_of(representations, task, regimen=regimen)
    noise, hard, easy = code.bits[:, 0].tolist()
    assert easy < hard < noise
    assert code.control is not None
    assert (code.control[2] > 1.5 * code.bits[2]).all()
    assert float(code.compression[2, 0]) == pytest.approx(uniform_bits(240, 2) / easy)


def test_what_is_sent_was_not_learnt_from_even_by_a_probe_that_could():
    """The words of a text share a vector and a label, which no other text tells: nobody can know it beforehand."""
    texts = len(LENGTHS)
    labels = torch.randint(2, (texts,)).repeat_interleave(5)
    words = torch.randn(1, texts, 4 * texts).repeat_interleave(5, dim=1)
    representations = representations_of(words, LENGTHS)
    code = code_of(representations, word_task(representations.corpus, labels), regimen=QUICK)
    assert float(code.bits) > 0.97 * code.uniform  # less the rest of a text that the end of a block cut


def test_scores_have_no_code():
    representations = representations_of(torch.randn(1, N, 4), LENGTHS)
    with pytest.raises(InputError, match="task 'made' is of scores"):
        code_of(representations, word_task(representations.corpus, torch.randn(N), names=None))
