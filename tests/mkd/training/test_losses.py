import math

import pytest
import torch

from mkd.config import LossConfig
from mkd.training.losses import (
    distillation,
    hard_loss,
    has_label,
    logit_mse,
    softened_binary_kl,
    softened_kl,
)

NAN = float("nan")
STUDENT = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
TEACHER = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])


def _random(rows: int, classes: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def test_the_papers_loss_is_the_sum_over_classes() -> None:
    """Rows differ from the teacher by (1, 2, 2) and (0, 0, 3), whose squared norms are 9 and 9. The
    mean over rows is 9; the mean over classes, too, is 3."""
    teacher = torch.tensor([[1.0, 0.0, -1.0], [2.0, 1.0, 0.5]])
    student = teacher + torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 3.0]])
    labels = torch.full((2,), float("nan"))
    total = distillation(student, teacher, labels, LossConfig(kind="sse")).total.item()
    assert total == pytest.approx(9)
    expected = pytest.approx(3)
    assert (distillation(student, teacher, labels, LossConfig(kind="mse")).total.item()) == expected


def test_logit_mse_is_the_mean_over_rows_and_classes() -> None:
    loss = float(
        logit_mse(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [3.0, 1.0]]))
    )
    assert loss == (1 + 9) / 4


def test_kl_at_temperature_1_by_hand() -> None:
    """In the first row the teacher has (3/4, 1/4) and the student (1/2, 1/2); the second rows are
    equal."""
    first = 3 / 4 * math.log((3 / 4) / (1 / 2)) + 1 / 4 * math.log((1 / 4) / (1 / 2))
    assert float(softened_kl(STUDENT, TEACHER, 1.0)) == pytest.approx(first / 2)


def test_kl_at_temperature_2_by_hand() -> None:
    """log 3 / 2 is log sqrt 3, so the teacher has (sqrt 3, 1) / (sqrt 3 + 1)."""
    p = math.sqrt(3) / (math.sqrt(3) + 1)
    first = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    assert float(softened_kl(STUDENT, TEACHER, 2.0)) == pytest.approx(2**2 * first / 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_is_the_sum_of_p_times_the_difference_of_the_logs(temperature: float) -> None:
    student, teacher = _random(5, 3, 0), _random(5, 3, 1)
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    expected = temperature**2 * (p * (p.log() - q.log())).sum() / 5
    loss = float(softened_kl(student, teacher, temperature))
    assert loss == (pytest.approx(float(expected), rel=1e-5))


def test_the_loss_of_several_labels_is_the_negative_log_likelihood_of_all() -> None:
    """Torch's formula in float64 gives the same. The third row has no label and is not counted."""
    logits = _random(3, 4, 0) * 3
    labels = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [NAN] * 4])
    assert has_label(labels).tolist() == [True, True, False]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:2].double(), labels[:2].double(), reduction="sum"
    )
    assert float(hard_loss(logits, labels)) == pytest.approx(float(expected) / 2)
    assert float(hard_loss(logits, torch.full((3, 4), NAN))) == 0


def test_binary_kl_by_hand() -> None:
    """The teacher has 3/4 and 1/2, the student 1/2 and 1/2. At T = 2 the teacher's first
    probability is sqrt 3 / (sqrt 3 + 1)."""
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    first = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    assert float(softened_binary_kl(student, teacher, 1.0)) == pytest.approx(first)
    p = math.sqrt(3) / (math.sqrt(3) + 1)
    second = 4 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert float(softened_binary_kl(student, teacher, 2.0)) == pytest.approx(second)
    assert float(softened_binary_kl(teacher * 50, teacher * 50, 3.0)) == 0


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_binary_kl_has_the_gradient_of_soft_targets(temperature: float) -> None:
    """It is that of T^2 times the binary cross-entropy with the teacher's probabilities, in
    float64."""
    teacher = _random(5, 3, 1)
    student = _random(5, 3, 0).requires_grad_()
    softened_binary_kl(student, teacher, temperature).backward()
    other = student.detach().double().requires_grad_()
    soft = (teacher.double() / temperature).sigmoid()
    (
        temperature**2
        * torch.nn.functional.binary_cross_entropy_with_logits(
            other / temperature, soft, reduction="sum"
        )
        / 5
    ).backward()
    assert student.grad is not None and other.grad is not None
    assert student.grad.numpy() == pytest.approx(other.grad.numpy(), rel=1e-4, abs=1e-6)


def test_rows_without_labels_learn_from_the_teacher_of_several_labels() -> None:
    """The total is the mean over rows of w * hard + (1 - w) * soft, or of soft for rows without a
    label."""
    student, teacher = _random(3, 2, 0), _random(3, 2, 1)
    labels = torch.tensor([[1.0, 0], [NAN, NAN], [1, 1]])
    config = LossConfig(kind="kl", temperature=2.0, hard_weight=0.25)
    terms = distillation(student, teacher, labels, config)

    def soft(row: int) -> float:
        return float(softened_binary_kl(student[row : row + 1], teacher[row : row + 1], 2.0))

    def hard(row: int) -> float:
        return float(hard_loss(student[row : row + 1], labels[row : row + 1]))

    mixed = [0.25 * hard(row) + 0.75 * soft(row) for row in (0, 2)]
    assert float(terms.total) == pytest.approx((sum(mixed) + soft(1)) / 3, rel=1e-5)
    one = distillation(student[:, :1], teacher[:, :1], labels[:, :1], LossConfig(hard_weight=0.0))
    expected = float(softened_binary_kl(student[:, :1], teacher[:, :1], 1.0))
    assert float(one.total) == pytest.approx(expected), "a task with one label is not a regression"


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_rows_without_an_answer_learn_from_their_labels_alone_by_hand(weight: float) -> None:
    """The student has 1/2 and 1/2 in each row, so the hard loss is log 2; the soft loss is the KL.
    The first row has a label and the teacher's answer, 3/4 and 1/4; the second only a label; the
    third only an answer."""
    soft = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    hard = math.log(2)
    student = torch.zeros(3, 2, requires_grad=True)
    teacher = torch.tensor([[math.log(3), 0.0], [NAN, NAN], [math.log(3), 0.0]])
    labels, has_teacher = torch.tensor([0.0, 1.0, NAN]), torch.tensor([True, False, True])
    terms = distillation(student, teacher, labels, LossConfig(hard_weight=weight), has_teacher)
    total = (weight * hard + (1 - weight) * soft) + hard + soft
    assert float(terms.total.detach()) == pytest.approx(total / 3)
    terms.total.backward()
    # Hard: the student's 1/2 minus the label's 1 or 0. Soft: 1/2 minus the teacher's 3/4.
    first = weight * (1 / 2 - 1) + (1 - weight) * (1 / 2 - 3 / 4)
    expected = [[first, -first], [1 / 2, -1 / 2], [-1 / 4, 1 / 4]]
    assert student.grad is not None
    assert (3 * student.grad).numpy() == pytest.approx(torch.tensor(expected).numpy())


@pytest.mark.parametrize("kind", ["mse", "sse", "kl"])
def test_mixed_rows_of_several_labels_or_a_score_have_the_loss_of_their_rows(kind: str) -> None:
    config = LossConfig(kind=kind, hard_weight=0.25)  # type: ignore[arg-type]
    for classes, labels in (
        (3, torch.tensor([[1.0, 0, 1], [0, 1, 0], [NAN] * 3, [1, 1, 1]])),
        (1, torch.tensor([0.5, -1.0, NAN, 2.0])),
    ):
        student, teacher = _random(4, classes, 0), _random(4, classes, 1)
        has_teacher = torch.tensor([True, False, True, False])
        alone = [
            distillation(
                student[row : row + 1],
                teacher[row : row + 1] if has_teacher[row] else None,
                labels[row : row + 1],
                config,
            ).total
            for row in range(4)
        ]
        partial = teacher.masked_fill(~has_teacher[:, None], NAN)
        total = distillation(student, partial, labels, config, has_teacher).total
        assert float(total) == pytest.approx(float(sum(alone)) / 4, rel=1e-5)
    everything = torch.ones(4, dtype=torch.bool)
    assert float(distillation(student, teacher, labels, config, everything).total) == pytest.approx(
        float(distillation(student, teacher, labels, config).total)
    )


def test_kl_of_equal_logits_and_of_logits_moved_by_a_constant_is_zero() -> None:
    assert float(softened_kl(TEACHER, TEACHER, 3.0)) == 0
    assert float(softened_kl(TEACHER + 5, TEACHER, 3.0)) == pytest.approx(0, abs=1e-6)


def test_kl_at_a_high_temperature_is_half_the_squared_error_of_centred_logits() -> None:
    """Hinton et al. 2015, section 2.1: the gradient approaches (v - z) / N. That is the gradient of
    sum (v - z)^2 / 2N."""
    student, teacher = _random(6, 4, 0).double(), _random(6, 4, 1).double()
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    expected = (centred**2).sum(1).mean() / (2 * 4)
    assert float(softened_kl(student, teacher, 200.0)) == pytest.approx(float(expected), rel=1e-2)


def test_hard_loss_is_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    expected = pytest.approx((-math.log(3 / 4) - math.log(1 / 2)) / 2)
    assert float(hard_loss(logits, torch.tensor([0.0, 1.0]))) == expected


def test_hard_loss_of_one_logit_is_the_squared_error() -> None:
    expected = pytest.approx((4 + 0.25) / 2)
    assert (float(hard_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 2.5])))) == expected


@pytest.mark.parametrize("classes", [1, 3])
def test_hard_loss_is_the_mean_over_the_labelled_rows_alone(classes: int) -> None:
    logits, labels = _random(4, classes, 0), torch.tensor([0.0, NAN, 0.0, NAN])
    expected = pytest.approx(float(hard_loss(logits[::2], labels[::2])))
    assert float(hard_loss(logits, labels)) == expected


@pytest.mark.parametrize("classes", [1, 3])
def test_rows_without_labels_give_no_hard_loss_and_no_gradient(classes: int) -> None:
    logits = _random(4, classes, 0).requires_grad_()
    loss = hard_loss(logits, torch.full((4,), NAN))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(4, classes))


@pytest.mark.parametrize("kind", ["kl", "mse"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_total_mixes_soft_and_hard_row_by_row(kind: str, weight: float) -> None:
    """Rows 0 and 2 have a label and mix both losses; rows 1 and 3 have none and keep their soft
    loss."""
    student, teacher, labels = (
        _random(4, 3, 0),
        _random(4, 3, 1),
        torch.tensor([1.0, NAN, 2.0, NAN]),
    )
    config = LossConfig(kind=kind, temperature=2.0 if kind == "kl" else 1.0, hard_weight=weight)  # type: ignore[arg-type]
    rows = [
        distillation(
            student[i : i + 1],
            teacher[i : i + 1],
            labels[i : i + 1],
            LossConfig(config.kind, config.temperature),
        )
        for i in range(4)
    ]
    mixed = sum(
        weight * float(row.parts["hard"]) + (1 - weight) * float(row.parts["soft"])
        for row in (rows[0], rows[2])
    )
    terms = distillation(student, teacher, labels, config)
    assert float(terms.total) == pytest.approx(
        (mixed + float(rows[1].parts["soft"]) + float(rows[3].parts["soft"])) / 4
    )
    soft = float(terms.parts["soft"])
    assert soft == (pytest.approx(sum(float(r.parts["soft"]) for r in rows) / 4))
    expected = pytest.approx((float(rows[0].parts["hard"]) + float(rows[2].parts["hard"])) / 2)
    assert float(terms.parts["hard"]) == expected


def test_where_all_rows_have_labels_the_means_are_mixed() -> None:
    labels = torch.tensor([1.0, 0.0])
    terms = distillation(STUDENT, TEACHER, labels, LossConfig(hard_weight=0.3))
    expected = 0.3 * float(hard_loss(STUDENT, labels)) + 0.7 * float(
        softened_kl(STUDENT, TEACHER, 1.0)
    )
    assert float(terms.total) == pytest.approx(expected)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_a_row_without_a_label_has_its_soft_loss_gradient(weight: float) -> None:
    student, teacher = _random(2, 3, 0).requires_grad_(), _random(2, 3, 1)
    distillation(
        student, teacher, torch.tensor([1.0, NAN]), LossConfig(hard_weight=weight)
    ).total.backward()
    alone = student.detach()[1:].requires_grad_()
    softened_kl(alone, teacher[1:], 1.0).backward()
    assert student.grad is not None and alone.grad is not None
    torch.testing.assert_close(student.grad[1], alone.grad[0] / 2)


def test_the_temperature_reaches_the_soft_loss() -> None:
    terms = distillation(STUDENT, TEACHER, torch.zeros(2), LossConfig(temperature=2.0))
    assert float(terms.parts["soft"]) == float(softened_kl(STUDENT, TEACHER, 2.0))


def test_regression_has_squared_error_whatever_the_kind() -> None:
    student, teacher = torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [5.0]])
    for config in (LossConfig(kind="kl", temperature=7.0), LossConfig(kind="mse")):
        total = float(distillation(student, teacher, torch.tensor([NAN, NAN]), config).total)
        assert total == (1 + 9) / 2


def test_without_a_teacher_the_total_is_the_hard_loss() -> None:
    terms = distillation(STUDENT, None, torch.tensor([1.0, 0.0]), LossConfig(hard_weight=1.0))
    assert float(terms.total) == float(terms.parts["hard"]) > 0
    assert float(terms.parts["soft"]) == 0


def test_losses_of_half_precision_logits_are_in_float32() -> None:
    terms = distillation(
        STUDENT.bfloat16(), TEACHER, torch.tensor([1.0, 0.0]), LossConfig(hard_weight=0.5)
    )
    assert {term.dtype for term in (terms.total, *terms.parts.values())} == {torch.float32}
