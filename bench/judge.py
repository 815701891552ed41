"""How fast a model judges: `ENGINE_PYTHON bench/judge.py [--tiny | --gemma3-4b | --model FOLDER]`. Prints one table.

One process, one model, the same pairs in three ways: 100 tokens generated for one note after the other, which is how the
guide asked its judge; `explain`; and `logit`. The models made here have random weights and so never finish a reason early
and never write its letters: to `explain` one pass that weighs the letters is added, which a real model would take.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402

from medical_team import demo_world, medec  # noqa: E402
from medical_team.judge import Question  # noqa: E402
from medical_team.judge.local import LocalModel, Options  # noqa: E402

WORDS_MEAN, WORDS_SPREAD, WORDS_LEAST, WORDS_MOST = 125, 40, 65, 232
"""Words of a note in MEDEC's 1219 MS training pairs: mean, standard deviation, 5th and 99th percentile."""
GUIDE_TOKENS = 100
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n"
    "{{ message['content'] }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MB = 2**20


def pairs(path: Path | None, count: int) -> list[Question]:
    """From MEDEC's file, or demo notes with further demo sentences behind them until they are as long."""
    if path:
        found = [Question(case.clean, case.error, case.error) for case in medec.read_medec(path)]
        return [found[index % len(found)] for index in range(count)]
    rng, cases = random.Random(1), demo_world.cases(count, seed=1)
    return [_lengthened(case, rng, cases) for case in cases]


def _lengthened(case, rng: random.Random, cases: list) -> Question:
    words = min(max(rng.gauss(WORDS_MEAN, WORDS_SPREAD), WORDS_LEAST), WORDS_MOST)
    more = ""
    while len((case.clean + more).split()) < words:
        more += " " + rng.choice(rng.choice(cases).clean.split(". ")).rstrip(".") + "."
    return Question(case.clean + more, case.error + more, case.error + more)


def make_tokenizer(questions: list[Question], size: int, out: Path):
    """A byte-level BPE tokenizer of these notes, with a chat template of Gemma's form."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    prompts = (Path(__file__).parent.parent / "medical_team" / "prompts" / "judge").glob("*.txt")
    texts = [path.read_text(encoding="utf-8") for path in prompts]
    made.train_from_iterator([text for one in questions for text in (one.clean, one.note)] + texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>",
        additional_special_tokens=special[3:], chat_template=TEMPLATE,
    )  # fmt: skip
    tokenizer.save_pretrained(out)
    return tokenizer


def make_model(kind: str, tokenizer, out: Path, device: str) -> None:
    """Random weights in Gemma 3's shape: MedGemma 4B's text model, or a tiny one."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    shape = {
        "tiny": {"vocab_size": len(tokenizer), "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4,
                 "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 256},
        "gemma3-4b": {"vocab_size": 262208, "hidden_size": 2560, "num_hidden_layers": 34, "num_attention_heads": 8,
                      "num_key_value_heads": 4, "head_dim": 256, "intermediate_size": 10240},
    }[kind]  # fmt: skip
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        config = Gemma3TextConfig(**shape, sliding_window=1024, max_position_embeddings=32768, **ids)
        Gemma3ForCausalLM(config).save_pretrained(out)
    torch.set_default_dtype(before)


class Meter:
    """Seconds and peak memory of what runs inside: device memory on a GPU, the process's on a CPU."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"

    def __enter__(self):
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.begun = time.perf_counter()
        return self

    def __exit__(self, *error) -> None:
        if self.cuda:
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.begun
        self.peak_mb = torch.cuda.max_memory_allocated() / MB if self.cuda else _peak_rss_mb()


def _peak_rss_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next((line for line in lines if line.startswith("VmHWM")), None)
    return int(peak.split()[1]) / 1024 if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_by_one(model: LocalModel, questions: list[Question]) -> None:
    """The guide's way: a note at a time, GUIDE_TOKENS tokens generated for each."""
    for question in questions:
        ids = torch.tensor([model.prompt_ids(question, "explain")], device=model.device)
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            out = model.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=GUIDE_TOKENS, min_new_tokens=GUIDE_TOKENS
            )
        model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def explain(model: LocalModel, questions: list[Question]) -> None:
    answers = model.answers(questions, "explain")
    if not any(answer.letters for answer in answers):
        model.answers(questions, "logit")


def measure(model: LocalModel, questions: list[Question], few: int) -> list[dict]:
    ways = {
        "one by one": (one_by_one, questions[:: max(1, len(questions) // few)][:few]),
        "explain": (explain, questions),
        "logit": (lambda model, asked: model.answers(asked, "logit"), questions),
    }
    rows = []
    for name, (work, asked) in ways.items():
        work(model, asked[: min(len(asked), 64 if name != "one by one" else 1)])  # warm
        with Meter(model.device) as meter:
            work(model, asked)
        rate = len(asked) / meter.seconds
        rows.append({"way": name, "notes": len(asked), "seconds": meter.seconds, "notes_per_s": rate,
                     "ratio": rate / rows[0]["notes_per_s"] if rows else 1.0, "peak_mb": meter.peak_mb})  # fmt: skip
    return rows


def sleeping(model: LocalModel, questions: list[Question]) -> list[dict]:
    """Sleep and wake, twice: the first sleep pins memory and copies the weights, later ones only let go of them.

    Errors: AssertionError if the judge says anything else after it slept.
    """
    rows, before = [], model.answers(questions, "logit")
    for turn in ("first", "later") if model.device.type == "cuda" else ():
        for name, act in (("sleep", model.sleep), ("wake", model.wake)):
            with Meter(model.device) as meter:
                act()
            rows.append({"what": f"{turn} {name}", "seconds": meter.seconds,
                         "held_after_mb": torch.cuda.memory_allocated() / MB})  # fmt: skip
    after = model.answers(questions, "logit")
    assert all(abs(one.odds.harm - other.odds.harm) < 0.02 for one, other in zip(before, after, strict=True))
    return rows


def table(found: dict) -> str:
    lines = [f"{found['device']}, {found['parameters_b']:.2f} billion parameters, {found['precision']}, weights "
             f"{found['weights_mb']:.0f} MB, {found['pairs']} pairs, {found['prompt_tokens']:.0f} tokens a prompt, "
             f"{found['shared_tokens']} of them shared"]  # fmt: skip
    lines.append(f"{'way':12} {'notes':>6} {'seconds':>9} {'notes/s':>10} {'ratio':>8} {'peak MB':>9}")
    for row in found["ways"]:
        lines.append(f"{row['way']:12} {row['notes']:6} {row['seconds']:9.2f} {row['notes_per_s']:10.3f} "
                     f"{row['ratio']:8.1f} {row['peak_mb']:9.0f}")  # fmt: skip
    lines += [
        f"{row['what']:12} {row['seconds']:.3f} s, {row['held_after_mb']:.0f} MB held after" for row in found["sleep"]
    ]
    return "\n".join(lines)


def run(asked: argparse.Namespace, folder: Path) -> dict:
    questions = pairs(asked.pairs, asked.count)
    source = asked.model
    if source is None:
        kind = "gemma3-4b" if asked.gemma3_4b else "tiny"
        tokenizer = make_tokenizer(questions, 4096 if kind == "tiny" else 16384, folder)
        make_model(kind, tokenizer, folder, "cuda" if torch.cuda.is_available() else "cpu")
        torch.cuda.is_available() and torch.cuda.empty_cache()
        source = str(folder)
    options = Options(source, precision=asked.precision, batch_size=asked.batch_size, batch_tokens=asked.batch_tokens)
    with Meter(torch.device("cuda" if torch.cuda.is_available() else "cpu")) as loading:
        model = LocalModel(options)
    lengths = [len(model.prompt_ids(question, "logit")) for question in questions]
    return {
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else "CPU",
        "torch": torch.__version__, "precision": asked.precision, "load_s": loading.seconds,
        "parameters_b": sum(one.numel() for one in model.model.parameters()) / 1e9,
        "weights_mb": sum(one.numel() * one.element_size() for one in model.model.parameters()) / MB,
        "pairs": len(questions), "prompt_tokens": sum(lengths) / len(lengths),
        "shared_tokens": model.shared_tokens, "ways": measure(model, questions, asked.one_by_one),
        "sleep": sleeping(model, questions[:8]),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a tiny random model (the default)")
    parser.add_argument("--gemma3-4b", action="store_true", help="random weights in the shape of Gemma 3 4B")
    parser.add_argument("--model", help="a model folder or hub name instead")
    parser.add_argument("--pairs", type=Path, help="MEDEC file, CSV or JSONL")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--one-by-one", type=int, default=12, help="notes to generate for one by one")
    parser.add_argument("--precision", choices=("bf16", "8bit", "4bit", "fp32"), default="bf16")
    parser.add_argument("--batch-size", type=int, default=Options.batch_size)
    parser.add_argument("--batch-tokens", type=int, default=Options.batch_tokens)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(asked, Path(folder))
    print(table(found))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
