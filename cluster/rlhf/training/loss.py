"""Bradley-Terry loss of a reward model.

P(chosen is better) = sigmoid(r_chosen - r_rejected), so the negative log-likelihood of the
preferences is -logsigmoid of the difference. Knows nothing of models or tokens. Shape legend:
N pairs.

Sources: the loss is RLHFlow/RLHF-Reward-Modeling, bradley-terry-rm/llama3_8B_rm.py (no margin,
no centering); margin and centering are TRL's RewardTrainer (`margin`,
`center_rewards_coefficient`), the margin after Llama 2 (arXiv 2307.09288) and the centering after
Eisenstein et al. (arXiv 2312.09244).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry_loss(
    chosen_N: Tensor,
    rejected_N: Tensor,
    margin_N: Tensor | None = None,
    center_rewards_coefficient: float = 0.0,
) -> Tensor:
    """Mean negative log-likelihood of N preferences, a float32 scalar.

    chosen_N, rejected_N: rewards of any float dtype; the loss is computed in float32, as a
    bfloat16 difference of close rewards is mostly rounding.
    margin_N: how far apart each pair should be at least, in units of reward.
    center_rewards_coefficient: weight of mean((chosen + rejected)^2), which ties down the level of
    the rewards that the preferences leave free; 0.01 is usual.
    """
    chosen_N, rejected_N = chosen_N.float(), rejected_N.float()
    gap_N = chosen_N - rejected_N
    loss = -logsigmoid(gap_N if margin_N is None else gap_N - margin_N.float()).mean()
    if center_rewards_coefficient:
        loss = loss + center_rewards_coefficient * (chosen_N + rejected_N).square().mean()
    return loss
