"""A supervised warm start by OpenRLHF's own `train_sft`, then the command behind `--`, in this very process.

    ENGINE_PYTHON -m medical_team.warm_start --model MODEL --rows FILE --out DIR … -- COMMAND …

Run in the engine's interpreter as the first part of a run: it has one process, one log and one pid, whichever part is on.
A model that is in DIR already, from an earlier start of the run, is taken as it is.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from medical_team import prompts


def rendered(rows: Path, tokenizer, cot: bool, out: Path) -> Path:
    """The rows as OpenRLHF reads them, each prompt in the model's own chat template."""
    with out.open("w", encoding="utf-8", newline="\n") as file:
        for line in filter(None, rows.read_bytes().split(b"\n")):
            row = json.loads(line)
            prompt = prompts.text(tokenizer, row["messages"], cot)
            file.write(json.dumps({"input": prompt, "output": row["reply"]}, ensure_ascii=False) + "\n")
    return out


def command(asked: argparse.Namespace, rows: Path, out: Path) -> list[str]:
    """OpenRLHF's command. One process for each GPU, as torch starts them."""
    options = {
        "--model.model_name_or_path": asked.model, "--data.dataset": rows, "--data.input_key": "input",
        "--data.output_key": "output", "--data.input_template": "none", "--data.max_len": asked.max_len,
        "--data.dataloader_num_workers": 0, "--train.batch_size": asked.batch_size,
        "--train.micro_batch_size": asked.micro_batch_size, "--train.max_epochs": 1, "--train.seed": asked.seed,
        "--adam.lr": asked.learning_rate, "--ds.zero_stage": asked.zero_stage, "--ds.param_dtype": "bf16",
        "--ds.attn_implementation": asked.attention, "--ckpt.output_dir": out, "--ckpt.path": out.parent / "sft-checkpoints",
    }  # fmt: skip
    argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(asked.gpus)]
    argv += [
        "-m",
        "openrlhf.cli.train_sft",
        "--ckpt.disable_ds",
        *(str(word) for pair in options.items() for word in pair),
    ]
    return argv + ["--model.gradient_checkpointing_enable"] * asked.gradient_checkpointing


def main(arguments: list[str]) -> None:
    asked, then = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    options = parser().parse_args(asked)
    out = options.out
    if not (out / "config.json").exists():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(options.model)
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = rendered(
            options.rows, tokenizer, not options.no_cot, options.rows.with_name("warm-start-rendered.jsonl")
        )
        part = out.with_name(f"{out.name}.part")
        print(f"warm start: {options.model} on {options.rows}", flush=True)
        subprocess.run(command(options, rows, part), check=True)
        part.rename(out)
    sys.stdout.flush()
    os.execv(then[0], then)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m medical_team.warm_start", description=__doc__)
    found.add_argument("--model", required=True)
    found.add_argument("--rows", type=Path, required=True, help="demonstrations, as `launcher.prepare` writes them")
    found.add_argument("--out", type=Path, required=True, help="folder of the model that comes out")
    for name in ("batch-size", "micro-batch-size", "max-len", "zero-stage", "seed", "gpus"):
        found.add_argument(f"--{name}", type=int, required=True)
    found.add_argument("--learning-rate", type=float, required=True)
    found.add_argument("--attention", required=True)
    found.add_argument("--gradient-checkpointing", action="store_true")
    found.add_argument("--no-cot", action="store_true")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
