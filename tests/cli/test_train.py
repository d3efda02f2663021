"""`reward-cluster train`: one of CONFIG or a preset; a config's keys are checked."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.cli import main


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["train", *arguments])
    return result.exit_code, result.output


def test_either_a_config_or_a_preset_is_needed(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("epochs: 1\n")
    for arguments in ((), (str(config), "--preset", "tiny")):
        code, output = run(*arguments)
        assert code == 2
        assert "either CONFIG" in output


def test_an_unknown_key_is_named_with_the_known_ones(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("learning_rate: 1.0e-5\n")
    code, output = run(str(config))
    assert code == 2
    assert "learning_rate" in output
    assert "weight_decay" in output


def test_a_config_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("- 1\n")
    code, output = run(str(config))
    assert code == 2
    assert "key: value" in output


def test_a_missing_file_of_pairs_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("train: nowhere.jsonl\n")
    code, output = run(str(config))
    assert code == 2
    assert "nowhere.jsonl" in output


@pytest.mark.parametrize(
    ("command", "line", "named"),
    [
        ("train", "pairs_per_step: 0", "pairs_per_step"),
        ("train", "lr: -1.0", "lr"),
        ("train", "evaluation_share: 1.0", "evaluation_share"),
        ("train", "lora: {rank: 0}", "lora.rank"),
        ("ppo", "ppo: {chunk: 0}", "ppo.chunk"),
        ("ppo", "ppo: {loss: {gamma: 1.5}}", "ppo.loss.gamma"),
        ("ppo", "ppo: {sampling: {temperature: 0}}", "ppo.sampling.temperature"),
        ("raft", "raft: {sft: {batch: 0}}", "raft.sft.batch"),
        ("raft", "evaluation_prompts: none", "evaluation_prompts"),
    ],
)
def test_a_number_that_cannot_be_is_named(
    tmp_path: Path, command: str, line: str, named: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(line + "\n")
    result = CliRunner().invoke(main, [command, str(config), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert f"{named}: " in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "line", "named"),
    [
        ("train", "warmup: 0.1", "warmup: was renamed to warmup_ratio"),
        ("train", "centring: 0.1", "centring: was renamed to center_rewards_coefficient"),
        ("ppo", "ppo: {loss: {clip: 0.1}}", "ppo.loss.clip: was renamed to cliprange"),
        ("ppo", "ppo: {batch: 8}", "ppo.batch: was renamed to mini_batch_size"),
        ("ppo", "ppo: {loss: {klip: 1}}", "known keys: kl_coef, kl_target"),
    ],
)
def test_a_key_of_an_earlier_version_is_told_its_name_of_now(
    tmp_path: Path, command: str, line: str, named: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(line + "\n")
    result = CliRunner().invoke(main, [command, str(config)])
    assert result.exit_code == 2
    assert named in result.output


def test_a_setting_on_the_command_line_stands_before_the_file(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("train: nowhere.jsonl\n")
    code, output = run(str(config), "--train", "elsewhere.jsonl")
    assert code == 2
    assert "elsewhere.jsonl" in output


def test_settings_alone_are_enough(tmp_path: Path) -> None:
    code, output = run("--train", "nowhere.jsonl", "--out", str(tmp_path / "out"))
    assert code == 2
    assert "nowhere.jsonl" in output


def test_a_preset_takes_no_setting_of_a_config() -> None:
    code, output = run("--preset", "tiny", "--lr", "1e-3")
    assert code == 2
    assert "either CONFIG" in output


def test_the_texts_of_a_preset_are_not_those_of_a_config(tmp_path: Path) -> None:
    code, output = run("--train", "pairs.jsonl", "--texts", "dialogues.jsonl")
    assert code == 2
    assert "--preset tiny" in output


def test_a_preset_names_texts_that_hold_too_few_dialogues(tmp_path: Path) -> None:
    texts = tmp_path / "few.jsonl"
    texts.write_text('{"chosen": "\\n\\nHuman: a\\n\\nAssistant: b", "rejected": "c"}\n')
    code, output = run("--preset", "tiny", "--texts", str(texts), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "few.jsonl" in output
    assert "1000" in output
