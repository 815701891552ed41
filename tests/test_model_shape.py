import json
import subprocess

import pytest

from launcher import hub
from launcher.model_shape import UnknownShape, of_config, of_folder, of_model
from medical_team.judge import model_files

QWEN = {
    "model_type": "qwen2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "intermediate_size": 256, "vocab_size": 4096, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters"),  # as their publishers' safetensors indexes count them; of MedGemma the text part alone
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
        ("Qwen/Qwen2.5-3B-Instruct", 3_085_938_688),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("google/medgemma-4b-it", 3_880_263_168),
    ],
)
def test_parameters_follow_from_the_shape(name, parameters, tmp_path):
    assert of_model(name, cache=tmp_path).parameters == parameters


def test_weights_beside_the_config_are_counted(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN))
    assert of_folder(tmp_path).parameters == of_config(QWEN).parameters
    head = json.dumps({
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [3, 5], "data_offsets": [0, 30]},
        "b": {"dtype": "BF16", "shape": [7], "data_offsets": [30, 44]},
    }).encode()  # fmt: skip
    for part in ("model-1.safetensors", "model-2.safetensors"):
        (tmp_path / part).write_bytes(len(head).to_bytes(8, "little") + head + bytes(44))
    assert of_model(str(tmp_path)).parameters == 2 * (15 + 7)


def test_a_model_in_the_hub_s_cache_is_found(tmp_path):
    snapshot = tmp_path / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(QWEN))
    assert of_model("some/model", cache=tmp_path).hidden == 64


@pytest.mark.parametrize("named", ["HF_HUB_CACHE", "HF_HOME"])
def test_all_look_for_a_model_in_the_same_cache(tmp_path, monkeypatch, named):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv(named, str(tmp_path))
    snapshot = (tmp_path if named == "HF_HUB_CACHE" else tmp_path / "hub") / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(QWEN))
    assert of_model("some/model").hidden == 64
    assert hub.cached("some/model") and model_files.folder("some/model") == snapshot


def test_what_is_not_known_is_said(tmp_path):
    with pytest.raises(UnknownShape, match="the shape of some/model is not known here: give a local folder"):
        of_model("some/model", cache=tmp_path)
    with pytest.raises(UnknownShape, match="has no config.json"):
        of_model(str(tmp_path))
    with pytest.raises(UnknownShape, match="model_type 'mixtral' is none of"):
        of_config(QWEN | {"model_type": "mixtral"})


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        (b"\0", b""), (b"{", b""), (b'["qwen2"]', b""), (b'{"model_type": "qwen2"}', b""),
        (json.dumps(QWEN).encode(), b"short"), (json.dumps(QWEN).encode(), b"\xff" * 8 + b"{}x"),
        (json.dumps(QWEN).encode(), (3).to_bytes(8, "little") + b"[1]"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_said_so(tmp_path, config, weights):
    (tmp_path / "config.json").write_bytes(config)
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(UnknownShape, match="cannot be read .*: give the folder of a whole model"):
        of_folder(tmp_path)


@pytest.mark.engine
@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama", "mistral", "gemma3_text"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_count_is_transformers_own(engine_python, kind, tied):
    config = QWEN | {"model_type": kind, "head_dim": 48, "tie_word_embeddings": tied}
    if kind == "qwen2":
        del config["head_dim"]
    code = (
        "import json, sys, transformers as t; given = json.loads(sys.argv[1]); kind = given.pop('model_type');"
        "model = t.AutoModelForCausalLM.from_config(t.AutoConfig.for_model(kind, **given));"
        "print(sum(p.numel() for p in model.parameters()))"
    )
    done = subprocess.run([engine_python, "-c", code, json.dumps(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
    assert of_config(config).parameters == int(done.stdout.splitlines()[-1])
