"""What a training tells where there is no terminal."""

from __future__ import annotations

import pytest

from fdr_bench.training.progress import TrainingProgress


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_a_terminal_a_line_every_half_minute_tells_step_loss_and_time_left(clock, capsys):
    with TrainingProgress(clock=clock) as progress:
        for number in range(1, 8):  # a step every ten seconds, each a hundredth of the training
            clock.now += 10
            progress.step(number, number / 100, epoch=1, loss=2 / number)
    # 97 and 94 steps are left, of ten seconds each.
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1, step 3, loss 0.6667, 3% done, 16 min left",
        "epoch 1, step 6, loss 0.3333, 6% done, 16 min left",
    ]


def test_images_are_counted_in_lines_too(clock, capsys):
    with TrainingProgress(clock=clock) as progress:
        progress.answering(2000)
        for _ in range(3):
            clock.now += 20
            progress.advance(400)
    # 1,200 are left at the fortieth second, at 400 in twenty seconds.
    assert capsys.readouterr().err.splitlines() == ["answer 800 of 2,000 images, 60 s left"]


def test_a_quiet_training_tells_nothing(clock, capsys):
    with TrainingProgress(quiet=True, clock=clock) as progress:
        clock.now += 100
        progress.step(1, 0.5, epoch=1, loss=1.0, accuracy=0.5)
        progress.line("a line")
    assert capsys.readouterr().err == ""
