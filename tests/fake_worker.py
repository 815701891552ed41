"""Stands in for the engine's interpreter in evaluations: every player called "wise" is always right, others say Harmful.

FAKE_WORKER says how it ends: done, fail (with an error), hang.
"""

import json
import os
import sys
import time
from pathlib import Path

CASE = ("note", "case", "kind", "truth")


def main() -> None:
    if sys.argv[1] == "-c":
        print(os.environ["FAKE_VERSIONS"])
        return
    folder, ending = Path(sys.argv[3]), os.environ["FAKE_WORKER"]
    job = json.loads((folder / "job.json").read_text())
    notes = [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
    total = len(notes) * len(job["players"]) * len(job["how"])
    (folder / "progress.json").write_text(json.dumps({"doing": "the first one reads", "done": 0, "of": total}))
    if ending == "hang":
        time.sleep(600)
    if ending == "fail":
        raise ValueError("the model was lost <b>")
    with (folder / "predictions.jsonl").open("a") as file:
        for player in job["players"]:
            for how in job["how"]:
                file.writelines(json.dumps(said(player["name"], how, note)) + "\n" for note in notes)


def said(player: str, how: str, note: dict) -> dict:
    answer = note["truth"] if "wise" in player else "Harmful"
    return {
        "player": player, "how": how, "attacker": None, "note": note["id"], "case": note["case"], "kind": note["kind"],
        "truth": note["truth"], "answer": answer, "correct": answer == note["truth"], "format_reason": "ok", "tokens": 3,
        "truncated": False, "raw": f"I think </think> <answer>{answer}</answer>",
    }  # fmt: skip


if __name__ == "__main__":
    main()
